"""Free bits: changes of the numbers of a network that change nothing of what it computes.

- dead inputs: an input that is the same in all training rows does the work of a bias (on rows of that kind: a row that differs
  there is computed as if it did not);
- dead units: what gives the same for every input goes into the biases of those who read it; what nobody reads is 0;
- scale: a unit before a ReLU may be s times as large if those who read it take 1/s of it;
- order: hidden units may stand in any order, log2(n!) bits for n of them.

Each is made on a copy in double precision first and compared on examples; what would change the outputs is not done. Units are
found by the dependency graph of ``netdial.channels``; where a network cannot be traced, there is nothing but dead inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from netdial.channels.absorb import shifts
from netdial.channels.collect import removable
from netdial.channels.constants import known
from netdial.channels.graph import Graph
from netdial.compression.codebook import Codebook
from netdial.compression.pipeline.leaves import Division, tensors_of
from netdial.compression.pipeline.rate import Array, context_bits
from netdial.compression.pipeline.sparsify import one_member
from netdial.core.errors import NetdialError
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Group
from netdial.data.dataset import Dataset
from netdial.nets.foreign import copy_network
from netdial.pruning.weights.constants import find_constants

_TOLERANCE = 1e-9
"""Largest difference of outputs allowed in double precision, relative to the largest output."""

Change = Callable[[nn.Module], None]


def unchanged(net: nn.Module, change: Change, x: Tensor, tolerance: float = _TOLERANCE) -> bool:
    """Returns whether a change of a network's numbers leaves its outputs as they are, in double precision."""
    exact = copy_network(net).double()
    inputs = x.double() if x.is_floating_point() else x
    before = evaluated(exact, inputs)
    with torch.no_grad():
        change(exact)
    return bool(same_outputs(before, evaluated(exact, inputs), tolerance=tolerance))


def _make(net: nn.Module, change: Change, x: Tensor) -> bool:
    """Makes a change if it changes nothing; returns whether it was made."""
    if not unchanged(net, change, x):
        return False
    with torch.no_grad():
        change(net)
    return True


def fold_inputs(net: nn.Module, data: Dataset, x: Tensor) -> int:
    """Moves weights of inputs that are the same in all rows of the data into biases, in place; returns how many.

    Args:
        net: the network.
        data: training rows.
        x: some of them, as the network takes them.
    """
    family = one_member(net)
    found = find_constants(family, data)
    if not len(found.positions):
        return 0
    layout = family.layout

    def change(target: nn.Module) -> None:
        flat = layout.join({n: target.get_parameter(n) for n in layout.names})
        moved = found.fold(flat, ~found.folded())
        for name, value in layout.split(moved).items():
            target.get_parameter(name).copy_(value)

    flat = layout.join({n: net.get_parameter(n).detach() for n in layout.names})
    count = int((flat[found.positions] != 0).sum())
    return count if _make(net, change, x) else 0


def graph_of_units(net: nn.Module, x: Tensor) -> Graph | None:
    """Returns the dependency graph of a copy of a network in double precision, or None where it cannot be traced."""
    try:
        return Graph.of(
            copy_network(net).double().eval(), x.double() if x.is_floating_point() else x
        )
    except NetdialError:
        return None


def empty_units(net: nn.Module, division: Division, x: Tensor) -> int:
    """Sets weights and biases of units to 0 that are constant or that nobody reads, in place; returns how many units.

    What they contribute goes into the biases of those who read them. Units that only such units read follow.
    """
    total = 0
    while count := _empty_once(net, division, x):
        total += count
    return total


def _empty_once(net: nn.Module, division: Division, x: Tensor) -> int:
    graph = graph_of_units(net, x)
    if graph is None:
        return 0
    groups = _usable(graph, division)
    constant = removable(graph, continues=False)
    dead = {g.name: sorted({*constant.get(g.name, ()), *_unread(net, g)}) for g in groups}
    dead = {name: channels[: graph.widths[name] - 1] for name, channels in dead.items()}
    dead = {
        group.name: dead[group.name]
        for group in groups
        if dead[group.name] and not _is_empty(net, group, division, dead[group.name])
    }
    if not dead:
        return 0
    silent = {
        name: [c for c in constant.get(name, ()) if c in channels]
        for name, channels in dead.items()
    }
    found = shifts(graph, silent, known(graph.traced, graph.example, continues=False))
    if not set(found) <= set(tensors_of(net)):
        return 0

    def change(target: nn.Module) -> None:
        tensors = tensors_of(target)
        for name, (shift, _) in found.items():
            tensors[name] += shift.to(tensors[name])
        for group in graph.groups:
            for leaf, dim, at in _places(group, dead.get(group.name, ())):
                if leaf in division.shared:
                    tensors[leaf].index_fill_(dim, at, 0.0)

    return sum(map(len, dead.values())) if _make(net, change, x) else 0


