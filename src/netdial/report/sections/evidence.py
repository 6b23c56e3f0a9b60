"""Evidence in a report: bits per example over complexity, with standard errors and the λ that each estimator chooses.

Made from records alone (method ``evidence``, see ``netdial.jobs.analyses.weighed``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.core.records import Record
from netdial.report.panels import (
    COLOURS,
    LEGEND_PIXELS,
    MUTED,
    log_axis,
    stacked,
    title_panel,
    value_axis,
)
from netdial.report.text import fixed, number

NAME, ERROR, REFUSED = "evidence", "error", "refused"
"""Names of records: an estimate, its standard error, and that λ may not be chosen by it."""
BITS = "bits/example"
CHOOSES_NO_LAMBDA = ("wbic", "thermodynamic")
"""Estimators of the evidence of the family as a whole."""
_PALETTE = (*COLOURS.values(), "#b45fa8", "#8a7a00", "#d1495b", "#5b6bd6", MUTED)


@dataclass(frozen=True)
class Weighing:
    """What one estimator says of one member.

    Attributes:
        name: estimator.
        lam: complexity value; None for the family as a whole.
        value: in ``unit``, lower is better.
        error: standard error, 0 if there is none.
        unit: ``bits/example`` or ``error rate``.
        refused: whether λ may not be chosen by it.
    """

    name: str
    lam: float | None
    value: float
    error: float
    unit: str
    refused: bool = False


def weighings(records: Iterable[Record]) -> list[Weighing]:
    """Returns what the records say of evidence, at the last step, by estimator and rising complexity."""
    rows = [r for r in records if r.method == "evidence"]
    last = max((row.step for row in rows), default=0)
    found = {(r.where.get("estimator"), r.lam, r.name): r for r in rows if r.step == last}
    values = [
        Weighing(
            str(estimator),
            lam,
            row.value,
            found[estimator, lam, ERROR].value if (estimator, lam, ERROR) in found else 0.0,
            row.unit,
            (estimator, lam, REFUSED) in found,
        )
        for (estimator, lam, name), row in found.items()
        if name == NAME
    ]
    order = list(dict.fromkeys(value.name for value in values))
    return sorted(values, key=lambda v: (order.index(v.name), v.lam or 0.0))


def choices(rows: Sequence[Weighing]) -> dict[str, float]:
    """Returns the λ of the lowest value of each estimator that may choose; of equals the largest."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(row.name for row in rows if not row.refused):
        mine = [(row.value, -row.lam) for row in rows if row.name == name and row.lam is not None]
        if mine and name not in CHOOSES_NO_LAMBDA:
            found[name] = -min(mine)[1]
    return found


def evidence_figure(records: Iterable[Record]) -> go.Figure | None:
    """Returns bits per example over λ, a curve for each estimator, its choice marked by a star; None without records."""
    rows = [
        row
        for row in weighings(records)
        if row.unit == BITS and row.name not in CHOOSES_NO_LAMBDA and row.lam is not None
    ]
    if not rows:
        return None
    figure = stacked(1, LEGEND_PIXELS)
    best = choices(rows)
    for index, name in enumerate(dict.fromkeys(row.name for row in rows)):
        mine = [row for row in rows if row.name == name]
        figure.add_trace(_curve(mine, name, _PALETTE[index % len(_PALETTE)], best.get(name)))
    title_panel(figure, 1, "Evidence on training data · bits per example, lower is better")
    figure.update_layout(yaxis=value_axis([row.value for row in rows], "~g"))
    figure.update_xaxes(
        title_text="complexity λ (log scale)",
        unifiedhovertitle_text="<b>λ = %{x:.4~g}</b>",
        **log_axis([row.lam for row in rows if row.lam is not None]),
    )
    return figure


def evidence_table(records: Iterable[Record]) -> dict[str, Any] | None:
    """Returns headings and rows of text, λ × estimators, the choice of each marked by a star; None without records."""
    rows = [r for r in weighings(records) if r.lam is not None and r.name not in CHOOSES_NO_LAMBDA]
    if not rows:
        return None
    best = choices(rows)
    cells = {(row.name, row.lam): row for row in rows}
    units = {row.name: row.unit for row in rows}
    return {
        "headings": ["λ", *(n if units[n] != BITS else f"{n}, bits per example" for n in units)],
        "rows": [
            [number(lam), *(_cell(cells.get((name, lam)), best.get(name)) for name in units)]
            for lam in sorted({row.lam for row in rows if row.lam is not None})
        ],
    }


def evidence_lines(records: Iterable[Record]) -> list[str]:
    """Returns one sentence for each estimator: what it chooses, or what it says of the family as a whole."""
    rows = weighings(records)
    lines = [f"{name} chooses λ = {number(lam)}." for name, lam in choices(rows).items()]
    refused = dict.fromkeys(r.name for r in rows if r.refused and r.name not in CHOOSES_NO_LAMBDA)
    lines += [
        f"{name} may not choose λ here: the errors of the member that it would take speak against it."
        for name in refused
    ]
    lines += [
        f"{row.name}: {fixed(row.value)} ± {fixed(row.error)} {row.unit}, for the family as a whole."
        for row in rows
        if row.name in CHOOSES_NO_LAMBDA
    ]
    return lines


def _curve(rows: Sequence[Weighing], name: str, colour: str, best: float | None) -> go.Scatter:
    symbols = ["star" if row.lam == best else "circle" for row in rows]
    return go.Scatter(
        x=[row.lam for row in rows],
        y=[row.value for row in rows],
        error_y={
            "type": "data",
            "array": [row.error for row in rows],
            "thickness": 1.2,
            "width": 3,
        },
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"symbol": symbols, "size": [13 if symbol == "star" else 6 for symbol in symbols]},
        customdata=[row.error for row in rows],
        hovertemplate=f"{name}: <b>%{{y:.4~g}}</b> ± %{{customdata:.2~g}}<extra></extra>",
        cliponaxis=False,
    )


def _cell(row: Weighing | None, best: float | None) -> str:
    if row is None or not math.isfinite(row.value):
        return "–"
    error = f" ± {fixed(row.error)}" if row.error else ""
    return f"{fixed(row.value)}{error}{' *' if row.lam == best else ''}"
