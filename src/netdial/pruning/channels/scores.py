"""Score of a channel, from the importances of the numbers that make it.

The numbers that make a channel are its rows of weights, its bias and the scale and shift of its BatchNorm; without them the
channel is gone, so the columns that read it would only count it twice. An input of the network, which no numbers make, is
scored by the columns that read it. How they are combined depends on the criterion:

    taylor, obd-…   sum: changes of the loss in nats, to first and second order without cross terms, which add up
    magnitude       root of the sum of squares: the length of the row, which starts alike in layers of all sizes
    density         mean: nats for each number; the sum would be the more the more inputs a layer has
    snr             root of the mean square: the same order as density
    graves          1 - mean: the part of the numbers that the posterior holds apart from 0, between 0 and 1
    random          one of them: the mean of many would be near ½ in every wide layer

A criterion that is not in ``WAYS`` is summed. Whatever it says, channels whose removal changes nothing go first.

Shapes: C channels of a group, n numbers that make one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netdial.channels.collect import removable
from netdial.channels.graph import Graph
from netdial.channels.layers.attention import Attention
from netdial.channels.layers.pick import Pick
from netdial.channels.sizes import size
from netdial.core.arguments import checked
from netdial.core.errors import TraceError, unknown
from netdial.core.outputs import in_usual_modes
from netdial.core.plan import Group, Slot

Per = Literal["channel", "params", "macs"]
Scores = dict[str, Tensor]
"""Group -> score of each channel ``[C]``, higher = keep."""


def _sum(x: Tensor) -> Tensor:
    return x.sum(1)


def _length(x: Tensor) -> Tensor:
    return x.square().sum(1).sqrt()


def _mean(x: Tensor) -> Tensor:
    return x.mean(1)


def _root_mean_square(x: Tensor) -> Tensor:
    return x.square().mean(1).sqrt()


def _apart(x: Tensor) -> Tensor:
    return 1 + x.mean(1)


def _first(x: Tensor) -> Tensor:
    return x[:, 0]


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "magnitude": _length,
    "density": _mean,
    "snr": _root_mean_square,
    "graves": _apart,
    "random": _first,
}
"""Criterion -> (importances ``[C, n]`` -> scores ``[C]``)."""


@checked
@in_usual_modes
def channel_scores(
    graph: Graph, importance: Mapping[str, Tensor], criterion: str, *, per: Per = "channel"
) -> Scores:
    """Returns the score of every channel; groups without a number of known importance are left out.

    Args:
        graph: the network.
        importance: leaf -> importance of each of its numbers, higher = keep.
        criterion: its name, which says how importances are put together.
        per: ``channel`` for the score itself, ``params`` or ``macs`` for the score divided by what the channel saves now.

    Raises:
        ConfigError: ``per`` is unknown.
    """
    if per not in get_args(Per):
        raise unknown("per", per, get_args(Per))
    saved = {} if per == "channel" else size(graph, per).saved
    way, found = WAYS.get(criterion, _sum), {}
    for group in graph.groups:
        parts = [
            _numbers(importance[slot.leaf], slot)
            for slot in making(graph, group)
            if slot.leaf in importance
        ]
        if parts:
            score = way(torch.cat(parts, dim=1).double())
            found[group.name] = score / max(saved.get(group.name, 1.0), 1e-30)
    return found


def free_first(graph: Graph, scores: Scores) -> Scores:
    """Returns scores by which channels that can go without changing any output go before all others.

    A row may be long, and a criterion think much of it, though nobody reads what it makes, or that is the same for all inputs.
    """
    try:
        constant = removable(graph, continues=False)
    except TraceError:  # what is the same for all inputs cannot be told
        constant = {}
    least = math.nextafter(min(0.0, *(float(score.min()) for score in scores.values())), -math.inf)
    return {
        group.name: scores[group.name].index_fill(
            0,
            torch.tensor(sorted({*constant.get(group.name, ()), *_unread(graph, group)})).long(),
            least,
        )
        for group in graph.groups
        if group.name in scores
    }


def _unread(graph: Graph, group: Group) -> list[int]:
    """Returns the channels whose columns are all 0 in the layers that read them, where nothing else reads the group."""
    made = making(graph, group)
    columns = [slot for slot in group.slots if slot not in made]
    readers = [reader for reader, places in graph.reads if any(p[0] == group.name for p in places)]
    inside = any(p[0] == group.name for _, places in graph.inner for p in places)
    layers = {reader.node.target for reader in readers if reader.node.op == "call_module"}
    known = {slot.leaf.rpartition(".")[0] for slot in columns}
    if inside or not readers or len(layers) < len(readers) or layers != known:
        return []
    leaves = dict(graph.traced.named_parameters())
    read = torch.cat([_numbers(leaves[slot.leaf], slot) for slot in columns], dim=1)
    return (read == 0).all(1).nonzero().flatten().tolist()


def making(graph: Graph, group: Group) -> list[Slot]:
    """Returns the slots that make the channels of a group, buffers and all; those that read them are left out.

    Nothing makes the network's inputs: those of a pick are the columns that read them.
    """
    if isinstance(owner(graph, group.slots[0].leaf), Pick):
        return list(group.slots)
    ndims = {leaf: len(shape) for leaf, shape in graph.shapes.items()}
    return [
        slot
        for slot in group.slots
        if slot is group.slots[0]
        or ndims[slot.leaf] == 1
        or slot.dim == _made(owner(graph, slot.leaf))
    ]


def owner(graph: Graph, leaf: str) -> nn.Module:
    """Returns the layer that holds a leaf."""
    return graph.traced.get_submodule(leaf.rpartition(".")[0])


def _made(layer: nn.Module) -> int | None:
    """Returns the dimension of a layer's weights that makes channels; None if it is no layer of torch's."""
    if isinstance(layer, _ConvTransposeNd | nn.Embedding | nn.EmbeddingBag):
        return 1
    known = nn.Linear | nn.Bilinear | _ConvNd | nn.RNNBase | nn.RNNCellBase | Attention
    return 0 if isinstance(layer, known) else None


def _numbers(leaf: Tensor, slot: Slot) -> Tensor:
    """Returns the numbers of a leaf that lie in each channel ``[C, n]``."""
    rows = (
        leaf.detach().movedim(slot.dim, 0).flatten(1) if leaf.ndim > 1 else leaf.detach()[:, None]
    )
    return rows[torch.tensor(slot.positions, device=leaf.device)].flatten(1)
