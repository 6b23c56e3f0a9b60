"""Size of a network while it shrinks, without its switches, and the size that each channel saves.

Switches go when training is over, so they do not count. What a channel saves is exact for parameters and bytes (all slots that
go with it), and for the multiplications of linear and convolutional layers; milliseconds are measured (``clock.py``), and
what is above the floor is shared among channels in proportion to those multiplications.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx

from netdial.channels.clock import Clock
from netdial.channels.graph import Graph
from netdial.channels.layers.switch import Switch
from netdial.core.plan import Group
from netdial.core.size import Kind
from netdial.measure.cost import count_macs


@dataclass(frozen=True)
class Size:
    """A size, and what channels save.

    Attributes:
        value: size now.
        unit: leaf -> what each of its numbers adds to the size.
        groups: all groups by name.
        shapes: leaf -> its shape.
    """

    value: float
    unit: Mapping[str, float]
    groups: Mapping[str, Group]
    shapes: Mapping[str, tuple[int, ...]]

    @cached_property
    def saved(self) -> dict[str, float]:
        """Group -> size saved by one channel less."""
        return {name: self.costs([name])[0] for name in self.groups}

    def costs(self, order: Iterable[str]) -> list[float]:
        """Returns what each channel saves when channels go one after another.

        A weight between two groups shrinks with both, so a channel saves the less the more have gone before it.

        Args:
            order: the group of each channel.
        """
        going = RemovalSavings(self)
        return [going.take(name) for name in order]


class RemovalSavings:
    """Size saved by each further channel that is removed from a group.

    Args:
        size: before the first one goes.
    """

    def __init__(self, size: Size) -> None:
        self._size = size
        self._shapes = {leaf: list(shape) for leaf, shape in size.shapes.items()}

    def cost(self, name: str) -> float:
        """Returns what one channel less of a group saves now."""
        saved = self.take(name)
        self._change(name, 1)
        return saved

    def take(self, name: str) -> float:
        """Removes one more channel of a group and returns the size that it saves."""
        slots, unit = self._size.groups[name].slots, self._size.unit
        leaves = dict.fromkeys(slot.leaf for slot in slots if slot.leaf in unit)
        before = self._count(leaves)
        self._change(name, -1)
        return before - self._count(leaves)

    def _change(self, name: str, channels: int) -> None:
        for slot in self._size.groups[name].slots:
            self._shapes[slot.leaf][slot.dim] += channels * len(slot.positions[0])

    def _count(self, leaves: Iterable[str]) -> float:
        return sum(self._size.unit[leaf] * math.prod(self._shapes[leaf]) for leaf in leaves)


def size(graph: Graph, kind: Kind, clock: Clock | None = None) -> Size:
    """Returns the size of a network.

    Args:
        graph: the network.
        kind: ``params`` numbers, ``macs`` multiply-accumulates for one example, ``bytes`` of the stored tensors, ``ms``
            milliseconds for one example, switches and BatchNorm folded.
        clock: measures milliseconds; by default one that has seen nothing but this network.
    """
    groups, shapes = {group.name: group for group in graph.groups}, graph.shapes
    if kind in ("params", "bytes"):
        leaves = strip(graph.traced)
        if kind == "bytes":
            leaves |= dict(graph.traced.named_buffers())
        unit = {n: float(t.element_size() if kind == "bytes" else 1) for n, t in leaves.items()}
        value = sum(each * leaves[name].numel() for name, each in unit.items())
        return Size(value, unit, groups, shapes)
    macs, uses = count_macs(graph.traced, graph.example)
    if kind == "macs":
        return Size(float(macs), uses, groups, shapes)
    if clock is None:
        clock = Clock(graph)
        ms = clock.start
    else:
        ms = clock.ms(graph)
    each = clock.each(ms, macs)
    return Size(ms, {leaf: each * count for leaf, count in uses.items()}, groups, shapes)


def thetas(graph: Graph) -> dict[str, Tensor]:
    """Returns the numbers of all switches ``[C]`` by the switch's name."""
    return {
        name: module.theta
        for name, module in graph.traced.named_modules()
        if isinstance(module, Switch)
    }


def switches_of(graph: Graph) -> dict[str, list[tuple[str, Tensor]]]:
    """Returns for each group its switches: (name, indices in θ of each channel ``[C, m]``).

    A channel may have several: a head of attention one for each of its numbers, a gated unit one for its value and its gate.
    """
    found: dict[str, list[tuple[str, Tensor]]] = {}
    names = set(thetas(graph))
    for group in graph.groups:
        for slot in group.slots:
            owner = slot.leaf.removesuffix(".theta")
            if owner in names and owner != slot.leaf:
                found.setdefault(group.name, []).append((owner, torch.tensor(slot.positions)))
    return found


def strip(traced: fx.GraphModule) -> dict[str, Tensor]:
    """Returns the parameters without those of switches."""
    switches = {id(m.theta) for m in traced.modules() if isinstance(m, Switch)}
    return {n: p for n, p in traced.named_parameters() if id(p) not in switches}


def total(tensors: Mapping[str, Tensor]) -> int:
    """Returns the count of numbers."""
    return sum(tensor.numel() for tensor in tensors.values())
