"""Whole channels removed in one shot, on the page of a family: what each pruning left of a member, and what it is worth.

Made from the records of ``netdial slim`` alone (``netdial.runs.prunings``). Prunings are numbered in the order
in which they were made and carry one colour each; what a record does not say is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.core.best import Row, is_near
from netdial.core.records import Record
from netdial.report.panels import COLOURS, MUTED, SPLITS, TITLE_PIXELS
from netdial.report.sections.size_figures import (
    SIZE_PIXELS,
    escaped,
    front_line,
    share_axis,
    shown,
    single,
    size_axes,
)
from netdial.report.standing.of_smaller import slim_standing
from netdial.report.template import Tile
from netdial.report.text import at_lam, count, number, percent
from netdial.runs.curves import EXCESS, EXCESS_ERROR, constants, rivals, shown_metric
from netdial.runs.prunings import NetworkReading, Pruning, prunings

_PALETTE = (COLOURS["valid"], COLOURS["test"], "#b45fa8", "#8a7a00", "#d1495b", "#5b6bd6", MUTED)
"""Colours of prunings; that of the family belongs to the front."""
_WIDTHS_PIXELS = 300
_COSTS = {"params": "parameters", "macs": "MACs", "bytes": "bytes"}

Show = Callable[[float | None], str]


@dataclass(frozen=True)
class SlimRow:
    """One pruning in the table.

    Attributes:
        number: its number on the page.
        colour: its colour.
        name: number, how it was pruned, and λ.
        rows: a row for each stage, the stage first.
    """

    number: int
    colour: str
    name: str
    rows: list[list[str]]


@dataclass(frozen=True)
class LayerWidths:
    """One layer in the table of widths: channels at the start, and for each pruning (channels left, share of a bar, share)."""

    name: str
    before: str
    after: list[tuple[str, float, str]]


@dataclass(frozen=True)
class Channels:
    """What the page says of whole channels removed.

    Attributes:
        lead: the answer in a sentence or two.
        notes: what a reader should know is missing.
        figures: figures by the id of their place.
        headings, blocks: what each pruning left, stage by stage.
        constant: what a constant prediction is worth under the same headings; none if it was not recorded.
        layers: how wide the layers are.
        tiles: what stands at its top.
    """

    lead: str
    notes: str
    figures: dict[str, go.Figure]
    headings: list[str]
    blocks: list[SlimRow]
    constant: list[str]
    layers: list[LayerWidths]
    tiles: list[Tile]


def channels_section(records: Sequence[Record], config: dict[str, Any]) -> Channels | None:
    """Returns the section on channels removed in one shot, or None when nothing was recorded of it.

    Args:
        records: records of the run.
        config: its configuration; ``n_valid`` is read.
    """
    found = prunings(records)
    if not found:
        return None
    metric = _metric(found)
    figures = {"channels-size": size_figure(found, metric), "channels-widths": widths_figure(found)}
    headings, show = _columns(found)
    return Channels(
        lead(found, metric),
        _notes(found),
        {place: figure for place, figure in figures.items() if figure is not None},
        [words for _, words in headings],
        [_block(i, one, [name for name, _ in headings], show) for i, one in enumerate(found, 1)],
        _constant(constants(records), [name for name, _ in headings], show),
        layer_rows(found),
        _tiles(records, found, config),
    )


def _tiles(records: Sequence[Record], found: list[Pruning], config: dict[str, Any]) -> list[Tile]:
    """Returns what stands at the top: the pruning that the sentence tells of, beside its member, others and rivals."""
    best = answer_of(found)
    which = f"pruning {found.index(best) + 1}, " if len(found) > 1 else ""
    name = f"{which}{at_lam(best.lam)}"
    told = slim_standing(found, best, name, constants(records), rivals(records), config)
    return [] if told is None else told.tiles()


def answer_of(found: Sequence[Pruning]) -> Pruning:
    """Returns the smallest network within one standard error of its member, or else the newest one."""
    good = [one for one in found if _is_as_good(one)]
    return min(good, key=lambda one: one.after.get("params") or math.inf, default=found[-1])


def lead(found: Sequence[Pruning], metric: str | None) -> str:
    """Returns the answer: the smallest network within one standard error of its member, or else the newest one."""
    best = answer_of(found)
    start, end = best.before.get("params"), best.after.get("params")
    which = f"Pruning {found.index(best) + 1}" if len(found) > 1 else "Pruning"
    words = f"{which} ({_words(best)}; {at_lam(best.lam)})"
    if start is None or end is None:
        return f"{words} was recorded without its size."
    words += f" left {count(end)} of {count(start)} parameters ({number(start / max(end, 1e-12))} times smaller)"
    was, value = (one.get(metric) if metric else None for one in (best.before, best.after))
    if metric is None or was is None or value is None:
        return f"{words}."
    split, name = SPLITS[metric.split("/")[0]], "RMSE" if _is_error(metric) else "accuracy"
    close = "within one standard error of" if _is_as_good(best) else "against"
    close = "better than" if (value < was if _is_error(metric) else value > was) else close
    shown, whole = _value(metric)(value), _value(metric)(was)
    if shown == whole:
        return f"{words}. Its {split} {name} is {shown}, as that of the whole member."
    return f"{words}. Its {split} {name} is {shown}, {close} the whole member’s {whole}."


def size_figure(found: Sequence[Pruning], metric: str | None) -> go.Figure | None:
    """Returns size against quality: the way of each pruning from its member, and the front; None without."""
    ways = [(i, one, _way(one, metric)) for i, one in enumerate(found, 1)]
    if metric is None or not any(way for _, _, way in ways):
        return None
    is_error = _is_error(metric)
    title = f"{SPLITS[metric.split('/')[0]].capitalize()} {'RMSE' if is_error else 'accuracy'}"
    figure = single(SIZE_PIXELS, f"{title} against size", TITLE_PIXELS)
    figure.update_layout(hovermode="closest", hoversubplots=None)
    tail = (
        f"%{{customdata}}: %{{x:,.0f}} parameters, <b>{shown(is_error=is_error)}</b><extra></extra>"
    )
    for index, one, way in ways:
        if way:
            figure.add_trace(_way_line(index, way, f"{index} · {escaped(_name(one))}, {tail}"))
    names = [f"{i}, {stage}" for i, _, way in ways for stage, _, _ in way]
    points = [(size, value) for _, _, way in ways for _, size, value in way]
    front = front_line(points, names, tail, is_error=is_error)
    figure.add_trace(front.update(showlegend=False))
    size_axes(figure, is_error=is_error)
    return figure


def widths_figure(found: Sequence[Pruning]) -> go.Figure | None:
    """Returns the share of channels left in each layer, a line for each pruning; None without two layers of known width."""
    layers = _layers(found)
    if len(layers) < 2:
        return None
    figure = single(_WIDTHS_PIXELS, "Channels left, share of the start")
    figure.update_layout(hovermode="closest", hoversubplots=None)
    for index, one in enumerate(found, 1):
        widths = {name: pair for name, pair in one.widths.items() if pair[0]}
        if widths:
            figure.add_trace(_widths_line(index, _name(one), widths, len(found)))
    figure.update_layout(yaxis=share_axis([y for trace in figure.data for y in trace.y]))
    figure.update_xaxes(
        title_text="layer, in the order of execution",
        categoryorder="array",
        categoryarray=layers,
        range=[-0.5, len(layers) - 0.5],
        automargin=True,
    )
    return figure


def layer_rows(found: Sequence[Pruning]) -> list[LayerWidths]:
    """Returns the widths of all layers, those at the start from the first pruning that knows them."""
    rows = []
    for name in _layers(found):
        pairs = [one.widths.get(name) for one in found]
        before = next(pair[0] for pair in pairs if pair is not None)
        cells = [("–", 0.0, "") if pair is None else _width(*pair) for pair in pairs]
        rows.append(LayerWidths(name, count(before), cells))
    return rows


def _metric(found: Sequence[Pruning]) -> str | None:
    """Returns what prunings are compared by: accuracy or RMSE, on validation data if there are such."""
    return shown_metric(
        {name for one in found for reading in one.readings for name in reading.values}
    )


def _is_error(metric: str) -> bool:
    return metric.endswith("/rmse")


def _is_as_good(one: Pruning) -> bool:
    """Returns whether a small network is within one standard error of its member on validation data, by the proper loss."""
    excess, error = one.after.get(EXCESS), one.after.get(EXCESS_ERROR)
    if excess is None or error is None:
        return False
    return is_near(Row(one.lam, excess, error), Row(one.lam, 0.0, 0.0))


def _way(one: Pruning, metric: str | None) -> list[tuple[str, float, float]]:
    """Returns stage, parameters and metric of all stages of which both are known."""
    pairs = [(r.stage, r.get("params"), r.get(metric or "")) for r in one.readings]
    return [(stage, size, value) for stage, size, value in pairs if size and value is not None]


def _way_line(index: int, way: Sequence[tuple[str, float, float]], hover: str) -> go.Scatter:
    return go.Scatter(
        x=[size for _, size, _ in way],
        y=[value for _, _, value in way],
        mode="lines+markers",
        line={"color": _colour(index), "width": 1.6},
        marker={
            "size": [7] * (len(way) - 1) + [10],
            "symbol": ["circle-open", *["circle"] * (len(way) - 1)],
        },
        customdata=[stage for stage, _, _ in way],
        hovertemplate=hover,
        showlegend=False,
        cliponaxis=False,
    )


def _widths_line(
    index: int, name: str, widths: dict[str, tuple[float, float]], of: int
) -> go.Scatter:
    """Returns the share left along the layers; later prunings are drawn thinner on top of earlier ones."""
    return go.Scatter(
        x=list(widths),
        y=[after / before for before, after in widths.values()],
        mode="lines+markers",
        line={"color": _colour(index), "width": 1.6 + 2 * (1 - index / of)},
        marker={"size": 8},
        customdata=[
            f"<b>{count(after)}</b> of {count(before)} channels ({percent(after / before)})"
            for before, after in widths.values()
        ],
        hovertemplate=f"{index} · {escaped(name)}<br>%{{x}}: %{{customdata}}<extra></extra>",
        showlegend=False,
        cliponaxis=False,
    )


def _columns(found: Sequence[Pruning]) -> tuple[list[tuple[str, str]], dict[str, Show]]:
    """Returns (record, heading) of the columns for which anything was recorded, and how their numbers are written."""
    metrics = {
        f"{split}/{name}": f"{words} {title}"
        for split, words in SPLITS.items()
        for name, title in (("accuracy", "accuracy"), ("rmse", "RMSE"))
    }
    recorded = {name for one in found for reading in one.readings for name in reading.values}
    times = sorted((n for n in recorded if n.startswith("ms_")), key=lambda n: (len(n), n))
    titles = metrics | _COSTS | {n: f"ms, batch {n.removeprefix('ms_')}" for n in times}
    headings = [(name, title) for name, title in titles.items() if name in recorded]
    show: dict[str, Show] = dict.fromkeys(_COSTS, count)
    show |= {name: _value(name) for name in metrics}
    show |= dict.fromkeys(times, partial(number, padded=True))
    return headings, show


def _constant(
    known: Mapping[str, float], names: Sequence[str], show: Mapping[str, Show]
) -> list[str]:
    """Returns what a constant is worth under each heading, nothing if it is not known under any."""
    if not any(name in known for name in names):
        return []
    return [show[name](known[name]) if name in known else "–" for name in names]


def _block(index: int, one: Pruning, names: Sequence[str], show: dict[str, Show]) -> SlimRow:
    rows = [
        [reading.stage, *(_cell(reading, name, show[name]) for name in names)]
        for reading in one.readings
    ]
    return SlimRow(index, _colour(index), f"{index} · {_name(one)}", rows)


def _cell(reading: NetworkReading, name: str, show: Show) -> str:
    return show(reading.values[name]) if name in reading.values else ""


def _notes(found: Sequence[Pruning]) -> str:
    """Returns what is missing, in a sentence, or nothing."""
    silent = [i for i, one in enumerate(found, 1) if not one.how]
    if not silent:
        return ""
    which = ", ".join(map(str, silent))
    return (
        f"Records of pruning {which} are of an older netdial: they do not say by which criterion it went, nor how wide "
        "the layers are. Prune again to see it."
    )


def _layers(found: Sequence[Pruning]) -> list[str]:
    """Returns the names of all layers, in the order of execution."""
    return list(
        dict.fromkeys(n for one in found for n, (before, _) in one.widths.items() if before)
    )


def _width(before: float, after: float) -> tuple[str, float, str]:
    share = after / before if before else math.nan
    bar = round(100 * min(max(share, 0.0), 1.0), 1) if math.isfinite(share) else 0.0
    return count(after), bar, percent(share, 0)


def _words(one: Pruning) -> str:
    return ", ".join(one.how) or "a criterion that was not recorded"


def _name(one: Pruning) -> str:
    return f"{_words(one)}, λ = {number(one.lam)}"


def _value(metric: str) -> Show:
    return (
        partial(number, digits=4, padded=True) if _is_error(metric) else partial(percent, places=2)
    )


def _colour(index: int) -> str:
    return _PALETTE[(index - 1) % len(_PALETTE)]
