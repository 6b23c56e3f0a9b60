"""Several runs on one page: what each came to, curves over λ, size against quality, and the settings in which they differ.

Runs on different data, or judged by different metrics, stand in the table together, but no best one is named and curves of
another metric are left out: their figures do not compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.report.panels import (
    COLOURS,
    LEGEND_PIXELS,
    MUTED,
    SPLITS,
    axis_name,
    log_axis,
    stacked,
    title_panel,
    value_axis,
)
from netdial.report.sections.size_figures import SIZE_PIXELS, escaped, front_line, single, size_axes
from netdial.report.standing.of_compared import (
    Compared,
    at_member,
    compared_tiles,
    kept_of,
    params_of,
    ranked,
)
from netdial.report.standing.told import measure
from netdial.report.text import MEASURES, count, number, percent, value_of
from netdial.runs.curves import MemberRow

_PALETTE = (COLOURS["valid"], COLOURS["test"], "#b45fa8", "#8a7a00", "#d1495b", "#5b6bd6", MUTED)
_ASIDE = (
    "name",
    "n_params",
    "data_dir",
    "files",
    "kind",
    "metric",
    "proper",
    "input_shape",
    "input_type",
)


_OWN = {"search": ("epochs", "options", "penalty", "size", "strategy")}
"""Settings by way that mean something else than those of the same name of other ways."""
_UNUSED = {"search": ("model",)}
"""Settings by way that are there and say nothing."""


def compare_page(runs: Sequence[Compared]) -> dict[str, Any]:
    """Returns what the page of several runs tells."""
    alike = _alike(runs)
    shown = [(i, one) for i, one in enumerate(runs) if alike and one.metric == alike]
    figures = {
        "compare-curves": curves_figure(shown, alike or ""),
        "compare-size": sizes_figure(shown, alike or ""),
    }
    columns, table = _table(runs, alike)
    differing, of_some = differences(runs)
    return {
        "sentence": f"{len(runs)} runs{_on(runs)} side by side, from what each recorded.",
        "lead": _lead(runs, alike),
        "tiles": compared_tiles(runs, alike),
        "notes": _notes(runs, alike),
        "measure": measure(alike) if alike is not None else "",
        "columns": columns,
        "table": table,
        "names": [(one.name, _colour(i)) for i, one in enumerate(runs)],
        "differences": differing,
        "of_some": of_some,
        "figures": {name: figure for name, figure in figures.items() if figure is not None},
        "data": {
            "runs": [
                {
                    "name": one.name,
                    "config": dict(one.config),
                    "members": [asdict(row) for row in one.rows],
                    "constant": one.constant,
                }
                for one in runs
            ]
        },
    }


def curves_figure(shown: Sequence[tuple[int, Compared]], metric: str) -> go.Figure | None:
    """Returns the metric that decides over λ, on validation and on test data, a curve for each family; None without any."""
    families = [(i, one) for i, one in shown if len(one.rows) > 1]
    names = [f"{part}/{metric.partition('/')[2]}" for part in SPLITS]
    names = [
        n for n in names if any(row.get(n) is not None for _, one in families for row in one.rows)
    ]
    if not names:
        return None
    figure = stacked(len(names), LEGEND_PIXELS)
    is_share = metric.endswith("/accuracy")
    for index, name in enumerate(names, 1):
        values: list[float] = []
        for i, one in families:
            points = [(row.lam, v) for row in one.rows if (v := row.get(name)) is not None]
            values += [v for _, v in points]
            figure.add_trace(
                go.Scatter(
                    x=[lam for lam, _ in points],
                    y=[v for _, v in points],
                    name=escaped(one.name),
                    legendgroup=escaped(one.name),
                    showlegend=index == 1,
                    mode="lines+markers",
                    line={"color": _colour(i), "width": 2},
                    marker={"size": 5},
                    yaxis=axis_name("y", index),
                    hovertemplate=f"{escaped(one.name)}: <b>%{{y:{'.2%' if is_share else '.4~g'}}}</b><extra></extra>",
                )
            )
        part = SPLITS[name.split("/")[0]]
        title_panel(figure, index, f"{_title(metric)}, {part}")
        figure.update_layout(
            {axis_name("yaxis", index): value_axis(values, "~%" if is_share else "~g")}
        )
    figure.update_xaxes(
        title_text="complexity λ (log scale)",
        unifiedhovertitle_text="<b>λ = %{x:.4~g}</b>",
        anchor=axis_name("y", len(names)),
        **log_axis([row.lam for _, one in families for row in one.rows]),
    )
    return figure


def sizes_figure(shown: Sequence[tuple[int, Compared]], metric: str) -> go.Figure | None:
    """Returns size against the metric that decides for all networks of all runs, with the front; None if none differ."""
    points = {
        i: [
            (size, value, row.lam)
            for row, size in zip(one.rows, one.sizes, strict=True)
            if size and (value := row.get(metric)) is not None
        ]
        for i, one in shown
    }
    flat = [(size, value) for mine in points.values() for size, value, _ in mine]
    if len({size for size, _ in flat}) < 2:
        return None
    is_share = metric.endswith("/accuracy")
    figure = single(SIZE_PIXELS, f"{_title(metric)}, validation, against size", LEGEND_PIXELS)
    figure.update_layout(hovermode="closest", hoversubplots=None)
    hover = f"%{{customdata}}: %{{x:,.0f}} weights, <b>%{{y:{'.2%' if is_share else '.4~g'}}}</b><extra></extra>"
    for i, one in shown:
        figure.add_trace(
            go.Scatter(
                x=[size for size, _, _ in points[i]],
                y=[value for _, value, _ in points[i]],
                name=escaped(one.name),
                mode="markers",
                marker={"size": 8, "color": _colour(i)},
                customdata=[_where(one.name, lam) for _, _, lam in points[i]],
                hovertemplate=hover,
            )
        )
    words = [_where(one.name, lam) for i, one in shown for _, _, lam in points[i]]
    figure.add_trace(front_line(flat, words, hover, is_error=not is_share))
    size_axes(figure, is_error=not is_share)
    carried = [one.name for _, one in shown if any(one.kept)]
    whole = [one.name for _, one in shown if not any(one.kept)]
    words = [
        f"{what} ({escaped(', '.join(names))})" if carried and whole else what
        for what, names in (("weights that carry 99 % of the norm", carried), ("parameters", whole))
        if names
    ]
    figure.update_xaxes(title_text="; ".join(words))
    return figure


def differences(runs: Sequence[Compared]) -> tuple[list[list[str]], list[list[str]]]:
    """Returns the settings in which runs differ, name and the value of each: those that all have, and those of some alone."""
    flat = [_flat(_named_apart(one.config)) for one in runs]
    keys = sorted({key for one in flat for key in one if key.split(".")[0] not in _ASIDE})
    rows = [[key, *(one.get(key, "–") for one in flat)] for key in keys]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    everywhere = [row for row in rows if all(row[0] in one for one in flat)]
    return everywhere, [row for row in rows if row not in everywhere]


def _named_apart(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run, those that mean something else for its way named so."""
    way = str(config.get("way", "fit"))
    own, unused = _OWN.get(way, ()), _UNUSED.get(way, ())
    return {
        f"{key} (of the {way})" if key in own else key: value
        for key, value in config.items()
        if key not in unused
    }


