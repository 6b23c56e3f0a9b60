"""Compression, on the page of a family: from the network to the file, the front of sizes, what each tensor takes, the verdict.

Made from the records of ``netdial compress`` alone (``netdial.runs.results.compressions``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]

from netdial.core.best import signed
from netdial.core.records import TRAINED_ON, Record
from netdial.report.panels import COLOURS, MUTED, TITLE_PIXELS, log_axis
from netdial.report.sections.size_figures import single
from netdial.report.standing.of_smaller import compress_standing
from netdial.report.template import Tile
from netdial.report.text import at_lam, count, loss_words, number
from netdial.runs.curves import constants, metrics_of, rivals
from netdial.runs.results.compressions import (
    AT_KNOTS,
    SIZE,
    STAGES,
    Compression,
    compressions,
    each_bits,
    ratio_words,
    rest_words,
    stage_words,
    times_words,
)

_PIXELS = 240


@dataclass(frozen=True)
class CompressedRows:
    """One compression in words and rows.

    Attributes:
        name: how it was done.
        stages: stage, bytes, how many times smaller, loss on validation rows.
        layers: tensor, numbers, those that are not 0, values; share of a bar, bytes; bits for each not 0, bits a number.
        split: purpose, bytes and share of the file.
        verdict: in a sentence; empty if nothing was judged.
        loss: what losses are, with their unit.
        rest: how much of the file is no weights.
    """

    name: str
    stages: list[list[str]]
    layers: list[tuple[list[str], float, str, list[str]]]
    split: list[list[str]]
    verdict: str
    loss: str
    rest: str


@dataclass(frozen=True)
class CompressionSection:
    """What the page says of compression.

    Attributes:
        lead: the answer in a sentence.
        blocks: the compressions.
        figures: figures by the id of their place.
        tiles: what stands at its top.
        bounds: how long codes are at least, in words.
    """

    lead: str
    blocks: list[CompressedRows]
    figures: dict[str, go.Figure]
    tiles: list[Tile]
    bounds: str


def compression_section(
    records: Sequence[Record], config: Mapping[str, Any]
) -> CompressionSection | None:
    """Returns the section on compression, or None when nothing was recorded of it."""
    found = compressions(records)
    if not found:
        return None
    last = found[-1]
    size, first = last.stages["coded"][SIZE], last.stages["dense"][SIZE]
    of = f", those of {AT_KNOTS}," if last.of_family else ""
    lead = f"{count(round(first))} bytes{of} became {count(round(size))}, {times_words(first, size)} ({_name(last)})."
    figures = {
        "compress-front": front_figure(found, config),
        "compress-waterfall": waterfall_figure(last),
    }
    stands = compress_standing(last, _name(last), constants(records), rivals(records), config)
    tiles = [] if stands is None else stands.tiles()
    bounds = "; ".join(f"{name} {count(round(size))} bytes" for name, size in last.bounds.items())
    blocks = [_rows(one, _loss(one, config)) for one in found]
    return CompressionSection(lead, blocks, figures, tiles, bounds)


def waterfall_figure(one: Compression) -> go.Figure:
    """Returns the bytes after each stage as bars on a log axis, with lines where codes of the same numbers end."""
    names = [stage for stage in STAGES if stage in one.stages and stage != TRAINED_ON]
    sizes = [one.stages[stage][SIZE] for stage in names]
    figure = single(_PIXELS, "bytes after each step", TITLE_PIXELS)
    figure.add_trace(
        go.Bar(
            x=names, y=sizes, marker={"color": COLOURS["family"]}, hovertemplate="%{x}: %{y:,.0f} bytes<extra></extra>",
            text=[count(round(size)) for size in sizes], showlegend=False,
        )
    )  # fmt: skip
    bounds = [size for size in one.bounds.values() if size > 0]
    for size in bounds:
        figure.add_hline(y=size, line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_layout(yaxis=log_axis([*filter(None, sizes), *bounds]), xaxis={"showgrid": False})
    return figure


def front_figure(found: Sequence[Compression], config: Mapping[str, Any]) -> go.Figure:
    """Returns loss on validation rows above the start over the bytes of the file."""
    words = " and ".join(dict.fromkeys(_loss(one, config) for one in found))
    which = ", λ that loses most" if any(one.of_family for one in found) else ""
    figure = single(_PIXELS, f"Above the dense network{which}, validation · {words}", TITLE_PIXELS)
    sizes: list[float] = []
    for one in found:
        points = sorted(
            (p[SIZE], p["excess"]) for p in one.front.values() if {SIZE, "excess"} <= p.keys()
        )
        sizes += [size for size, _ in points]
        figure.add_trace(
            go.Scatter(
                x=[size for size, _ in points], y=[excess for _, excess in points], mode="lines+markers", name=_name(one),
                hovertemplate="%{x:,.0f} bytes: %{y:+.3g}<extra></extra>", showlegend=len(found) > 1,
            )
        )  # fmt: skip
    axis = log_axis(sizes) if sizes else {}
    figure.update_layout(xaxis={**axis, "title": {"text": "bytes"}}, yaxis={"tickformat": "+.3~g"})
    return figure


def _name(one: Compression) -> str:
    said = [f"{axis.replace('_', '-')} {place}" for axis, place in one.how.items()]
    return ", ".join([*([] if one.lam is None else [at_lam(one.lam)]), *said]) or "by default"


def _loss(one: Compression, config: Mapping[str, Any]) -> str:
    """Returns what losses of a compression are, with their unit."""
    return loss_words(str(one.how.get("metric") or metrics_of(config)[1]), config)


def _rows(one: Compression, loss: str) -> CompressedRows:
    first = one.stages["dense"][SIZE]
    stages = [
        [
            stage_words(name, family=one.of_family),
            count(round(s[SIZE])),
            ratio_words(first, s[SIZE]),
            number(s["valid/loss"]) if "valid/loss" in s else "",
        ]
        for name in STAGES
        if (s := one.stages.get(name)) is not None
    ]
    most = max((row.get("bits", 0.0) for row in one.layers.values()), default=0.0) or 1.0
    layers = [
        (
            [
                name,
                count(round(row["size"])),
                count(round(row["kept"])),
                count(round(row["values"])) if row["values"] else "exact" if row["kept"] else "",
            ],
            round(100 * row["bits"] / most, 1),
            count(round(row["bits"] / 8)),
            [
                each_bits(row["bits"], row["kept"]),
                f"{row['bits'] / row['size'] if row['size'] else 0:.2g}",
            ],
        )
        for name, row in one.layers.items()
        if {"size", "kept", "values", "bits"} <= row.keys()
    ]
    whole = sum(one.split.values()) or 1.0
    split = [
        [name, count(round(size)), f"{100 * size / whole:.1f} %"]
        for name, size in one.split.items()
    ]
    return CompressedRows(
        _name(one), stages, layers, split, _verdict(one.verdict, loss), loss, rest_words(one.split)
    )


def _verdict(found: dict[str, float], loss: str) -> str:
    if not {"excess", "bound", "margin", "seeds", "no_loss"} <= found.keys():
        return ""
    said = (
        f"{signed(found['excess'], '+.3g')} against dense controls trained alike, at most {signed(found['bound'], '.3g')} "
        f"(95 %), margin {found['margin']:.3g} ({loss}), seeds: {found['seeds']:.0f}"
    )
    if found["no_loss"]:
        return f"No loss: {said}."
    return (
        f"A loss cannot be ruled out: {said}."
        if found["seeds"] >= 5
        else f"Not judged, 5 seeds are needed: {said}."
    )
