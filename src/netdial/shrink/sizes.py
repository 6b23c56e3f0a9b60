"""How large a network is while it shrinks, without its switches, and what one channel more or less makes.

Switches go when training is over, so they do not count. What a channel saves is exact for parameters and bytes (all slots that
go with it), and for multiplications; milliseconds are measured, and shared among channels in proportion to their
multiplications.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx

from netdial.core.plan import Group
from netdial.evaluation.cost import count_macs, measure_latency, size_bytes
from netdial.shrink.control import Kind
from netdial.shrink.fold import fold
from netdial.shrink.graph import Graph
from netdial.shrink.switch import Switch


@dataclass(frozen=True)
class Size:
    """A size, and what each group's channels save, in the same unit.

    Attributes:
        value: size now.
        saved: group -> what one channel less saves now.
    """

    value: float
    saved: Mapping[str, float]


def size(graph: Graph, kind: Kind) -> Size:
    """Returns the size of a network.

    Args:
        graph: the network.
        kind: ``params`` numbers, ``macs`` multiply-accumulates for one example, ``bytes`` of the stored tensors, ``ms``
            milliseconds for one example, switches and BatchNorm folded.
    """
    if kind in ("params", "bytes"):
        leaves = _leaves(graph, buffers=kind == "bytes")
        width = {
            name: leaf.element_size() if kind == "bytes" else 1 for name, leaf in leaves.items()
        }
        count = {name: float(leaf.numel() * width[name]) for name, leaf in leaves.items()}
        value = size_bytes(leaves, packed=False) if kind == "bytes" else sum(count.values())
        return Size(float(value), _saved(graph, count))
    total, uses = count_macs(graph.traced, graph.example)
    leaves = _leaves(graph, buffers=False)
    count = {name: float(leaves[name].numel() * times) for name, times in uses.items()}
    saved = _saved(graph, count)
    if kind == "macs":
        return Size(float(total), saved)
    folded, _ = fold(graph.traced, graph.example)
    ms = measure_latency(folded, graph.example[:1], seconds=0.1).median_ms
    return Size(ms, {name: ms * macs / total for name, macs in saved.items()})


def thetas(graph: Graph) -> dict[str, Tensor]:
    """Returns the numbers of all switches ``[C]`` by the switch's name."""
    return {
        name: module.theta
        for name, module in graph.traced.named_modules()
        if isinstance(module, Switch)
    }


def switches_of(graph: Graph) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Returns for each group its switches: (name, index in θ of each channel)."""
    found: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    names = set(thetas(graph))
    for group in graph.groups:
        for slot in group.slots:
            owner = slot.leaf.removesuffix(".theta")
            if owner in names and owner != slot.leaf:
                at = tuple(positions[0] for positions in slot.positions)
                found.setdefault(group.name, []).append((owner, at))
    return found


def strip(traced: fx.GraphModule) -> dict[str, Tensor]:
    """Returns the parameters without those of switches."""
    return {n: p for n, p in traced.named_parameters() if not n.endswith(".theta")}


def _leaves(graph: Graph, *, buffers: bool) -> dict[str, Tensor]:
    leaves = strip(graph.traced)
    if buffers:
        leaves |= dict(graph.traced.named_buffers())
    return {name: leaf.detach() for name, leaf in leaves.items()}


def _saved(graph: Graph, count: Mapping[str, float]) -> dict[str, float]:
    return {group.name: _share(group, graph.shapes, count) for group in graph.groups}


def _share(
    group: Group, shapes: Mapping[str, tuple[int, ...]], count: Mapping[str, float]
) -> float:
    """Returns what goes with one channel: of each leaf the share that its slots hold, counted once where they cross."""
    left: dict[str, float] = {}
    for slot in group.slots:
        if slot.leaf in count:
            gone = len(slot.positions[0]) / shapes[slot.leaf][slot.dim]
            left[slot.leaf] = left.get(slot.leaf, 1.0) * (1 - gone)
    return sum(count[leaf] * (1 - rest) for leaf, rest in left.items())


def total(tensors: Mapping[str, Tensor]) -> int:
    """Returns the count of numbers."""
    return sum(tensor.numel() for tensor in tensors.values())
