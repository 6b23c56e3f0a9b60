"""Pruning in a report: the metric over complexity and share removed, and the best member at every share.

Made from records alone (method ``prune``, see ``netdial.jobs.pruned``), after Figs. 1 and 4 of Grebenkova et al. 2022:
curves of all members over the share removed, the surface as a map with the line of best members on it, and, where several
criteria were recorded, the best curve of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.core.records import Record
from netdial.report.figures import (
    COLOURS,
    LEGEND_PIXELS,
    MUTED,
    SPLITS,
    TITLE_PIXELS,
    _shades,
    stacked,
    title_panel,
    value_axis,
)
from netdial.report.text import at_lam, count, number, percent

METHOD, DEFAULT = "prune", "density"
"""Method of the records, and the criterion that goes without saying."""
_PALETTE = (*COLOURS.values(), "#b45fa8", "#8a7a00", "#d1495b", "#5b6bd6", MUTED)
_SURFACE_SCALE = ["#22284f", "#3b4a8f", "#4d7ab5", "#5fa8b8", "#8ccfa6", "#d8e89a", "#fdf3c0"]
_CURVES_PIXELS, _CELL_PIXELS = 380, 34
_LABELS = 8
"""Most complexity values that are written below the surface."""


@dataclass(frozen=True)
class Pruned:
    """What was recorded of pruned members under one criterion and policy.

    Attributes:
        name: what differs from the default, for example ``magnitude, per layer``; ``density`` for the default.
        metric: record that members are compared by, for example ``valid/accuracy``.
        lams: complexity values, rising.
        shares: shares removed, rising.
        values: ``(lam, share) -> record name -> value``.
    """

    name: str
    metric: str
    lams: tuple[float, ...]
    shares: tuple[float, ...]
    values: dict[tuple[float, float], dict[str, float]]

    @property
    def split(self) -> str:
        """Part of the data that members are compared on."""
        return self.metric.split("/")[0]

    @property
    def is_error(self) -> bool:
        """Whether lower is better."""
        return self.metric.endswith("/rmse")

    def get(self, lam: float, share: float, name: str | None = None) -> float | None:
        """Returns a value, or None when it was not recorded or is not finite."""
        value = self.values.get((lam, share), {}).get(name or self.metric)
        return value if value is not None and math.isfinite(value) else None

    def best(self) -> list[tuple[float, float, float]]:
        """Returns (share, λ, value) of the best member at each share; of equals the simplest."""
        found = []
        for share in self.shares:
            scored = [(v, lam) for lam in self.lams if (v := self.get(lam, share)) is not None]
            if scored:
                sign = -1 if self.is_error else 1
                value, lam = max(scored, key=lambda pair: (sign * pair[0], pair[1]))
                found.append((share, lam, value))
        return found


@dataclass(frozen=True)
class Section:
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


def pruned(records: Iterable[Record]) -> list[Pruned]:
    """Returns what the records of the last step say of pruned members, by criterion and policy."""
    rows = [r for r in records if r.method.split(":")[0] == METHOD and r.lam is not None]
    last = max((row.step for row in rows), default=0)
    found: dict[str, dict[tuple[float, float], dict[str, float]]] = {}
    for row in rows:
        if row.step == last and row.lam is not None and row.share is not None:
            grid = found.setdefault(row.method, {})
            grid.setdefault((row.lam, row.share), {})[row.name] = row.value
    return [
        Pruned(
            method.partition(": ")[2] or DEFAULT,
            metric,
            tuple(sorted({lam for lam, _ in grid})),
            tuple(sorted({share for _, share in grid})),
            grid,
        )
        for method, grid in found.items()
        if (metric := _metric(grid.values())) is not None
    ]


def pruning_section(records: Iterable[Record], config: dict[str, Any]) -> Section | None:
    """Returns the section on pruning, or None when no pruned member was recorded.

    Args:
        records: records of the run.
        config: its configuration; ``n_valid`` and ``n_params`` are read.
    """
    found = pruned(records)
    if not found:
        return None
    shown = next((one for one in found if one.name == DEFAULT), found[-1])
    figures = {"pruning-curves": curves_figure(shown)}
    if len(shown.lams) > 1 and len(shown.shares) > 1:
        figures["pruning-surface"] = surface_figure(shown)
    if len(found) > 1:
        figures["pruning-criteria"] = criteria_figure(found)
    headings, rows = _table(shown, config)
    return Section(
        _lead(shown, config),
        f"Every member was pruned by {shown.name} and measured on {SPLITS[shown.split]} data, without any further training.",
        (number(shown.lams[0]), number(shown.lams[-1])),
        figures,
        headings,
        rows,
    )


def curves_figure(shown: Pruned) -> go.Figure:
    """Returns the metric against the share removed, a curve for each λ, and the best member at each share."""
    figure = stacked(1, TITLE_PIXELS)
    figure.update_layout(
        height=_CURVES_PIXELS + TITLE_PIXELS + 60, hovermode="closest", hoversubplots=None
    )
    for lam, shade in zip(shown.lams, _shades(len(shown.lams)), strict=True):
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
    title_panel(figure, 1, f"{_title(shown)} after removing a share of the weights")
    values = [value for trace in figure.data for value in trace.y]
    tick_format = "~g" if shown.is_error else "~%"
    figure.update_layout(yaxis=value_axis(values, tick_format, log_above=10))
    figure.update_xaxes(title_text="share removed", tickformat="~%", rangemode="tozero")
    return figure


def surface_figure(shown: Pruned) -> go.Figure:
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
    title_panel(figure, 1, f"{_title(shown)} · the line joins the best member at each share")
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


def criteria_figure(found: Sequence[Pruned]) -> go.Figure:
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
    title_panel(figure, 1, f"{_title(found[0])} of the best member, by criterion")
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


def _metric(cells: Iterable[dict[str, float]]) -> str | None:
    """Returns the record that members are compared by: accuracy or RMSE, on validation data if there are such."""
    names = {name for cell in cells for name in cell}
    wanted = (f"{split}/{metric}" for split in SPLITS for metric in ("accuracy", "rmse"))
    return next((name for name in wanted if name in names), None)


def _lead(shown: Pruned, config: dict[str, Any]) -> str:
    """Returns how much can be removed within one standard error of the best whole member, or what the best ones lose."""
    best = {share: (lam, value) for share, lam, value in shown.best()}
    words = f"{SPLITS[shown.split]} {_name(shown)}"
    if 0.0 not in best or len(best) < 2:
        share, lam, value = shown.best()[-1]
        return (
            f"Without {_share(share)} of the weights, the best member is at {at_lam(lam)}, "
            f"with a {words} of {_value(shown, value)}."
        )
    whole = best[0.0][1]
    error = _standard_error(shown, whole, config)
    good = [share for share, (_, value) in best.items() if error and value >= whole - error]
    if error is None or max(good) == 0:
        share = max(best)
        lam, value = best[share]
        return (
            f"The best whole member has a {words} of {_value(shown, whole)}; without {_share(share)} of the weights "
            f"the best one, at {at_lam(lam)}, has {_value(shown, value)}."
        )
    share = max(good)
    lam, value = best[share]
    return (
        f"{_share(share)} of the weights can go: the member at {at_lam(lam)} then has a {words} of "
        f"{_value(shown, value)}, within one standard error ({100 * error:.2f} points) of the best whole member "
        f"({_value(shown, whole)})."
    )


def _standard_error(shown: Pruned, value: float, config: dict[str, Any]) -> float | None:
    """Returns the standard error of an accuracy on validation data; None when it is not known."""
    n = config.get("n_valid")
    if shown.is_error or shown.split != "valid" or not isinstance(n, int) or n < 1:
        return None
    return math.sqrt(value * (1 - value) / n) or None


def _table(shown: Pruned, config: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Returns headings and rows of the best member at each share; what was not recorded has no column."""
    name = shown.metric.split("/")[1]
    columns = [
        (f"{split}/{name}{suffix}", f"{SPLITS[split]}{words}")
        for split in SPLITS
        for suffix, words in (("", ""), ("_predictive", ", predictive"))
        if any(f"{split}/{name}{suffix}" in cell for cell in shown.values.values())
    ]
    total = config.get("n_params")
    headings = ["removed", "parameters left", "best λ", *(words for _, words in columns)]
    rows = []
    for share, lam, _ in shown.best():
        gone = shown.get(lam, share, "removed")
        left = count(total - gone) if isinstance(total, int) and gone is not None else "–"
        cells = [shown.get(lam, share, record) for record, _ in columns]
        rows.append([_share(share), left, number(lam), *(_value(shown, cell) for cell in cells)])
    return headings, rows


