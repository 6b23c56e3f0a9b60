"""Fading: chooses the channels to remove next on the way to a target size, and the λ that brings their switches to 0 in time.

Training is divided into intervals between collections. In each interval the channels of the least importance for their cost
fade: each has a λ of its own, just large enough that the proximal steps of the interval bring its θ to 0. The other channels
have no penalty, so they are not biased. The importance of a channel is the running mean of (θ dL/dθ)², the squared first-order
change of the loss without it (Molchanov et al. 2019, for gates); training computes these gradients anyway.

One λ for all switches was tried first, steered by proportional-integral control: switches that start equal fall together and
reach 0 together, so that either nothing dies or everything does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netdial.channels.collect import refusals, removable
from netdial.channels.constants import known
from netdial.channels.fold.norms import depends_on_all
from netdial.channels.graph import Graph
from netdial.channels.sizes import RemovalSavings, Size, switches_of, thetas
from netdial.shrinking.control import allowance

Channels = dict[str, tuple[int, ...]]
"""Channels by group."""

_MEMORY = 0.02
"""Weight of the newest step in the running mean: it remembers about fifty."""


def score(scores: dict[str, Tensor], switches: Mapping[str, Tensor]) -> None:
    """Updates the running means of (θ dL/dθ)² in place; switches without a gradient are left out.

    Args:
        scores: switch -> running mean ``[C]``; empty at the start.
        switches: switch -> θ ``[C]`` with its gradient.
    """
    with torch.no_grad():
        for name, theta in switches.items():
            if theta.grad is not None:
                seen = (theta * theta.grad).square()
                held = scores.get(name)
                scores[name] = seen if held is None else held.lerp_(seen, _MEMORY)


def can_fade(graph: Graph) -> tuple[str, ...]:
    """Returns the groups whose channels can be removed once their switches are 0.

    The others hold channels to which something without a switch is added, or over which an operation normalises, or whose
    constants (a(0) ≠ 0 before zero padding) nothing can take up.
    """
    able = []
    for group, held in switches_of(graph).items():
        channels = tuple(range(len(held[0][1])))
        with _silenced(graph, {group: channels}):
            if removable(graph, continues=True).get(group) == channels:
                able.append(group)
    return tuple(able)


def cannot_fade(graph: Graph, able: Collection[str]) -> dict[str, str]:
    """Returns for the groups with switches that are not among those that can fade why not."""
    found = {}
    mixing = {group.name: depends_on_all(graph, group) for group in graph.groups}
    for group, held in switches_of(graph).items():
        if group not in able and mixing[group]:
            found[group] = f"{mixing[group]} depends on all channels together"
        elif group not in able:
            with _silenced(graph, {group: tuple(range(len(held[0][1])))}):
                why = refusals(graph, continues=True).get(group, "")
            found[group] = (
                why or "something else is added to its channels, or reads them as positions"
            )
    return found


def vital(graph: Graph) -> frozenset[str]:
    """Returns the switches without which the outputs no longer depend on the inputs: not all of their channels may die."""
    found = set()
    (out,) = (node for node in graph.traced.graph.nodes if node.op == "output")
    for group, held in switches_of(graph).items():
        with _silenced(graph, {group: tuple(range(len(held[0][1])))}):
            values = known(graph.traced, graph.example, continues=False)[out]
        if all(not leaf.isnan().any() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)):
            found |= {name for name, _ in held}
    return frozenset(found)


@contextmanager
def _silenced(graph: Graph, channels: Channels) -> Iterator[None]:
    """Switches channels off for a while."""
    was = [(theta, theta.detach().clone()) for theta in thetas(graph).values()]
    silence(graph, channels)
    try:
        yield
    finally:
        with torch.no_grad():
            for theta, before in was:
                theta.copy_(before)


def choose(
    graph: Graph,
    scores: Mapping[str, Tensor],
    *,
    able: Collection[str],
    now: Size,
    goal: float,
    minimum: int,
    exactly: bool = False,
) -> Channels:
    """Returns the channels to remove to reach the size ``goal``: those of the least importance for their cost.

    Args:
        graph: the network.
        scores: switch -> what its channels are worth ``[C]``; nothing without one.
        able: groups that can lose channels.
        now: size now.
        goal: size wanted, missed by half a channel at most unless every group is at its minimum.
        minimum: channels that every group keeps.
        exactly: channels that would go too far are passed over for cheaper ones further down.
    """
    ranked, switches = [], thetas(graph)
    for group, held in switches_of(graph).items():
        if group not in able:
            continue
        seen = [
            scores.get(name, torch.zeros_like(switches[name]))[at.to(switches[name].device)].sum(1)
            for name, at in held
        ]
        worth = torch.stack(seen).amax(0) / max(now.saved[group], 1e-30)
        order = worth.argsort().tolist()[: max(len(worth) - minimum, 0)]
        ranked += [(float(worth[channel]), group, channel) for channel in order]
    ranked.sort()
    order = [group for _, group, _ in ranked]
    if exactly:
        taken = _nearest(now, order, gap=now.value - goal)
    else:
        costs = now.costs(order)
        count = allowance(costs, size=now.value, least=goal) if now.value > goal else 0
        taken = list(range(count))
    chosen: Channels = {}
    for _, group, channel in (ranked[place] for place in taken):
        chosen[group] = (*chosen.get(group, ()), channel)
    return chosen


def _nearest(now: Size, order: Sequence[str], *, gap: float) -> list[int]:
    """Returns places in order whose channels fit into what is missing, and the one besides that brings the size nearest."""
    going = RemovalSavings(now)
    taken: list[int] = []
    costs: dict[str, float] = {}
    for place, group in enumerate(order):
        if group not in costs:
            costs[group] = going.cost(group)
        if costs[group] <= gap:
            gap -= going.take(group)
            taken.append(place)
            costs.clear()
    left = {group: going.cost(group) for group in set(order)}
    rest = [place for place in range(len(order)) if place not in set(taken)]
    last = min(rest, key=lambda place: abs(gap - left[order[place]]), default=None)
    if last is not None and abs(gap - left[order[last]]) < gap:
        taken.append(last)
    return taken


def pulls(graph: Graph, fading: Channels, *, reach: float) -> dict[str, Tensor]:
    """Returns for each switch the λ ``[C]`` that takes fading channels to 0, and 0 for the others.

    Args:
        graph: the network.
        fading: channels that fade.
        reach: rate of the proximal steps × their number.
    """
    found = {name: torch.zeros_like(theta) for name, theta in thetas(graph).items()}
    for name, at, theta in _of(graph, fading):
        found[name][at] = theta.detach()[at].abs() / reach
    return found


def silence(graph: Graph, fading: Channels) -> None:
    """Sets the switches of fading channels to 0."""
    with torch.no_grad():
        for _, at, theta in _of(graph, fading):
            theta[at] = 0.0


def _of(graph: Graph, fading: Channels) -> list[tuple[str, list[int], Tensor]]:
    """Returns (switch, indices in θ, θ) of channels."""
    switches, held = thetas(graph), switches_of(graph)
    return [
        (name, at[list(channels)].flatten().tolist(), switches[name])
        for group, channels in fading.items()
        for name, at in held[group]
    ]
