"""Moves the constant output of dead channels into a bias, or into the mean of the BatchNorm behind a layer without one.

A reader that sums over channels gets from a constant one the same at every example. It can be added to a bias if it is
the same at every position, too; at a border padded with zeros it is not. The bias has to be the reader's alone, and not be
frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netdial.channels.graph import Channels, Graph
from netdial.channels.nodes import is_even
from netdial.channels.rules import Reader
from netdial.core.cutting import leaves
from netdial.core.plan import Plan

Shifts = dict[str, tuple[Tensor, int]]
"""Leaf -> what is added to it ``[C]``, and how many constants that stands for."""


def blocked(
    graph: Graph, reader: Reader, channels: Channels, found: Mapping[fx.Node, Any]
) -> dict[int, str]:
    """Returns the input indices that a reader needs; with a reason where they are constant and cannot be absorbed.

    Args:
        graph: the network.
        reader: who reads.
        channels: group and channel at each index that it reads.
        found: what is known of each node's result.
    """
    x: Tensor = found[reader.source]
    lines = by_channel(x, reader.dim)
    silent = (lines == 0).all(1)
    if reader.other is not None:
        factor: Tensor = found[reader.other[0]]
        silent = silent | (by_channel(factor, reader.other[1]) == 0).all(1)
    unknown = lines.isnan().any(1)
    out = {i: "" for i in (unknown & ~silent).nonzero().flatten().tolist() if channels[i][0]}
    constant = [i for i in (~unknown & ~silent).nonzero().flatten().tolist() if channels[i][0]]
    if constant and (why := _why_not(graph, reader, found)):
        return {**out, **dict.fromkeys(constant, why)}
    border = f"{_who(reader)} and pads with zeros, so that they count less at the border"
    apart = f"{_who(reader)} that differ from position to position"
    uneven = _uneven(graph, reader, constant, found)
    return {**out, **{i: border if is_even(lines[[i]]) else apart for i in uneven}}


def shifts(
    graph: Graph, chosen: Mapping[str, Sequence[int]], found: Mapping[fx.Node, Any]
) -> Shifts:
    """Returns what has to be added to which leaf when channels are removed that ``blocked`` does not name."""
    gone = {(name, channel) for name, channels in chosen.items() for channel in channels}
    out: Shifts = {}
    for reader, channels in graph.reads:
        where = [i for i, at in enumerate(channels) if at in gone]
        if not reader.foldable or not where:
            continue
        x = _only(found[reader.source], reader.dim, where)
        count = int((by_channel(x, reader.dim) != 0).any(1).sum())
        if not count:
            continue
        shift = _lines(graph, reader, x, found)[:, 0]
        taken = _taker(graph, reader, found)
        assert taken is not None  # else blocked
        leaf, sign = taken
        out[leaf] = sign * shift, count
    return out


def taker(graph: Graph, reader: Reader, found: Mapping[fx.Node, Any]) -> tuple[str, int] | None:
    """Returns the leaf that takes up what constants add to a reader's result, and with which sign; None if none can.

    It is the reader's bias, or the running mean of the BatchNorm behind it, with sign -1.
    """
    return None if _why_not(graph, reader, found) else _taker(graph, reader, found)


def add(module: nn.Module, found: Shifts, plan: Plan) -> None:
    """Adds shifts to the leaves of a network that a plan has cut, in place."""
    held = leaves(module)
    with torch.no_grad():
        for name, (shift, _) in found.items():
            held[name] += plan.cut(name, shift).to(held[name])


def _who(reader: Reader) -> str:
    return f"node {reader.node.name!r} reads constants other than 0"


def _why_not(graph: Graph, reader: Reader, found: Mapping[fx.Node, Any]) -> str:
    """Returns why a reader cannot absorb constants; empty if it can."""
    if not reader.foldable:
        return f"{_who(reader)} and has no bias of its own to take them up"
    if _taker(graph, reader, found) is None:
        return f"{_who(reader)} and has no bias, and no BatchNorm of its own behind it, to take them up"
    if _frozen(graph, reader, found):
        return f"{_who(reader)}, and what would take them up is frozen"
    return ""


def _frozen(graph: Graph, reader: Reader, found: Mapping[fx.Node, Any]) -> bool:
    """Returns whether the bias that would take up constants, or the BatchNorm with its mean, is frozen."""
    if reader.bias is not None:
        parameters = dict(graph.traced.named_parameters())
        return reader.bias in parameters and not parameters[reader.bias].requires_grad
    norm = graph.traced.get_submodule(str(_norm_after(graph.traced, reader, found)))
    own = list(norm.parameters())
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def _uneven(
    graph: Graph, reader: Reader, where: Sequence[int], found: Mapping[fx.Node, Any]
) -> list[int]:
    """Returns the indices whose contribution is not the same at every position; all are tried together first."""
    x: Tensor = found[reader.source]
    if not where or is_even(_lines(graph, reader, _only(x, reader.dim, where, vary=True), found)):
        return []
    return [
        i for i in where if not is_even(_lines(graph, reader, _only(x, reader.dim, [i]), found))
    ]


def _lines(graph: Graph, reader: Reader, x: Tensor, found: Mapping[fx.Node, Any]) -> Tensor:
    """Returns what a reader makes of an input, without its bias: a line of all examples and positions for each channel."""
    return by_channel(_respond(graph.traced, reader.node, x, found), reader.made)


def by_channel(x: Tensor, dim: int) -> Tensor:
    """Returns a line ``[C, *]`` for each channel; a tensor may have no dimension besides."""
    lines = x.to_dense().movedim(dim, 0)  # a matrix of a graph may be sparse
    return lines.flatten(1) if lines.ndim > 1 else lines[:, None]


def _respond(
    traced: fx.GraphModule, node: fx.Node, x: Tensor, found: Mapping[fx.Node, Any]
) -> Tensor:
    """Returns what a linear or convolution node makes of an input, without its bias."""

    def call(x: Tensor) -> Tensor:
        if node.op == "call_module":
            out: Tensor = traced.get_submodule(str(node.target))(x)
            return out
        args = fx.node.map_arg(node.args[1:], found.__getitem__)
        assert callable(node.target)
        result: Tensor = node.target(x, *args, **fx.node.map_arg(node.kwargs, found.__getitem__))
        return result

    with torch.no_grad():
        return call(x) - call(torch.zeros_like(x))


def _only(x: Tensor, dim: int, where: Sequence[int], *, vary: bool = False) -> Tensor:
    """Returns x at the given indices of a dimension, 0 elsewhere; ``vary`` keeps them from cancelling each other."""
    at = torch.tensor(where, device=x.device)
    part = x.index_select(dim, at)
    if vary:
        factor = 0.5 + (0.618 * torch.arange(len(where), device=x.device)).frac()
        part = (part.movedim(dim, -1) * factor.to(x)).movedim(-1, dim)
    return torch.zeros_like(x).index_copy(dim, at, part)


def _taker(graph: Graph, reader: Reader, found: Mapping[fx.Node, Any]) -> tuple[str, int] | None:
    """Returns what ``taker`` does, frozen or not."""
    if reader.bias is not None:
        return reader.bias, 1
    norm = _norm_after(graph.traced, reader, found)
    return None if norm is None else (f"{norm}.running_mean", -1)


def _norm_after(traced: fx.GraphModule, reader: Reader, found: Mapping[fx.Node, Any]) -> str | None:
    """Returns the BatchNorm with running statistics that alone reads a node, and reads nothing else, by name."""
    users = list(reader.node.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None
    module = traced.get_submodule(str(users[0].target))
    called = [
        node
        for node in traced.graph.nodes
        if node.op == "call_module" and traced.get_submodule(str(node.target)) is module
    ]
    same = reader.made % found[reader.node].ndim == 1
    keeps = isinstance(module, _BatchNorm) and module.running_mean is not None
    return str(users[0].target) if keeps and same and len(called) == 1 else None
