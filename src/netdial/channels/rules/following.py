"""Numbers in a graph that have to follow when channels go: sizes of views, of parts, of pieces.

A number that is computed from the channels which it counts follows by itself. One that is written in the code, or computed from
something else that happens to be as many, is computed anew: from the sizes of the operation's own input, or from the leaf that
has these very channels. The code then does what it did, for every count of channels. Where that is not possible, the channels
stay; and so do the channels that a number counts where they are not those which it is used for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import fx, nn

from netdial.channels.labels import FIXED, Labels, SizeNumber
from netdial.channels.nodes import place
from netdial.channels.rules.table import Demand, Scene
from netdial.core.cutting import leaves
from netdial.core.errors import TraceError

Make = Callable[[fx.Graph], Any]
"""Puts into a graph what computes a number, and returns it."""


def settle(scene: Scene, same: Callable[[], bool], *, lenient: bool) -> bool:
    """Makes numbers follow, or keeps or refuses the channels that they count; returns whether the graph was changed.

    Args:
        scene: the graph under study.
        same: whether it gives what it gave before numbers in it were made to follow.
        lenient: what has no rule keeps its channels whole.

    Raises:
        TraceError: an operation without a rule touches channels that can go; not if ``lenient``.
    """
    _settle_sources(scene)
    ways: list[tuple[Demand, Make]] = []
    open_ones = [
        demand
        for demand in scene.demands
        if scene.atoms.is_free(demand.labels) and not counts(scene, demand.number, demand.labels)
    ]
    equal = {d.node for d in open_ones if d.spare and not d.make and not leaf_size(scene, d.labels)}
    for demand in scene.demands:
        shared = demand.spare is not None and demand.node in equal  # parts stay equal, all of them
        if scene.atoms.is_free(demand.labels) and (
            shared or any(demand is one for one in open_ones)
        ):
            make = demand.make or (None if shared else leaf_size(scene, demand.labels))
            make = make or demand.spare or (None if shared else part_of_leaf(scene, demand.labels))
            make = make or (None if shared else times_leaf(scene, demand.labels))
            make = make if demand.place else None
            if make is None and not demand.message:
                scene.fix(demand.labels, f"{place(demand.node)} makes as many, written in the code")
            elif make is None:
                scene.fix(demand.labels, demand.message)
            else:
                ways.append((demand, make))
    if ways and _made_to_follow(scene, same, ways):
        return True
    learnt = _of_parameters(scene)
    for labels, message in scene.refused:
        if scene.atoms.is_free(labels):
            if not lenient and learnt & set(scene.atoms.find(labels).tolist()):
                raise TraceError(
                    f"{message}; or keep these channels whole (lenient=True, --lenient)"
                )
            scene.fix(labels, message)
    _settle_sources(scene)
    return False


def _of_parameters(scene: Scene) -> set[int]:
    """Returns the classes of channels that parameters have; those of constants and buffers alone may as well stay."""
    held = leaves(scene.traced)
    axes = [
        axis
        for leaf, found in scene.leaves.items()
        for axis in found
        if isinstance(held.get(leaf), nn.Parameter)
    ]
    return {root for axis in axes for root in scene.atoms.find(axis).tolist()} - {FIXED}


def _settle_sources(scene: Scene) -> None:
    """Keeps what a number is computed from where the channels that it has to count stay."""
    going = True
    while going:
        going = False
        for demand in scene.demands:
            if scene.atoms.is_free(demand.labels) or not isinstance(demand.number, SizeNumber):
                continue
            for source in demand.number.sources:
                if scene.atoms.is_free(source):
                    scene.fix(source, f"{place(demand.node)} is given how many there are")
                    going = True


def counts(scene: Scene, size: Any, labels: Labels) -> bool:
    """Returns whether a number follows when channels of a dimension go: it is open, or computed from them."""
    if not isinstance(size, SizeNumber):
        return size is None or (isinstance(size, int) and size == -1)
    counted = {root for source in size.sources for root in scene.atoms.find(source).tolist()}
    return counted - {FIXED} == set(scene.atoms.find(labels).tolist()) - {FIXED}


def leaf_size(scene: Scene, labels: Labels) -> Make | None:
    """Returns what computes a count of channels from the leaf that has just these; None if there is no such leaf."""
    return _from_leaf(scene, labels, lambda held: held == 1)


def part_of_leaf(scene: Scene, labels: Labels) -> Make | None:
    """The same from a leaf that has several rows for each channel, as many for all: heads, of a layer that makes them."""
    return _from_leaf(scene, labels, lambda held: held > 1)


def times_leaf(scene: Scene, labels: Labels) -> Make | None:
    """The same of channels that are there several times, as value and gate are, from a leaf that has each of them once."""
    once, times = np.unique(scene.atoms.find(labels), return_counts=True)
    if times.min(initial=2) < 2 or len(set(times.tolist())) > 1:
        return None
    make = leaf_size(scene, once)
    if make is None:
        return None
    found, count = make, int(times[0])
    return lambda graph: graph.call_function(operator.mul, (found(graph), count))


def _from_leaf(scene: Scene, labels: Labels, fits: Callable[[int], bool]) -> Make | None:
    held, wanted = leaves(scene.traced), np.sort(scene.atoms.find(labels))
    for leaf, axes in scene.leaves.items():
        for dim, axis in enumerate(axes):
            count, rest = divmod(len(axis), max(len(labels), 1))
            if rest or not fits(count) or leaf not in held:
                continue
            if np.array_equal(np.sort(scene.atoms.find(axis)), np.repeat(wanted, count)):

                def make(
                    graph: fx.Graph, leaf: str = leaf, dim: int = dim, count: int = count
                ) -> fx.Node:
                    shape = graph.call_function(getattr, (graph.get_attr(leaf), "shape"))
                    size = graph.call_function(operator.getitem, (shape, dim))
                    return (
                        size
                        if count == 1
                        else graph.call_function(operator.floordiv, (size, count))
                    )

                return make
    return None


def _made_to_follow(
    scene: Scene, same: Callable[[], bool], ways: Sequence[tuple[Demand, Make]]
) -> bool:
    """Puts numbers that follow in the place of those that do not; returns whether there are any.

    Where the network is another one with them, as when a number was the size of the example's batch, it is found out which of
    them it is; the channels that these count stay.
    """
    undo = [_rewrite(demand, make) for demand, make in ways]
    if _holds(scene, same):
        return True
    for back in reversed(undo):
        back()
    changed = False
    for demand, make in ways:
        back = _rewrite(demand, make)
        if _holds(scene, same):
            changed = True
            continue
        back()
        why = "is given a size of channels that cannot be told from that of the batch"
        scene.fix(demand.labels, f"{place(demand.node)} {why}")
    scene.traced.recompile()
    return changed


def _holds(scene: Scene, same: Callable[[], bool]) -> bool:
    scene.traced.graph.lint()
    scene.traced.recompile()
    return same()


def _rewrite(demand: Demand, make: Make) -> Callable[[], None]:
    """Puts a number that follows in the place of one that does not; returns what undoes it."""
    node, (where, *way) = demand.node, demand.place
    graph, was, there = node.graph, getattr(node, where), set(node.graph.nodes)
    with graph.inserting_before(node):
        number = make(graph)
    setattr(node, where, _put(was, way, number))

    def undo() -> None:
        setattr(node, where, was)
        for made in reversed([one for one in graph.nodes if one not in there]):
            graph.erase_node(made)

    return undo


def _put(tree: Any, way: list[Any], value: Any) -> Any:
    """Returns arguments with a value at a place."""
    if not way:
        return value
    first, rest = way[0], way[1:]
    if isinstance(tree, slice):
        parts = {name: getattr(tree, name) for name in ("start", "stop", "step")}
        parts[first] = _put(parts[first], rest, value)
        return slice(parts["start"], parts["stop"], parts["step"])
    if isinstance(tree, dict):
        return {**tree, first: _put(tree[first], rest, value)}
    made = list(tree)
    made[first] = _put(made[first], rest, value)
    return tuple(made) if isinstance(tree, tuple) else made


__all__ = ["Make", "counts", "leaf_size", "settle"]