def _on(runs: Sequence[Compared]) -> str:
    data = {str(one.config["data"]) for one in runs if "data" in one.config}
    return f" on {data.pop()}" if len(data) == 1 else ""


def _model(config: Mapping[str, Any]) -> str:
    """Returns what network a run has: its name, or the space in which it was found."""
    space = config.get("space")
    return f"found in space {space}" if space else str(config.get("model", "–"))


def _alike(runs: Sequence[Compared]) -> str | None:
    """Returns the metric that all runs are judged by, None if they are not on the same rows of the same data."""
    metrics = {one.metric for one in runs if one.metric is not None}
    data = {json.dumps([one.config.get(k) for k in ("data", "n_valid", "load")]) for one in runs}
    return next(iter(metrics)) if len(metrics) == len(data) == 1 else None


def _lead(runs: Sequence[Compared], alike: str | None) -> str:
    if not any(one.metric for one in runs):
        return "None of these runs has been measured on validation data yet."
    if alike is None:
        return "These runs are on different data, or judged by different metrics, so no best one is named."
    sign = -1 if alike.endswith("/accuracy") else 1
    known = ranked(runs, alike)
    if not known:
        return "No network of these runs has a finite loss on validation data."
    name = MEASURES.get(alike, (alike, ""))[0]
    value, first, row = known[0]
    lead = f"{first.name} predicts best: validation {name} {value_of(alike, sign * value)}{at_member(row)}."
    if len(known) > 1:
        second_value, second, second_row = known[1]
        lead += f" {second.name} comes next with {value_of(alike, sign * second_value)}{at_member(second_row)}."
    return lead


