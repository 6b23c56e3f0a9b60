"""Pruning in a report: the metric over complexity and share removed, and the best member at every share.

Made from records alone (method ``prune``, see ``netdial.jobs.analyses.pruned``), after Figs. 1 and 4 of Grebenkova et al. 2022:
curves of all members over the share removed, the surface as a map with the line of best members on it, and, where several
criteria were recorded, the best curve of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.core.records import Record
from netdial.report.panels import (
    COLOURS,
    LEGEND_PIXELS,
    MUTED,
    SPLITS,
    TITLE_PIXELS,
    complexity_colours,
    stacked,
    title_panel,
    value_axis,
)
from netdial.report.text import at_lam, count, fixed, loss_words, number, percent
from netdial.runs.curves import MemberRow, constants, is_worse
from netdial.runs.surfaces import DEFAULT, PrunedSurface, pruned

_PALETTE = (*COLOURS.values(), "#b45fa8", "#8a7a00", "#d1495b", "#5b6bd6", MUTED)
_SURFACE_SCALE = ["#22284f", "#3b4a8f", "#4d7ab5", "#5fa8b8", "#8ccfa6", "#d8e89a", "#fdf3c0"]
_CURVES_PIXELS, _CELL_PIXELS = 380, 34
_LABELS = 8
"""Most complexity values that are written below the surface."""


@dataclass(frozen=True)
class PruningSection:
    """What the page says of pruning.

    Attributes:
        lead: the answer in a sentence.
        hint: what is shown, and under which criterion.
        ends: smallest and largest complexity value, as text.
        figures: figures by the id of their place.
        headings, rows: the best member at each share, as text.
    """

    lead: str
    hint: str
    ends: tuple[str, str]
    figures: dict[str, go.Figure]
    headings: list[str]
    rows: list[list[str]]


def pruning_section(records: Iterable[Record], config: dict[str, Any]) -> PruningSection | None:
    """Returns the section on pruning, or None when no pruned member was recorded.

    Args:
        records: records of the run.
        config: its configuration; ``n_params`` is read.
    """
    records = list(records)
    found = pruned(records)
    if not found:
        return None
    shown = next((one for one in found if one.name == DEFAULT), found[-1])
    figures = {"pruning-curves": curves_figure(shown)}
    if len(shown.lams) > 1 and len(shown.shares) > 1:
        figures["pruning-surface"] = surface_figure(shown)
    if len(found) > 1:
        figures["pruning-criteria"] = criteria_figure(found)
    headings, rows = _table(shown, config, constants(records))
    return PruningSection(
        _lead(shown, config),
        f"Every member was pruned by {shown.name} and measured on {SPLITS[shown.split]} data, without any further "
        f"training; the best at each share is that of least {_loss(shown)}.",
        (number(shown.lams[0]), number(shown.lams[-1])),
        figures,
        headings,
        rows,
    )


def curves_figure(shown: PrunedSurface) -> go.Figure:
    """Returns the metric against the share removed, a curve for each λ, and the best member at each share."""
    figure = stacked(1, TITLE_PIXELS)
    figure.update_layout(
        height=_CURVES_PIXELS + TITLE_PIXELS + 60, hovermode="closest", hoversubplots=None
    )
    for lam, shade in zip(shown.lams, complexity_colours(len(shown.lams)), strict=True):
        points = [(share, v) for share in shown.shares if (v := shown.get(lam, share)) is not None]
        figure.add_trace(
            go.Scatter(
                x=[share for share, _ in points],
                y=[value for _, value in points],
                name=f"λ = {number(lam)}",
                mode="lines+markers",
                line={"color": shade, "width": 1.6},
                marker={"size": 4},
                showlegend=False,
                cliponaxis=False,
                hovertemplate=f"λ = {number(lam)}, %{{x:.4~%}} removed: <b>{_hover(shown)}</b><extra></extra>",
            )
        )
    best = shown.best()
    figure.add_trace(
        go.Scatter(
            x=[share for share, _, _ in best],
            y=[value for _, _, value in best],
            name="best member at each share",
            mode="lines+markers",
            line={"color": MUTED, "width": 3, "dash": "dot"},
            marker={"size": 9, "symbol": "circle-open", "line": {"width": 2}},
            customdata=[number(lam) for _, lam, _ in best],
            hovertemplate=f"best at %{{x:.4~%}} removed: λ = %{{customdata}}, <b>{_hover(shown)}</b><extra></extra>",
            showlegend=False,
            cliponaxis=False,
        )
    )
    title_panel(figure, 1, f"{_title(shown)} by share removed")
    values = [value for trace in figure.data for value in trace.y]
    tick_format = "~g" if shown.is_error else "~%"
    figure.update_layout(yaxis=value_axis(values, tick_format, log_above=10))
    figure.update_xaxes(title_text="share removed", tickformat="~%", rangemode="tozero")
    return figure


def surface_figure(shown: PrunedSurface) -> go.Figure:
    """Returns the surface over λ and share removed as a map, with the line of best members on it (2022 paper, Fig. 1)."""
    figure = stacked(1, TITLE_PIXELS)
    height = max(_CELL_PIXELS * len(shown.shares), 220)
    figure.update_layout(height=height + TITLE_PIXELS + 60, hovermode="closest", hoversubplots=None)
    grid = [[shown.get(lam, share) for lam in shown.lams] for share in shown.shares]
    low, high = _colour_range([v for row in grid for v in row if v is not None], shown)
    best = shown.best()
    top = {share: value for share, _, value in best}
    figure.add_trace(
        go.Heatmap(
            z=grid,
            x=list(range(len(shown.lams))),
            y=list(range(len(shown.shares))),
            zmin=low,
            zmax=high,
            colorscale=_SURFACE_SCALE,
            reversescale=shown.is_error,
            xgap=1,
            ygap=1,
            colorbar={
                "thickness": 12,
                "outlinewidth": 0,
                "tickformat": "~g" if shown.is_error else "~%",
                "len": 1,
                "y": 0.5,
                "nticks": 6,
            },
            text=[
                [_cell_words(shown, lam, share, top.get(share)) for lam in shown.lams]
                for share in shown.shares
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[shown.lams.index(lam) for _, lam, _ in best],
            y=[shown.shares.index(share) for share, _, _ in best],
            mode="lines+markers",
            line={"color": "#d9660a", "width": 3},
            marker={"size": 9, "color": "#ffffff", "line": {"color": "#d9660a", "width": 2.5}},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    title_panel(figure, 1, f"{_title(shown)} · line: least {_loss(shown)}")
    step = math.ceil(len(shown.lams) / _LABELS)
    figure.update_xaxes(
        title_text="complexity λ",
        tickvals=list(range(0, len(shown.lams), step)),
        ticktext=[number(lam) for lam in shown.lams[::step]],
        range=[-0.5, len(shown.lams) - 0.5],
        showgrid=False,
    )
    figure.update_yaxes(
        title={"text": "share removed", "font": {"size": 13}},
        tickvals=list(range(len(shown.shares))),
        ticktext=[_share(share) for share in shown.shares],
        range=[-0.5, len(shown.shares) - 0.5],
        showgrid=False,
        automargin=True,
    )
    return figure


def criteria_figure(found: Sequence[PrunedSurface]) -> go.Figure:
    """Returns the best value at each share under every criterion and policy that was recorded."""
    figure = stacked(1, LEGEND_PIXELS)
    figure.update_layout(
        height=_CURVES_PIXELS + LEGEND_PIXELS + 60, legend={"y": 1 + 34 / _CURVES_PIXELS}
    )
    same = [one for one in found if one.metric == found[0].metric]
    for index, one in enumerate(same):
        best = one.best()
        figure.add_trace(
            go.Scatter(
                x=[share for share, _, _ in best],
                y=[value for _, _, value in best],
                name=one.name,
                mode="lines+markers",
                line={"color": _PALETTE[index % len(_PALETTE)], "width": 2},
                marker={"size": 6},
                cliponaxis=False,
                customdata=[number(lam) for _, lam, _ in best],
                hovertemplate=f"{one.name}: <b>{_hover(one)}</b> at λ = %{{customdata}}<extra></extra>",
            )
        )
    title_panel(figure, 1, f"{_title(found[0])} of the best, by criterion")
    values = [value for trace in figure.data for value in trace.y]
    tick_format = "~g" if found[0].is_error else "~%"
    figure.update_layout(yaxis=value_axis(values, tick_format, log_above=10))
    figure.update_xaxes(
        title_text="share removed",
        tickformat="~%",
        rangemode="tozero",
        unifiedhovertitle_text="<b>%{x:.4~%} removed</b>",
    )
    return figure


def _lead(shown: PrunedSurface, config: Mapping[str, Any]) -> str:
    """Returns how much can be removed within one standard error of the best member, or what the best ones lose."""
    best = {share: (lam, value) for share, lam, value in shown.best()}
    words = f"{SPLITS[shown.split]} {_name(shown)}"
    choice = shown.choice()
    if choice is not None:
        (top_share, top), (share, row) = choice
        value = shown.get(row.lam, share)
        who = "the member" if share else "the whole member"
        first = (
            f"{_share(share) if share else 'None'} of the weights can go: {who} at {at_lam(row.lam)} then has a {words} of "
            f"{_value(shown, value)}"
        )
        loss = loss_words(shown.decides, config)
        if row is top:
            return f"{first}; its {loss} is the least of all."
        return (
            f"{first}; its {loss} is {number(row.loss - top.loss, 2)} above that of the best ({at_lam(top.lam)}, "
            f"{_share(top_share)} removed), within one standard error of that difference ({number(row.error, 2)})."
        )
    if 0.0 not in best or len(best) < 2:
        share, lam, value = shown.best()[-1]
        return (
            f"Without {_share(share)} of the weights, the best member is at {at_lam(lam)}, "
            f"with a {words} of {_value(shown, value)}."
        )
    whole, share = best[0.0][1], max(best)
    lam, value = best[share]
    return (
        f"The best whole member has a {words} of {_value(shown, whole)}; without {_share(share)} of the weights "
        f"the best one, at {at_lam(lam)}, has {_value(shown, value)}."
    )


def _table(
    shown: PrunedSurface, config: dict[str, Any], constant: dict[str, float]
) -> tuple[list[str], list[list[str]]]:
    """Returns headings and rows of the best member at each share, and of a constant; what was not recorded has no column."""
    name, proper = (record.split("/")[1] for record in (shown.metric, shown.decides))
    show: Callable[[float | None], str] = partial(_value, shown)
    wanted = [
        (f"{split}/{name}{suffix}", f"{SPLITS[split]}{words}", show)
        for split in SPLITS
        for suffix, words in (("", ""), ("_predictive", ", predictive"))
    ]
    if proper != name:
        wanted += [(f"{split}/{proper}", f"{SPLITS[split]} log loss", fixed) for split in SPLITS]
    columns = [
        column for column in wanted if any(column[0] in cell for cell in shown.values.values())
    ]
    total = config.get("n_params")
    headings = ["removed", "parameters left", "best λ", *(words for _, words, _ in columns)]
    rows = []
    for share, lam, _ in shown.best():
        gone = shown.get(lam, share, "removed")
        left = count(total - gone) if isinstance(total, int) and gone is not None else "–"
        cells = [write(shown.get(lam, share, record)) for record, _, write in columns]
        member = MemberRow(lam, shown.values[lam, share])
        worse = ", worse than a constant" if is_worse(member, constant, shown.decides) else ""
        rows.append([_share(share), left, number(lam) + worse, *cells])
    if shown.decides in constant:
        cells = [write(constant.get(record)) for record, _, write in columns]
        rows.append(["a constant", "–", "–", *cells])
    return headings, rows


def _colour_range(values: Sequence[float], shown: PrunedSurface) -> tuple[float, float]:
    """Returns the ends of the colour scale: a fifth of the values, the worst, lie beyond it, so that good ones differ."""
    ranked = sorted(values)
    if shown.is_error:
        return ranked[0], ranked[math.ceil(0.8 * (len(ranked) - 1))]
    return ranked[math.floor(0.2 * (len(ranked) - 1))], ranked[-1]


def _cell_words(shown: PrunedSurface, lam: float, share: float, top: float | None) -> str:
    """Returns what a cell of the surface says when pointed at."""
    value = shown.get(lam, share)
    words = f"λ = {number(lam)}, {_share(share)} removed: <b>{_value(shown, value)}</b>"
    if value is None or top is None or shown.is_error:
        return words
    gap = 100 * (top - value)
    return f"{words}<br>{abs(gap):.2f} points {'below' if gap >= 0 else 'above'} the one of least {_loss(shown)} at this share"


def _title(shown: PrunedSurface) -> str:
    return f"{SPLITS[shown.split].capitalize()} {_name(shown)}"


def _name(shown: PrunedSurface) -> str:
    return "RMSE" if shown.is_error else "accuracy"


def _loss(shown: PrunedSurface) -> str:
    """Returns the loss by which members are compared, without its unit."""
    return loss_words(shown.decides, {}).partition(" in ")[0]


def _hover(shown: PrunedSurface) -> str:
    return "%{y:.4~g}" if shown.is_error else "%{y:.2%}"


def _value(shown: PrunedSurface, value: float | None) -> str:
    return number(value, 4, padded=True) if shown.is_error else percent(value, 2)


def _share(share: float) -> str:
    """Returns a share as a percentage, with decimals only where it has some.

    >>> _share(0.9), _share(0.955)
    ('90%', '95.5%')
    """
    return f"{number(100 * share, 4)}%"
