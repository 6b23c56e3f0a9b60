"""What figures of smaller networks share: size against quality with the front, and axes for shares of the start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.report.panels import COLOURS, TITLE_PIXELS, log_axis, stacked, title_panel, value_axis

SIZE_PIXELS, FEW_POINTS = 360, 40
"""Height of a panel of size against quality, and the points up to which they are drawn large."""
_TICKS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


def single(pixels: int, title: str, top: int = TITLE_PIXELS) -> go.Figure:
    """Returns an empty figure of one panel, so high."""
    figure = stacked(1, top)
    figure.update_layout(height=pixels + top + 60, legend={"y": 1 + 34 / pixels})
    title_panel(figure, 1, title)
    return figure


def shown(*, is_error: bool) -> str:
    """Returns how a value of the metric is written in a hover label."""
    return "%{y:.4~g}" if is_error else "%{y:.2%}"


def front(path: Sequence[tuple[float, float]], *, is_error: bool) -> list[int]:
    """Returns which points no other beats, by rising size; of equals the first.

    Args:
        path: (size, metric) pairs; small sizes are better.
        is_error: whether small values of the metric are better, too.
    """
    sign = 1 if is_error else -1
    best, kept = math.inf, []
    for index in sorted(range(len(path)), key=lambda i: (path[i][0], sign * path[i][1], i)):
        if sign * path[index][1] < best:
            best = sign * path[index][1]
            kept.append(index)
    return kept


def front_line(
    points: Sequence[tuple[float, float]], words: Sequence[str], hover: str, *, is_error: bool
) -> go.Scatter:
    """Returns the points that no other one beats in both size and metric, as a dotted line of steps.

    Args:
        points: (size, metric) pairs.
        words: what the hover label says of each.
        hover: template of the hover label.
        is_error: whether small values of the metric are better.
    """
    kept = front(points, is_error=is_error)
    few = len(kept) <= FEW_POINTS
    return go.Scatter(
        x=[points[i][0] for i in kept],
        y=[points[i][1] for i in kept],
        name="front",
        mode="lines+markers",
        line={"color": COLOURS["family"], "width": 1.5, "dash": "dot", "shape": "hv"},
        marker={
            "size": 13 if few else 9,
            "symbol": "circle-open",
            "line": {"width": 2 if few else 1},
        },
        customdata=[words[i] for i in kept],
        hovertemplate=f"front, {hover}",
        cliponaxis=False,
    )


def size_axes(figure: go.Figure, *, is_error: bool) -> None:
    """Sets the axes of parameters (logarithmic when they differ much) and of the metric."""
    places = [x for trace in figure.data for x in trace.x]
    values = [y for trace in figure.data for y in trace.y]
    figure.update_layout(yaxis=value_axis(values, "~g" if is_error else "~%", log_above=10))
    wide = max(places) > 3 * min(places)
    figure.update_xaxes(
        title_text="parameters (log scale)" if wide else "parameters",
        **(log_axis(places) if wide else {"tickformat": ",d", "nticks": 6}),
    )


def share_axis(shares: Sequence[float]) -> dict[str, Any]:
    """Returns an axis for shares of the start: linear from 0, or logarithmic when little is left of something."""
    least, most = min(shares), max(1.0, *shares)
    if least >= 0.2 or least <= 0:
        return {"tickformat": "~%", "range": [0, 1.04 * most], "automargin": True}
    ticks = [share for share in _TICKS if share >= least / 1.6]
    return {
        "type": "log",
        "tickvals": ticks,
        "ticktext": [f"{100 * share:g}%" for share in ticks],
        "range": [math.log10(least / 1.3), math.log10(1.15 * most)],
        "automargin": True,
    }


def escaped(name: str) -> str:
    """Returns a name without what plotly would take for markup or for a field."""
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("%{", "%&#123;")):
        name = name.replace(sign, written)
    return name