def _notes(runs: Sequence[Compared], alike: str | None) -> list[str]:
    notes = [f"{one.name}: training has not finished." for one in runs if not one.done]
    seeds = {one.config.get("seed") for one in runs}
    if alike is not None and len(seeds) > 1:
        notes.append(
            "Seeds differ, and with them starts and batches: part of a difference is chance."
        )
    return notes


def _table(runs: Sequence[Compared], alike: str | None) -> tuple[list[str], list[list[str]]]:
    """Returns headings and rows of text, one for each run; the metric is in the headings, or in each cell if runs differ."""
    rows = []
    kinds = {measure(one.metric) for one in runs if one.metric is not None}
    named, of = len(kinds) > 1, f" {kinds.pop()}" if len(kinds) == 1 else ""
    for one in runs:
        row, metric = one.chosen, one.metric
        params, kept = (None, None) if row is None else (params_of(one, row), kept_of(one, row))
        simplest = one.answer.simplest if one.answer else None
        rows.append(
            [
                str(one.config.get("way", "fit")),
                "–" if _on(runs) else str(one.config.get("data", "–")),
                _model(one.config),
                str(one.config.get("objective", "–")),
                "–" if row is None or math.isnan(row.lam) else number(row.lam),
                "–" if simplest is None else number(simplest.lam),
                *(_value(row, metric, part, named=named) for part in SPLITS),
                *(
                    percent(row.get(f"{part}/accuracy") if row is not None else None)
                    for part in SPLITS
                ),
                count(params),
                count(kept),
                _value(MemberRow(math.nan, one.constant), metric, "valid", named=named),
            ]
        )
    heads = [
        "way",
        "data",
        "model",
        "objective",
        "best λ",
        "1 s.e. λ",
        f"validation{of}",
        f"test{of}",
        "validation accuracy",
        "test accuracy",
        "parameters",
        "weights that carry",
        "a constant",
    ]
    used = [k for k in range(len(heads)) if any(row[k] != "–" for row in rows)]
    return [heads[k] for k in used], [[row[k] for k in used] for row in rows]


def _value(row: MemberRow | None, metric: str | None, part: str, *, named: bool) -> str:
    if row is None or metric is None:
        return "–"
    value = row.get(f"{part}/{metric.partition('/')[2]}")
    if value is None:
        return "–"
    return f"{measure(metric)} {value_of(metric, value)}" if named else value_of(metric, value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, str) else json.dumps(value)
    return found


def _title(metric: str) -> str:
    name = MEASURES.get(metric, (metric, ""))[0]
    return name[0].upper() + name[1:]


def _where(name: str, lam: float) -> str:
    return escaped(name) if math.isnan(lam) else f"{escaped(name)}, λ = {number(lam)}"


def _colour(index: int) -> str:
    return _PALETTE[index % len(_PALETTE)]
