"""Colours and panels that every figure of a report is drawn with: stacked panels over one x axis, headings, scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.colors import sample_colorscale  # type: ignore[import-untyped]

from netdial.report.text import count, number, power_of_ten

COLOURS = {"valid": "#2f7fd8", "test": "#d9660a", "family": "#0e9384"}
"""Colour of the validation part, the test part, and of what belongs to the family itself."""

SPLITS = {"valid": "validation", "test": "test"}

COMPLEXITY_SCALE = ["#2f7fd8", "#7a6fd0", "#b45fa8", "#d15a6a", "#d9660a"]
"""From small complexity values to large ones."""

MUTED = "#7d8590"

PANEL_PIXELS, GAP_PIXELS, LEGEND_PIXELS, TITLE_PIXELS = 190, 56, 64, 30
"""Heights of a panel, of the gap under it, and of the space on top for legend and heading or for a heading alone."""


def complexity_colours(n: int) -> list[str]:
    """Returns ``n`` colours from the scale of complexity."""
    places = [i / max(n - 1, 1) for i in range(n)]
    return list(sample_colorscale(COMPLEXITY_SCALE, places)) if n else []


def stacked(n: int, top_pixels: int) -> go.Figure:
    """Returns an empty figure of ``n`` panels over one x axis, with so much space on top."""
    inner = n * PANEL_PIXELS + (n - 1) * GAP_PIXELS
    tops = [1 - index * (PANEL_PIXELS + GAP_PIXELS) / inner for index in range(n)]
    return go.Figure(
        layout={
            "template": None,
            "height": inner + top_pixels + 60,
            "margin": {"l": 58, "r": 18, "t": top_pixels, "b": 60},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": MUTED},
            "hovermode": "x unified",
            "hoversubplots": "axis",
            "hoverlabel": {"font": {"size": 12}},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1 + 34 / inner,
                "yanchor": "bottom",
            },
            "separators": ".\u202f",
            "xaxis": {
                "showgrid": True,
                "zeroline": False,
                "ticks": "outside",
                "ticklen": 5,
                "title": {"font": {"size": 13}},
            },
            **{
                axis_name("yaxis", index): {
                    "domain": [max(top - PANEL_PIXELS / inner, 0), top],
                    "zeroline": False,
                    "showspikes": False,
                }
                for index, top in enumerate(tops, 1)
            },
        }
    )


def axis_name(kind: str, index: int) -> str:
    """Returns plotly's name of an axis: the first carries no number."""
    return kind if index == 1 else f"{kind}{index}"


def title_panel(figure: go.Figure, index: int, title: str) -> None:
    """Writes the heading of a panel above its left edge."""
    top = figure.layout[axis_name("yaxis", index)].domain[1]
    figure.add_annotation(
        text=f"<b>{title}</b>",
        x=0,
        y=top,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="bottom",
        yshift=6,
        showarrow=False,
    )


def value_axis(values: Sequence[float], tick_format: str, log_above: float = 30) -> dict[str, Any]:
    """Returns a y axis; logarithmic when the values are positive and span more than the factor ``log_above``."""
    finite = [value for value in values if math.isfinite(value)]
    axis: dict[str, Any] = {"tickformat": tick_format, "nticks": 5, "automargin": True}
    if finite and min(finite) > 0 and max(finite) > log_above * min(finite):
        return {"automargin": True} | log_axis(finite)
    if finite and min(finite) == max(finite):  # no range of their own: a little around them
        value, is_share = finite[0], tick_format.endswith("%") and 0 <= finite[0] <= 1
        far = 0.05 if is_share else 0.1 * abs(value) or 1.0
        low, high = value - far, value + far
        axis["range"] = [max(low, 0.0), min(high, 1.0)] if is_share else [low, high]
    return axis


def _between(low: float, high: float) -> list[float]:
    """Returns three to six round numbers from one value to another that lie in one power of ten."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= max((factor for factor in (2, 5) if factor * step <= (high - low) / 2), default=1)
    first = math.ceil(low / step - 1e-9)
    return [step * place for place in range(first, math.floor(high / step + 1e-9) + 1)]


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Returns a log axis with labels at powers of ten, and at twice and five times those when there are few."""
    low, high = math.log10(min(values)), math.log10(max(values))
    factors = [1] if high - low >= 2 else [1, 2, 5]
    powers = range(math.floor(low) - 1, math.ceil(high) + 2)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    inside = [tick for tick in ticks if low - 0.3 <= math.log10(tick) <= high + 0.3]
    if sum(low <= math.log10(tick) <= high for tick in inside) < 2 and high > low:
        inside = _between(min(values), max(values))
    shown = inside[:: math.ceil(len(inside) / 8)]
    plain = min(shown) >= 9e-4 and max(shown) < 1e5
    labels = [
        (count(tick) if tick >= 1 else number(tick)) if plain else power_of_ten(tick)
        for tick in shown
    ]
    return {"type": "log", "tickvals": shown, "ticktext": labels}