def _colour_range(values: Sequence[float], shown: Pruned) -> tuple[float, float]:
    """Returns the ends of the colour scale: a fifth of the values, the worst, lie beyond it, so that good ones differ."""
    ranked = sorted(values)
    if shown.is_error:
        return ranked[0], ranked[math.ceil(0.8 * (len(ranked) - 1))]
    return ranked[math.floor(0.2 * (len(ranked) - 1))], ranked[-1]


def _cell_words(shown: Pruned, lam: float, share: float, top: float | None) -> str:
    """Returns what a cell of the surface says when pointed at."""
    value = shown.get(lam, share)
    words = f"λ = {number(lam)}, {_share(share)} removed: <b>{_value(shown, value)}</b>"
    if value is None or top is None or shown.is_error:
        return words
    return f"{words}<br>{100 * (top - value):.2f} points below the best at this share"


def _title(shown: Pruned) -> str:
    return f"{SPLITS[shown.split].capitalize()} {_name(shown)}"


def _name(shown: Pruned) -> str:
    return "RMSE" if shown.is_error else "accuracy"


def _hover(shown: Pruned) -> str:
    return "%{y:.4~g}" if shown.is_error else "%{y:.2%}"


def _value(shown: Pruned, value: float | None) -> str:
    return number(value, 4, padded=True) if shown.is_error else percent(value, 2)


def _share(share: float) -> str:
    """Returns a share as a percentage, with decimals only where it has some.

    >>> _share(0.9), _share(0.955)
    ('90%', '95.5%')
    """
    return f"{number(100 * share, 4)}%"
