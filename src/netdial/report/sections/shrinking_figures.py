"""The figures of a run that shrank: how wide its layers were, size against what it was worth, cost over time, learning.

Widths are steps, since they change at collections; colours of layers go by depth; what is missing (NaN) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.core.records import Event
from netdial.report.panels import (
    COLOURS,
    LEGEND_PIXELS,
    MUTED,
    TITLE_PIXELS,
    axis_name,
    complexity_colours,
    stacked,
    title_panel,
    value_axis,
)
from netdial.report.sections.size_figures import (
    FEW_POINTS,
    SIZE_PIXELS,
    escaped,
    front_line,
    share_axis,
    shown,
    single,
    size_axes,
)
from netdial.report.text import count, number, percent
from netdial.runs.shrinkage import Shrinkage

FEW_LAYERS = 10
"""Up to so many layers are named one by one beside their colours."""
_EVOLUTION_PIXELS, _FEW_MOMENTS = 380, 60


@dataclass(frozen=True)
class TimeAxis:
    """Optimiser steps as people count time.

    Attributes:
        per_epoch: steps in an epoch; 1 when that is not known.
        unit: ``epoch`` or ``optimiser step``.
    """

    per_epoch: float
    unit: str

    @classmethod
    def of(cls, found: Shrinkage) -> TimeAxis:
        """Returns the clock of a run; the first epoch that was timed tells its length."""
        timed = _points(found, "train/epoch_seconds")
        first = timed[0][0] if timed else 0
        return cls(float(first), "epoch") if first > 0 else cls(1.0, "optimiser step")

    def at(self, step: int) -> float:
        """Returns the time of a step."""
        return step / self.per_epoch


def layer_colours(found: Shrinkage) -> dict[str, str]:
    """Returns the colour of each layer."""
    return dict(zip(found.widths, complexity_colours(len(found.widths)), strict=True))


def evolution_figure(found: Shrinkage, log: Sequence[Event], clock: TimeAxis) -> go.Figure | None:
    """Returns the share of channels left in each layer over time; None without records of widths.

    Later layers are drawn thinner on top of earlier ones, so that lines that coincide can be told apart.
    """
    lines = {layer: _left(found, layer, log) for layer in found.widths}
    if not any(lines.values()):
        return None
    figure = single(_EVOLUTION_PIXELS, "Channels left, share of the start")
    if len(lines) > FEW_LAYERS:
        figure.update_layout(hovermode="closest", hoversubplots=None)
    for index, (layer, colour) in enumerate(layer_colours(found).items()):
        width = 1.6 + 2 * (1 - (index + 1) / len(lines))
        _add_share(figure, layer, lines[layer], clock, "channels", color=colour, width=width)
    whole = _points(found, "params")
    _add_share(
        figure, "whole network", whole, clock, "parameters", color=MUTED, width=2, dash="dash"
    )
    shares = [value for trace in figure.data for value in trace.y]
    figure.update_layout(yaxis=share_axis(shares))
    _time_axis(figure, clock, 1)
    return figure


def size_figure(found: Shrinkage, metric: str, clock: TimeAxis) -> go.Figure | None:
    """Returns size against a validation metric, epoch by epoch, with the front; None if nothing was measured.

    Args:
        found: the run.
        metric: ``valid/accuracy`` or ``valid/rmse``.
        clock: of the run.
    """
    sizes = dict(_points(found, "params"))
    path = [(step, sizes[step], v) for step, v in _points(found, metric) if step in sizes]
    if not path:
        return None
    is_error = metric.endswith("/rmse")
    title = "Validation RMSE" if is_error else "Validation accuracy"
    figure = single(SIZE_PIXELS, f"{title} against size", LEGEND_PIXELS)
    figure.update_layout(hovermode="closest", hoversubplots=None)
    times = [clock.at(step) for step, _, _ in path]
    show = shown(is_error=is_error)
    hover = f"{clock.unit} %{{customdata}}: %{{x:,.0f}} parameters, <b>{show}</b><extra></extra>"
    figure.add_trace(_path(path, times, hover))
    points = [(size, value) for _, size, value in path]
    figure.add_trace(front_line(points, list(map(number, times)), hover, is_error=is_error))
    end, score = found.end.get("params"), found.scores.get(metric)
    if end is not None and score is not None and math.isfinite(score):
        figure.add_trace(_final(end, score, show))
    size_axes(figure, is_error=is_error)
    return figure


def cost_figure(found: Shrinkage, log: Sequence[Event], clock: TimeAxis) -> go.Figure | None:
    """Returns seconds per epoch, MACs, channels removed and λ over time; None if none of it was recorded."""
    seconds = _points(found, "train/epoch_seconds")
    collecting = _points(found, "collect_seconds")
    panels = [
        (
            "Seconds per epoch",
            [
                *_line(seconds, clock, "whole epoch", "valid", "%{y:.3~g} s"),
                *_line(collecting, clock, "collections", "test", "%{y:.3~g} s", width=1.2),
            ],
        ),
        (
            "Multiplications (MACs), one example",
            _line(_points(found, "macs"), clock, "MACs", "family", "%{y:,.0f}", shape="hv"),
        ),
        ("Channels removed at each collection", _bars(log, clock)),
        (
            "λ, the weight of the penalty",
            _line(_points(found, "lam"), clock, "λ", "valid", "%{y:.3~g}", shape="hv"),
        ),
    ]
    figure = _stack([(title, traces) for title, traces in panels if traces], clock)
    if figure is not None and len(log) <= _FEW_MOMENTS:
        for event in log:
            figure.add_shape(
                type="line",
                xref="x",
                x0=clock.at(event.step),
                x1=clock.at(event.step),
                yref="paper",
                y0=0,
                y1=1,
                layer="below",
                opacity=0.45,
                line={"color": MUTED, "width": 1, "dash": "dot"},
            )
    return figure


def learning_figure(found: Shrinkage, clock: TimeAxis) -> go.Figure | None:
    """Returns losses and the validation metric over time; None if none of it was recorded."""
    panels = [
        (
            "Loss · nats per example",
            [
                *_line(_points(found, "train/fit"), clock, "training", "valid", "%{y:.4~g}"),
                *_line(_points(found, "valid/objective"), clock, "validation", "test", "%{y:.4~g}"),
            ],
        ),
        (
            "Penalty on the switches · nats per example",
            _line(_points(found, "train/complexity"), clock, "penalty", "family", "%{y:.4~g}"),
        ),
        (
            "Validation accuracy",
            _line(_points(found, "valid/accuracy"), clock, "accuracy", "test", "%{y:.2%}"),
        ),
        (
            "Validation RMSE",
            _line(_points(found, "valid/rmse"), clock, "RMSE", "test", "%{y:.4~g}"),
        ),
    ]
    return _stack([(title, traces) for title, traces in panels if traces], clock)


def _points(found: Shrinkage, name: str) -> list[tuple[int, float]]:
    """Returns (step, value) pairs of what was recorded along the way, finite ones."""
    line = found.course.get(name, ())
    return [(s, v) for s, v in zip(found.steps, line, strict=False) if math.isfinite(v)]


def _left(found: Shrinkage, layer: str, log: Sequence[Event]) -> list[tuple[int, float]]:
    """Returns (step, channels) pairs of a layer."""
    known = zip(found.steps, found.widths[layer], strict=True)
    points = {step: width for step, width in known if math.isfinite(width)}
    points |= {event.step: float(event.widths[layer]) for event in log if layer in event.widths}
    return sorted(points.items())


def _add_share(
    figure: go.Figure,
    name: str,
    points: Sequence[tuple[int, float]],
    clock: TimeAxis,
    unit: str,
    **line: Any,
) -> None:
    """Adds a line of shares of the first value, with the counts in its hover label."""
    if not points or not points[0][1]:
        return
    start = points[0][1]
    figure.add_trace(
        go.Scatter(
            x=[clock.at(step) for step, _ in points],
            y=[value / start for _, value in points],
            name=name,
            mode="lines",
            line={"shape": "hv", **line},
            customdata=[
                f"<b>{count(v)}</b> of {count(start)} {unit} ({percent(v / start)})"
                for _, v in points
            ],
            hovertemplate=f"{escaped(name)}: %{{customdata}}<extra></extra>",
            showlegend=False,
            cliponaxis=False,
        )
    )


def _path(
    path: Sequence[tuple[int, float, float]], times: Sequence[float], hover: str
) -> go.Scatter:
    """Returns the way through size and metric, its points coloured by time."""
    return go.Scatter(
        x=[size for _, size, _ in path],
        y=[value for _, _, value in path],
        name="each epoch, early to late",
        mode="lines+markers",
        line={"color": MUTED, "width": 1},
        marker={
            "size": 7 if len(path) <= FEW_POINTS else 5,
            "color": complexity_colours(len(path)),
        },
        customdata=[number(time) for time in times],
        hovertemplate=hover,
        cliponaxis=False,
    )


def _final(size: float, score: float, show: str) -> go.Scatter:
    """Returns the folded network."""
    return go.Scatter(
        x=[size],
        y=[score],
        name="folded network at the end",
        mode="markers",
        marker={"size": 15, "symbol": "star", "color": COLOURS["test"]},
        hovertemplate=f"at the end, folded: %{{x:,.0f}} parameters, <b>{show}</b><extra></extra>",
        cliponaxis=False,
    )


def _line(
    points: Sequence[tuple[int, float]],
    clock: TimeAxis,
    name: str,
    colour: str,
    show: str,
    *,
    width: float = 2,
    shape: str = "linear",
) -> list[go.Scatter]:
    """Returns one curve over time, or nothing without values."""
    if not points:
        return []
    return [
        go.Scatter(
            x=[clock.at(step) for step, _ in points],
            y=[value for _, value in points],
            name=name,
            mode="lines" if len(points) > 1 else "markers",
            line={"color": COLOURS[colour], "width": width, "shape": shape},
            hovertemplate=f"{name}: <b>{show}</b><extra></extra>",
            showlegend=False,
            cliponaxis=False,
        )
    ]


def _bars(log: Sequence[Event], clock: TimeAxis) -> list[go.Bar]:
    """Returns how many channels went at each collection."""
    if not log:
        return []
    last = max(clock.at(event.step) for event in log)
    return [
        go.Bar(
            x=[clock.at(event.step) for event in log],
            y=[sum(len(channels) for channels in event.gone.values()) for event in log],
            width=last / 150,
            name="channels removed",
            marker={"color": COLOURS["test"], "line": {"width": 0}},
            hovertemplate="removed: <b>%{y:,d}</b> channels<extra></extra>",
            showlegend=False,
        )
    ]


def _stack(panels: Sequence[tuple[str, Sequence[Any]]], clock: TimeAxis) -> go.Figure | None:
    """Returns panels of curves over one time axis, or None without any."""
    if not panels:
        return None
    figure = stacked(len(panels), TITLE_PIXELS)
    for index, (title, traces) in enumerate(panels, 1):
        for trace in traces:
            figure.add_trace(trace.update(yaxis=axis_name("y", index)))
        title_panel(figure, index, title)
        figure.update_layout({axis_name("yaxis", index): _panel_axis(traces)})
    _time_axis(figure, clock, len(panels))
    return figure


def _panel_axis(traces: Sequence[Any]) -> dict[str, Any]:
    """Returns the axis of a panel: bars and seconds from 0, accuracies in percent, large counts short."""
    values = [value for trace in traces for value in trace.y]
    if any(trace.type == "bar" for trace in traces):
        return value_axis(values, "~g", log_above=math.inf)
    if any(trace.name == "whole epoch" for trace in traces):
        return {**value_axis(values, "~g", log_above=math.inf), "rangemode": "tozero"}
    if any(trace.name == "accuracy" for trace in traces):
        return value_axis(values, "~%")
    return value_axis(values, "~s" if max(values) >= 1e4 else "~g")


def _time_axis(figure: go.Figure, clock: TimeAxis, panels: int) -> None:
    """Sets the axis of time under the last panel."""
    last = max((x for trace in figure.data for x in trace.x), default=0)
    figure.update_xaxes(
        title_text=clock.unit,
        rangemode="tozero",
        dtick=1 if clock.unit == "epoch" and last <= 10 else None,
        unifiedhovertitle_text=f"<b>{clock.unit} %{{x:.4~g}}</b>",
        anchor=axis_name("y", panels),
    )
