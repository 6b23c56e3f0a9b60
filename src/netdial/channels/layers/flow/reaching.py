"""How far channels of a layer flow: to a layer that makes others of them, to a sum over them, or to the output."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from netdial.channels.layers.attention import Attention
from netdial.channels.layers.flow.behind import DIFFERENCES, sums_positions, taken
from netdial.channels.layers.flow.weighted import ADDITIONS, weighted
from netdial.channels.nodes import detached, module_of, name_of, only_asks

_MIXING = (
    *(nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.RNNCellBase),
    *(nn.MultiheadAttention, Attention, nn.Embedding, nn.EmbeddingBag),
)
_MIXING_FUNCTIONS: set[Any] = {
    F.linear,
    *(F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
}
_PRODUCTS: set[Any] = {
    *(operator.matmul, torch.matmul, torch.bmm, torch.einsum),
    *(F.scaled_dot_product_attention, "matmul", "bmm"),
}
_SUMS: set[Any] = {
    *ADDITIONS,
    *DIFFERENCES,
    *(torch.index_add, "index_add", "index_add_", torch.scatter_add, "scatter_add", "scatter_add_"),
}
_OVER_CHANNELS = {
    *("sum", "mean", "norm", "vector_norm", "prod", "var", "std", "logsumexp"),
    *("max", "min", "amax", "amin", "cosine_similarity", "pairwise_distance", "cdist"),
    *("mm", "__matmul__", "inner", "vecdot", "tensordot"),
}
"""Names of operations that may run over channels, besides those."""
_INPUT = "the input"


@dataclass(frozen=True)
class Summed:
    """Who sums over channels that come to no output by themselves.

    Attributes:
        readers: names of each node that does, and of its input.
        mixed: operations that depend on all of the channels together.
    """

    readers: frozenset[tuple[str, str]] = frozenset()
    mixed: tuple[str, ...] = ()


Stops = Callable[[fx.Node, fx.Node], bool]
"""Whether channels of a node, the second, do not flow on into one that reads it."""
By = Mapping[tuple[str, int], Summed]
"""By leaf and dimension."""


def makes_output(node: fx.Node, mixes: Stops) -> bool:
    """Returns whether channels of a node reach the output without a layer in between."""
    return any(found.op == "output" for found in _reached(node, mixes))


def is_aside(node: fx.Node, mixes: Stops) -> bool:
    """Returns whether what a node gives is detached before another layer reads it, so that its switch could not learn."""
    return any(found.target is detached for found in _reached(node, mixes))


def is_added(traced: fx.GraphModule, node: fx.Node, mixes: Stops) -> bool:
    """Returns whether channels of a node are added to what does not come from the same layer alone."""

    def stops(user: fx.Node, source: fx.Node) -> bool:
        return user.target in _PRODUCTS or mixes(user, source)

    sums = [found for found in _reached(node, stops) if found.target in _SUMS]
    parts = ([origins(traced, part) for part in taken(found)] for found in sums)
    made = ([part for part in found if part] for found in parts)  # without zeros and parameters
    return any(len(found) > 1 and len(set().union(*found)) > 1 for found in made)


def may_sum(node: fx.Node) -> bool:
    """Returns whether a node may run over channels of what it reads, so that none comes out by itself."""
    return node.target in _PRODUCTS or name_of(node).removeprefix("linalg_") in _OVER_CHANNELS


def mixing(traced: fx.GraphModule, readers: frozenset[tuple[str, str]] = frozenset()) -> Stops:
    """Returns the test whether a node makes new channels from those of another that it reads, or is among those that do."""

    def mixes(user: fx.Node, source: fx.Node) -> bool:
        if (user.name, source.name) in readers:
            return True
        if isinstance(module_of(traced, user), _MIXING):
            return True
        by = weighted(user)
        if by is not None and by.source is source:
            return True
        return user.target in _MIXING_FUNCTIONS and user.args[:1] == (source,)

    return mixes


def _reached(node: fx.Node, stops: Stops) -> Iterator[fx.Node]:
    """Yields the nodes to which channels of a node flow, up to and without those that stop them."""
    seen, waiting = {node}, [node]
    while waiting:
        source = waiting.pop()
        for user in source.users:
            if user not in seen and not only_asks(user) and not stops(user, source):
                seen.add(user)
                waiting.append(user)
                yield user


def origins(traced: fx.GraphModule, node: fx.Node) -> set[str]:
    """Returns the layers and inputs whose channels a node reads without a layer in between; constants do not count."""
    found, seen, waiting = set(), {node}, [node]
    while waiting:
        reader = waiting.pop()
        module = module_of(traced, reader)
        if reader.op == "placeholder":
            found.add(f"{_INPUT} {reader.target}")
        elif isinstance(module, _MIXING):
            found.add(str(reader.target))
        elif (weighed := _weighed(traced, reader)) is not None:
            seen.add(weighed)
            waiting.append(weighed)
        elif reader.target in _MIXING_FUNCTIONS | _PRODUCTS or weighted(reader) is not None:
            found.add(reader.name)
        else:
            sources = [s for s in taken(reader) if s not in seen and not only_asks(s)]
            seen.update(sources)
            waiting += sources
    return found


def _weighed(traced: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """Returns the factor of a product whose positions are summed by another that no layer made, ``A @ h``; None if none is."""
    factor = sums_positions(node, -1)
    if factor is None or weighted(node) is not None:
        return None
    others = [other for other in node.all_input_nodes if other is not factor]
    plain = all(one.startswith(_INPUT) for other in others for one in origins(traced, other))
    return factor if plain else None
