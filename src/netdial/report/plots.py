"""What objects show of themselves in Python: figures of plotly, and tables in notebooks. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from numbers import Real
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.report.figures import curves_figure
from netdial.report.panels import LEGEND_PIXELS, log_axis
from netdial.report.sections.pruning import surface_figure
from netdial.report.sections.size_figures import escaped, single
from netdial.report.text import number
from netdial.runs.curves import MemberRow
from netdial.runs.surfaces import PrunedSurface

_PALETTE = ("#2f7fd8", "#d9660a", "#0e9384", "#b45fa8", "#8a7a00", "#d1495b", "#5b6bd6", "#7d8590")
_DASHES = ("solid", "dash", "dot", "dashdot")
_MOST_ROWS = 40


def surface_plot(
    cells: Sequence[Mapping[str, float]], metric: str, proper: str, split: str | None
) -> go.Figure:
    """Returns a metric over λ and share removed as a map, with the line of best members.

    Args:
        cells: rows with ``lam``, ``share`` and metrics by name.
        metric: the metric that is shown.
        proper: the metric that members are compared by.
        split: part of the data that they were measured on, in the heading; None leaves it out.
    """
    if split is None:
        return without_part(surface_plot(cells, metric, proper, "test"))
    values = {
        (cell["lam"], cell["share"]): {
            name if name in ("removed", "params") else f"{split}/{name}": value
            for name, value in cell.items()
            if name not in ("lam", "share")
        }
        for cell in cells
    }
    lams, shares = (tuple(sorted({key[k] for key in values})) for k in (0, 1))
    shown = PrunedSurface("", f"{split}/{metric}", f"{split}/{proper}", lams, shares, values)
    return surface_figure(shown)


def path_plot(rows: Sequence[MemberRow], config: dict[str, Any]) -> go.Figure | None:
    """Returns the curves over λ of values that are named as those of test data, but of which the part is not known."""
    figure = curves_figure(rows, None, config)
    return None if figure is None else without_part(figure)


def without_part(figure: go.Figure) -> go.Figure:
    """Returns a figure of test data in which nothing says so: whoever measured knows on what."""
    for trace in figure.data:
        for name in ("name", "legendgroup", "hovertemplate"):
            if getattr(trace, name, None):
                setattr(trace, name, getattr(trace, name).replace("test, ", ""))
    for note in figure.layout.annotations:
        first, found, rest = note.text.partition("<b>Test ")
        if found:
            note.text = f"{first}<b>{rest[0].upper()}{rest[1:]}"
    return figure


def layers_plot(
    lams: Sequence[float], shares: Mapping[str, Sequence[float]], title: str
) -> go.Figure:
    """Returns a share of each layer over λ, a line for each layer."""
    figure = single(340, title, LEGEND_PIXELS)
    for place, (layer, values) in enumerate(shares.items()):
        name = escaped(layer)
        line = {"color": _PALETTE[place % len(_PALETTE)], "width": 2}
        figure.add_trace(
            go.Scatter(
                x=list(lams),
                y=list(values),
                name=name,
                mode="lines+markers",
                line={**line, "dash": _DASHES[place // len(_PALETTE) % len(_DASHES)]},
                hovertemplate=f"{name}: <b>%{{y:.1%}}</b><extra></extra>",
            )
        )
    figure.update_layout(yaxis={"tickformat": "~%", "rangemode": "tozero"})
    figure.update_xaxes(
        title_text="complexity λ (log scale)",
        unifiedhovertitle_text="<b>λ = %{x:.4~g}</b>",
        **log_axis(list(lams)),
    )
    return figure


def html_table(rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Returns rows as a small HTML table; of more than 40, the first."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_words(row.get(name)))}</td>' for name in names)}</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = f" (the first {_MOST_ROWS} of {len(rows)})" if len(rows) > _MOST_ROWS else ""
    caption = f"<caption>{escape(caption)}{more}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Returns rows as aligned text under a caption; of more than 40, the first.

    >>> print(text_table([{"λ": 0.1, "nll": 0.25}, {"λ": 10.0, "nll": 1.5}], "2 members"))
    2 members
      λ   nll
    0.1  0.25
     10   1.5
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_words(row.get(name)) for name in names] for row in rows[:_MOST_ROWS]]
    lines = [[name.replace("_", " ") for name in names], *cells]
    wide = [max(len(line[at]) for line in lines) for at in range(len(names))]
    more = f" (the first {_MOST_ROWS} of {len(rows)})" if len(rows) > _MOST_ROWS else ""
    shown = ("  ".join(c.rjust(w) for c, w in zip(line, wide, strict=True)) for line in lines)
    return "\n".join([caption + more, *shown])


def _words(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return number(float(value), 4) if isinstance(value, Real) else str(value)
