"""The figures of a report, as plotly figures made from records.

`curves_figure` stacks the curves over complexity on one shared logarithmic axis; `learning_figure` shows training. Colours
carry a contrast of at least 3:1 on white and on the page's dark ground and stay apart for colour-blind readers; split is
colour, posterior predictive is a dash. Backgrounds are transparent: the page sets ink and grid lines for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.core.best import STANDARDISED
from netdial.report.panels import (
    COLOURS,
    LEGEND_PIXELS,
    MUTED,
    SPLITS,
    TITLE_PIXELS,
    axis_name,
    complexity_colours,
    log_axis,
    stacked,
    title_panel,
    value_axis,
)
from netdial.report.text import count, number
from netdial.runs.curves import Headline, MemberRow

Lines = dict[float | None, list[tuple[int, float]]]


@dataclass(frozen=True)
class Panel:
    """One panel of the curves over complexity.

    Attributes:
        title: heading, with the unit.
        label: name of the quantity in a hover label.
        quantity: record name, without the split when ``by_split``.
        by_split: whether there is a curve for each split and for mean weights and predictive.
        value_format: d3 format of the exact value in a hover label.
        tick_format: d3 format of the axis labels.
    """

    title: str
    label: str
    quantity: str
    by_split: bool = True
    value_format: str = ".4~g"
    tick_format: str = "~g"


CLASSIFICATION = [Panel("Accuracy", "accuracy", "accuracy", True, ".2%", "~%")]
REGRESSION = [
    Panel("Root mean squared error · target units", "RMSE", "rmse"),
    Panel("Explained variance R²", "R²", "r2"),
]
COMMON = [
    Panel("Negative log-likelihood · nats per example", "NLL", "nll"),
    Panel("Information in the weights, KL · bits", "KL", "kl_bits", False, ",.6~r", "~s"),
    Panel(
        "Effective parameters", "effective parameters", "effective_parameters", False, ",.6~r", "~s"
    ),
    Panel("Norm of the weights · what λ multiplies", "norm", "norm", False),
]


def panels(config: dict[str, Any]) -> list[Panel]:
    """Returns the panels of a run; only those of which something was recorded are drawn."""
    error, explained = REGRESSION
    if (config.get("n_outputs") or 1) > 1 and config.get("error_unit") == STANDARDISED:
        error = replace(error, title=error.title.replace("target units", "standard deviations"))
    elif config.get("units"):
        error = replace(
            error, title=error.title.replace("target units", f"units of {config['units']}")
        )
    return [*CLASSIFICATION, error, explained, *COMMON]


def curves_figure(
    rows: Sequence[MemberRow], answer: Headline | None, config: dict[str, Any]
) -> go.Figure | None:
    """Returns the curves over complexity, one panel below the other, or None when there is nothing to draw.

    Args:
        rows: members by rising complexity.
        answer: headline of the run; its members are marked.
        config: configuration of the run; ``units`` and ``n_params`` are read.
    """
    constant = answer.constant if answer is not None else {}
    drawn = [
        (p, [*t, *_constant_line(p, rows, constant)])
        for p in panels(config)
        if (t := _panel_traces(p, rows))
    ]
    if not drawn:
        return None
    figure = stacked(len(drawn), LEGEND_PIXELS)
    legend_shown: set[str] = set()
    for index, (panel, traces) in enumerate(drawn, 1):
        for trace in traces:
            first = panel.by_split and trace.name not in legend_shown
            legend_shown.add(trace.name)
            trace.update(yaxis=axis_name("y", index), showlegend=first)
            figure.add_trace(trace)
        _dress_panel(figure, index, panel, traces, config)
    figure.update_xaxes(
        title_text="complexity λ (log scale)",
        unifiedhovertitle_text="<b>λ = %{x:.4~g}</b>",
        anchor=axis_name("y", len(drawn)),
        **log_axis([row.lam for row in rows]),
    )
    if answer is not None:
        _mark_answer(figure, answer)
    return figure


def learning_figure(curves: dict[str, Lines]) -> go.Figure | None:
    """Returns the learning curves, or None when nothing of training was recorded.

    The whole batch is a strong line, each stratum of complexity a thin one; epochs on the axis when their length is known.
    """
    wanted = {
        "train/loss": "Loss · nats per example",
        "train/fit": "Fit term · nats per example",
        "train/complexity": "Complexity term · nats per example",
    }
    wanted |= {
        n: f"Validation {n.removeprefix('valid/')}"
        for n in sorted(curves)
        if n.startswith("valid/")
    }
    drawn = [(name, title) for name, title in wanted.items() if curves.get(name)]
    if not drawn:
        return None
    figure = stacked(len(drawn), TITLE_PIXELS)
    per_epoch, unit = _steps_per_epoch(curves)
    for index, (name, title) in enumerate(drawn, 1):
        traces = _learning_traces(curves[name], name, per_epoch, index)
        figure.add_traces(traces)
        values = [value for line in curves[name].values() for _, value in line]
        title_panel(figure, index, title)
        figure.update_layout({axis_name("yaxis", index): value_axis(values, "~g", log_above=10)})
    last = max(step for lines in curves.values() for line in lines.values() for step, _ in line)
    figure.update_xaxes(
        title_text=unit,
        dtick=1 if unit == "epoch" and last <= 10 * per_epoch else None,
        unifiedhovertitle_text=f"<b>{unit} %{{x}}</b>",
        anchor=axis_name("y", len(drawn)),
    )
    return figure


def _panel_traces(panel: Panel, rows: Sequence[MemberRow]) -> list[go.Scatter]:
    """Returns the curves of a panel that were recorded."""
    if not panel.by_split:
        return _curve(panel, rows, panel.quantity, "family", "", "family")
    traces: list[go.Scatter] = []
    for split, words in SPLITS.items():
        for suffix, how in (("", "mean weights"), ("_predictive", "predictive")):
            name = f"{split}/{panel.quantity}{suffix}"
            traces += _curve(panel, rows, name, split, suffix, f"{words}, {how}")
    return traces


def _constant_line(
    panel: Panel, rows: Sequence[MemberRow], constant: dict[str, float]
) -> list[go.Scatter]:
    """Returns a line at what a constant is worth on validation data, or nothing when that was not recorded."""
    value = constant.get(f"valid/{panel.quantity}", math.nan)
    if not panel.by_split or not math.isfinite(value):
        return []
    return [
        go.Scatter(
            x=[rows[0].lam, rows[-1].lam],
            y=[value, value],
            name="a constant, validation",
            legendgroup="constant",
            mode="lines",
            line={"color": MUTED, "width": 1.5, "dash": "dashdot"},
            hovertemplate=f"{panel.label} · a constant: <b>%{{y:{panel.value_format}}}</b><extra></extra>",
        )
    ]


def _curve(
    panel: Panel, rows: Sequence[MemberRow], name: str, colour: str, suffix: str, legend: str
) -> list[go.Scatter]:
    """Returns one curve, or nothing when no value was recorded."""
    points = [(row.lam, value) for row in rows if (value := row.get(name)) is not None]
    if not points:
        return []
    where = "" if legend == "family" else f" · {legend}"
    return [
        go.Scatter(
            x=[lam for lam, _ in points],
            y=[value for _, value in points],
            name=legend,
            legendgroup=legend,
            mode="lines+markers",
            line={"color": COLOURS[colour], "width": 2, "dash": "4px,4px" if suffix else "solid"},
            marker={"size": 6, "symbol": "circle-open" if suffix else "circle"},
            hovertemplate=f"{panel.label}{where}: <b>%{{y:{panel.value_format}}}</b><extra></extra>",
            cliponaxis=False,
        )
    ]


def _learning_traces(lines: Lines, name: str, per_epoch: float, index: int) -> list[go.Scatter]:
    """Returns the whole-batch line of one quantity and the lines of its strata."""
    lams = sorted(lam for lam in lines if lam is not None)
    shades = dict(zip(lams, complexity_colours(len(lams)), strict=True))
    traces = []
    for lam in [*lams, None] if None in lines else lams:
        words = "mean over λ" if lam is None else f"λ ≈ {number(lam)}"
        colour = MUTED if lam is None else shades[lam]
        traces.append(
            go.Scatter(
                x=[step / per_epoch for step, _ in lines[lam]],
                y=[value if math.isfinite(value) else None for _, value in lines[lam]],
                name=words,
                showlegend=False,
                mode="lines" if len(lines[lam]) > 1 else "markers",
                line={"color": colour, "width": 3 if lam is None else 1.3},
                hovertemplate=f"{name.split('/')[-1]} · {words}: <b>%{{y:.4~g}}</b><extra></extra>",
                yaxis=axis_name("y", index),
            )
        )
    return traces


def _steps_per_epoch(curves: dict[str, Lines]) -> tuple[float, str]:
    """Returns the optimiser steps of an epoch and the word for the axis; steps themselves when epochs are not known."""
    timed = curves.get("train/epoch_seconds", {}).get(None, [])
    first = timed[0][0] if timed else 0
    return (float(first), "epoch") if first > 0 else (1.0, "optimiser step")


def _dress_panel(
    figure: go.Figure,
    index: int,
    panel: Panel,
    traces: Sequence[go.Scatter],
    config: dict[str, Any],
) -> None:
    """Gives a panel its heading and the scale of its values."""
    title = panel.title
    if panel.quantity == "effective_parameters" and isinstance(config.get("n_params"), int):
        title += f" · of {count(config['n_params'])}"
    title_panel(figure, index, title)
    values = [value for trace in traces for value in trace.y]
    figure.update_layout({axis_name("yaxis", index): value_axis(values, panel.tick_format)})


def _mark_answer(figure: go.Figure, answer: Headline) -> None:
    """Marks the best member and the simplest one within one standard error of it across all panels."""
    _mark_member(figure, answer, answer.best, "best")
    if answer.simplest is not None and answer.simplest.lam != answer.best.lam:
        _mark_member(figure, answer, answer.simplest, "simplest within 1 s.e.")


def _mark_member(figure: go.Figure, answer: Headline, member: MemberRow, words: str) -> None:
    """Draws a line at a member, named in the first panel where its curve leaves room: above errors, below accuracies."""
    above = answer.metric == "valid/rmse"
    figure.add_shape(
        type="line",
        xref="x",
        x0=member.lam,
        x1=member.lam,
        yref="paper",
        y0=0,
        y1=1,
        line={"color": MUTED, "width": 1, "dash": "dot"},
    )
    figure.add_annotation(
        text=words,
        x=math.log10(member.lam),
        y=figure.layout.yaxis.domain[1 if above else 0],
        xref="x",
        yref="paper",
        xanchor="right",
        yanchor="top" if above else "bottom",
        textangle=-90,
        font_size=11,
        showarrow=False,
    )
