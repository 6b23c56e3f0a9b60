"""Chooses the channels to remove: by one threshold over all groups or the same fraction of each, to a fraction or a size.

Channels go in blocks: single ones, or as many as take a group to the next multiple of ``round_to``. All blocks stand in one
order, least worth first, and what goes is the front of it; so a larger share takes what a smaller one takes, and more. Equal
scores go in the order of execution, then of channels. The end is where the share or size is missed by half a block at most.

Shapes: C channels of a group.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, fx

from netdial.channels.clock import NOISE, Clock
from netdial.channels.graph import Graph
from netdial.channels.sizes import size
from netdial.core.arguments import Count, checked_fields
from netdial.core.cutting import cut_module
from netdial.core.errors import ConfigError
from netdial.core.size import Target

Scope = Literal["global", "layer"]
Chosen = dict[str, tuple[int, ...]]
"""Group -> channels that go."""


@checked_fields
@dataclass(frozen=True)
class Limits:
    """Limits of what is removed: fewest channels of a group, multiples, and whether fractions are counted by group.

    Attributes:
        scope: ``global`` ranks the channels of all groups together, ``layer`` takes the same share of each group.
        minimum: channels that every group keeps, at least 1.
        round_to: widths are multiples of this, or what they were.
    """

    scope: Annotated[
        Scope,
        Field(
            description="rank the channels of all layers together, or take the same share of each"
        ),
    ] = "global"
    minimum: Annotated[int, Field(ge=1, description="channels that every group keeps")] = 1
    round_to: Annotated[
        Count, Field(description="widths become multiples of this, or stay what they were")
    ] = 1


@dataclass(frozen=True)
class ChannelBlock:
    """Channels of a group that are removed together.

    Attributes:
        worth: place in the order, lower goes first.
        group: their group.
        channels: the channels.
        left: channels of the group afterwards.
    """

    worth: float
    group: str
    channels: tuple[int, ...]
    left: int


def blocks(
    scores: Mapping[str, Tensor], limits: Limits, origin: Mapping[str, int] | None = None
) -> list[ChannelBlock]:
    """Returns all blocks in the order in which they are removed.

    Args:
        scores: group -> score of each channel ``[C]``, in the order of execution.
        limits: what may go.
        origin: widths that the shares of ``layer`` are counted of; those now by default.
    """
    found: list[ChannelBlock] = []
    for name, score in scores.items():
        order, worth = score.argsort(stable=True).tolist(), float("-inf")
        at, whole = 0, (origin or {}).get(name, len(score))
        for width in _widths(len(score), limits):
            channels = tuple(order[at : len(score) - width])
            worth = max(worth, float(score[list(channels)].mean()))
            middle = width + len(channels) / 2
            place = worth if limits.scope == "global" else (whole - middle) / whole
            found.append(ChannelBlock(place, name, channels, width))
            at = len(score) - width
    return sorted(found, key=lambda block: block.worth)


def _widths(size: int, limits: Limits) -> list[int]:
    """Returns the widths that a group can have, widest first."""
    return [w for w in range(size - 1, limits.minimum - 1, -1) if w % limits.round_to == 0]


def by_share(
    order: Sequence[ChannelBlock],
    share: float,
    *,
    scope: Scope,
    now: Mapping[str, int],
    origin: Mapping[str, int] | None = None,
) -> Chosen:
    """Returns the channels to remove for a fraction of all channels, or of those of each group.

    Args:
        order: blocks in their order.
        share: part of the channels at the start that is gone in the end, in [0, 1).
        scope: where the share is counted.
        now: group -> channels it has.
        origin: group -> channels it had at the start; those now by default.
    """
    if scope == "layer":
        return gather([block for block in order if block.worth <= share + 1e-9])
    wanted = sum(now.values()) - (1 - share) * sum((origin or now).values())
    count = gone = 0
    while count < len(order) and gone + len(order[count].channels) / 2 <= wanted + 1e-9:
        gone += len(order[count].channels)
        count += 1
    return gather(order[:count])


def by_target(graph: Graph, order: Sequence[ChannelBlock], target: Target) -> Chosen:
    """Returns the channels to remove to reach a size, by bisection on networks that are really cut.

    Args:
        graph: the network.
        order: blocks in their order.
        target: size to arrive at.
    """
    sizes: dict[int, float] = {}
    least = replace(graph, traced=without(graph, gather(order)))
    clock = Clock(graph, least) if target.kind == "ms" else None

    def at(count: int) -> float:
        if count not in sizes:
            sizes[count] = size_without(graph, gather(order[:count]), target, clock)
        return sizes[count]

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle) <= target.value else (middle + 1, high)
    if low and abs(at(low - 1) - target.value) < abs(at(low) - target.value):
        low -= 1
    return gather(order[:low])


def size_without(graph: Graph, chosen: Chosen, target: Target, clock: Clock | None = None) -> float:
    """Returns the size of a copy without some channels, in the unit of the target."""
    return size(replace(graph, traced=without(graph, chosen)), target.kind, clock).value


def without(graph: Graph, chosen: Chosen) -> fx.GraphModule:
    """Returns a copy of the network without some channels; nothing is folded."""
    trial = copy.deepcopy(graph.traced)
    cut_module(graph.plan(chosen), trial)
    return trial


def check_size(
    graph: Graph, order: Sequence[ChannelBlock], target: Target, more: Sequence[str] = ()
) -> None:
    """Refuses a target that cannot be reached.

    Args:
        graph: the network.
        order: blocks of all channels that may go.
        target: size to arrive at.
        more: what else would let the network become smaller, in words.

    Raises:
        ConfigError: the network is no larger than the target, or is larger when everything is gone that may go.
    """
    smallest = replace(graph, traced=without(graph, gather(order)))
    show, still = "{:.10g}".format, "there are still"
    shown = show
    if target.kind == "ms":
        shown = "{:.3g} ms".format
        show = "{:.3g} ms, the cost of calling its operations".format
        clock, still = Clock(graph, smallest), "a call still takes"
        start, least = clock.start, (1 + NOISE) * clock.floor
    else:
        start, least = (size(each, target.kind).value for each in (graph, smallest))
    if not target.value < start:
        raise ConfigError(
            f"target of {target}: the network has {shown(start)}, so there is nothing to remove; lower the target"
        )
    if target.value < least:
        raise ConfigError(
            f"target of {target}: with the fewest channels in every group {still} {show(least)}; "
            + ", or ".join(["raise the target", *more])
        )


def gather(order: Sequence[ChannelBlock]) -> Chosen:
    """Returns the channels of blocks by group, ascending."""
    chosen: Chosen = {}
    for block in order:
        chosen[block.group] = tuple(sorted((*chosen.get(block.group, ()), *block.channels)))
    return chosen