def _unread(net: nn.Module, group: Group) -> list[int]:
    """Returns the channels that every layer that reads them multiplies with 0."""
    tensors = tensors_of(net)
    read = [slot for slot in group.slots if slot.dim > 0 and tensors[slot.leaf].ndim > 1]
    heard = torch.zeros(group.size, dtype=torch.bool)
    for slot in read:
        lines = (tensors[slot.leaf].detach() != 0).cpu().movedim(slot.dim, 0).flatten(1).any(1)
        heard |= torch.stack([lines[list(at)].any() for at in slot.positions])
    return (~heard).nonzero().flatten().tolist() if read else []


def _is_empty(net: nn.Module, group: Group, division: Division, channels: list[int]) -> bool:
    """Returns whether all numbers of some channels are 0 already."""
    tensors = tensors_of(net)
    return not any(
        bool(tensors[leaf].index_select(dim, at).any())
        for leaf, dim, at in _places(group, channels)
        if leaf in division.shared
    )


def rescale(net: nn.Module, division: Division, x: Tensor) -> int:
    """Makes the weights into each hidden unit alike in size across a layer where its function allows, in place.

    Returns:
        How many units were scaled.
    """
    graph, count = graph_of_units(net, x), 0
    for group in _usable(graph, division) if graph is not None else ():
        if any(slot.leaf in division.exact for slot in group.slots):
            continue
        into = [s for s in group.slots if s.dim == 0 and s.leaf in division.weights]
        if not into:
            continue
        sizes = _sizes(net, group, [slot.leaf for slot in into])
        alive = sizes > 0
        if not bool(alive.any()):
            continue
        factor = torch.where(alive, sizes[alive].log().mean().exp() / sizes.clamp_min(1e-300), 1.0)

        def change(target: nn.Module, group: Group = group, factor: Tensor = factor) -> None:
            tensors = tensors_of(target)
            for slot in group.slots:
                leaf = tensors[slot.leaf]
                made = slot.dim == 0
                vector = torch.ones(leaf.shape[slot.dim], dtype=torch.float64)
                for channel, at in enumerate(slot.positions):
                    vector[list(at)] = factor[channel] if made else 1 / factor[channel]
                shape = [1] * leaf.ndim
                shape[slot.dim] = -1
                leaf.mul_(vector.view(shape).to(leaf))

        if _make(net, change, x):
            count += int(alive.sum())
    return count


def _sizes(net: nn.Module, group: Group, leaves: list[str]) -> Tensor:
    """Returns the root mean square of the weights into each channel that are not 0, float64 ``[C]``; 0 for none."""
    total, number = torch.zeros(group.size).double(), torch.zeros(group.size).double()
    for slot in group.slots:
        if slot.leaf in leaves and slot.dim == 0:
            weight = net.get_parameter(slot.leaf).detach().double().cpu().flatten(1)
            for channel, at in enumerate(slot.positions):
                rows = weight[list(at)]
                total[channel] += rows.square().sum()
                number[channel] += (rows != 0).sum()
    return (total / number.clamp_min(1)).sqrt()


def reorder(net: nn.Module, division: Division, x: Tensor) -> tuple[int, dict[str, Tensor]]:
    """Puts hidden units in the order whose code is shortest, of a few, in place.

    Returns:
        How many layers were put in order, and for each leaf that was moved where its numbers were: flat positions.
    """
    graph, count = graph_of_units(net, x), 0
    tensors = tensors_of(net)
    places = {n: torch.arange(t.numel()).view(t.shape) for n, t in tensors.items()}
    for group in _usable(graph, division) if graph is not None else ():
        leaves = sorted({slot.leaf for slot in group.slots} & set(division.weights))
        best, least = None, _bits({n: tensors[n].detach() for n in leaves})
        for order in _orders(net, group):
            moved = {n: _permuted(tensors[n].detach(), n, group, order) for n in leaves}
            bits = _bits(moved)
            if bits < least:
                best, least = order, bits
        if best is None:
            continue

        def change(target: nn.Module, group: Group = group, order: Tensor = best) -> None:
            for name, tensor in tensors_of(target).items():
                tensor.copy_(_permuted(tensor.clone(), name, group, order))

        if _make(net, change, x):
            count += 1
            for name in {slot.leaf for slot in group.slots}:
                places[name] = _permuted(places[name], name, group, best)
    still = {n: torch.arange(t.numel()).view(t.shape) for n, t in tensors.items()}
    return count, {n: at for n, at in places.items() if not torch.equal(at, still[n])}


def tidied(net: nn.Module, division: Division, x: Tensor) -> nn.Module:
    """Returns a network without dead units, its units scaled alike; the one given stays as it is."""
    found = copy_network(net).eval()
    empty_units(found, division, x)
    rescale(found, division, x)
    return found


def ordered(
    net: nn.Module, division: Division, tensors: Mapping[str, Codebook | Array], x: Tensor
) -> dict[str, Codebook | Array]:
    """Returns stored tensors with hidden units in an order that codes well; the network follows, in place."""
    _, moved = reorder(net, division, x)
    found = dict(tensors)
    for name, places in moved.items():
        at = places.numpy().reshape(-1)
        one = tensors[name]
        if isinstance(one, Codebook):
            found[name] = replace(one, codes=one.codes.reshape(-1)[at].reshape(one.codes.shape))
        else:
            found[name] = one.reshape(-1)[at].reshape(one.shape)
    return found


def _orders(net: nn.Module, group: Group) -> list[Tensor]:
    """Returns orders of a group's channels to try: by the weights that each has, into it, out of it, and both; by position."""
    into, out = torch.zeros(group.size), torch.zeros(group.size)
    middle = torch.zeros(group.size)
    tensors = tensors_of(net)
    for slot in group.slots:
        leaf = tensors[slot.leaf].detach().cpu()
        if leaf.ndim < 2:
            continue
        lines = (leaf != 0).movedim(slot.dim, 0).flatten(1).float()
        where = torch.arange(lines.shape[1], dtype=torch.float32)
        for channel, at in enumerate(slot.positions):
            rows = lines[list(at)]
            if slot.dim == 0:
                into[channel] += rows.sum()
                middle[channel] = (rows.sum(0) * where).sum() / rows.sum().clamp_min(1)
            else:
                out[channel] += rows.sum()
    empty = (into + out == 0) * 1e9
    keys = [-into + empty, -out + empty, -(into + out) + empty, middle + empty]
    return [key.argsort(stable=True) for key in keys]


def _permuted(tensor: Tensor, name: str, group: Group, order: Tensor) -> Tensor:
    """Returns a tensor with the channels of a group in another order."""
    for slot in group.slots:
        if slot.leaf == name:
            index = torch.arange(tensor.shape[slot.dim])
            for new, old in enumerate(order.tolist()):
                index[list(slot.positions[new])] = torch.tensor(slot.positions[old])
            tensor = tensor.index_select(slot.dim, index.to(tensor.device))
    return tensor


def _bits(tensors: Mapping[str, Tensor]) -> float:
    return sum(context_bits((t.cpu().numpy() != 0).astype(np.int32)) for t in tensors.values())


def _usable(graph: Graph, division: Division) -> list[Group]:
    """Returns the groups whose places are all leaves of the network itself, and that nothing mixes."""
    known_names = {*division.shared, *division.exact}
    return [
        group
        for group in graph.groups
        if group.size > 1
        and not group.mixed
        and all(slot.leaf in known_names for slot in group.slots)
    ]


def _places(group: Group, channels: object) -> list[tuple[str, int, Tensor]]:
    """Returns leaf, dimension and positions of some channels of a group."""
    chosen = list(cast("list[int]", channels))
    return [
        (slot.leaf, slot.dim, torch.tensor([p for c in chosen for p in slot.positions[c]]))
        for slot in group.slots
        if chosen
    ]
