"""What stands behind a layer before its channels meet others: sums over neighbours, numbers that are added to each, BatchNorm.

A graph layer adds its bias when the messages are summed, ``A @ (x @ W) + b``, or normalises then. A switch right behind the
product alone would leave b in a channel that is off, and the sum over neighbours would make another number of it at each node,
which no bias behind it can take up.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from netdial.channels.layers.flow.weighted import ADDITIONS, lone_parameter, normalising
from netdial.channels.nodes import module_of, name_of, only_asks

_PRODUCTS: set[Any] = {operator.matmul, torch.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm"}
_FACTORS: set[Any] = {operator.mul, torch.mul, "mul", "mul_", operator.imul}
_QUOTIENTS: set[Any] = {operator.truediv, torch.div, "div", "div_", operator.itruediv}
DIFFERENCES: set[Any] = {operator.sub, operator.isub, torch.sub, "sub", "sub_"}
_SAME: set[Any] = {F.dropout, torch.clone, "clone", "contiguous", operator.neg, torch.neg, "neg"}
_ADDED_AT = ("index_add", "scatter_add")
_PICKED = ("index_select", "gather", "take_along_dim")
_REDUCED = ("sum", "mean")
_PLACED = ("getitem", "gather", "index_", "scatter")
"""How operations on places of a tensor begin: ``(x, dim, places, numbers)``, or ``(x, places)``."""

Foreign = Callable[[fx.Node], bool]
"""Whether a node holds channels of another layer, or of an input, than the one that is followed."""


def normalised(traced: fx.GraphModule, node: fx.Node, dim: int, foreign: Foreign) -> fx.Node | None:
    """Returns the normalisation of channels that alone reads a layer's, sums over positions before it included; None if none.

    Before one a switch would do nothing until it is 0, as what it scales is scaled back. That is BatchNorm, and of groups of
    channels or of each by itself such as has weights.

    Args:
        traced: the network.
        node: call of the layer.
        dim: dimension of its channels, counted from the last.
        foreign: see ``Foreign``.
    """
    while True:
        readers = [user for user in node.users if not only_asks(user) and node in taken(user)]
        if len(readers) != 1:
            return None
        (reader,) = readers
        if reader.args[:1] == (node,) and _normalises(traced, reader):
            return reader
        if not (_passes(traced, reader, node, dim, foreign) or _added(reader, node) is not None):
            return None
        node = reader


def _normalises(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Returns whether a node normalises channels, a switch of which stands behind it."""
    module = module_of(traced, node)
    if isinstance(module, _NormBase):
        return isinstance(module, _BatchNorm) or module.affine
    if isinstance(module, nn.GroupNorm):
        return module.affine and module.num_groups > 1
    return node.target is F.batch_norm or bool(normalising(node))


def added(traced: fx.GraphModule, node: fx.Node, dim: int, foreign: Foreign) -> Iterator[fx.Node]:
    """Yields the parameters that are added to a layer's channels alone, behind sums over positions; arguments as above."""
    seen, waiting = {node}, [node]
    while waiting:
        source = waiting.pop()
        for user in source.users:
            if user in seen or only_asks(user):
                continue
            bias = _added(user, source)
            if bias is not None:
                yield bias
            if bias is not None or _passes(traced, user, source, dim, foreign):
                seen.add(user)
                waiting.append(user)


def sums_positions(node: fx.Node, dim: int) -> fx.Node | None:
    """Returns the factor of a product whose channels the result has, where the others only weigh positions; None if none is."""
    if node.target in _PRODUCTS and dim == -1 and len(node.args) > 1:
        return node.args[1] if isinstance(node.args[1], fx.Node) else None
    if node.target is not torch.einsum or not isinstance(node.args[0], str):
        return None
    before, arrow, after = node.args[0].replace(" ", "").partition("->")
    words, factors = before.split(","), node.args[1:]
    if not arrow or "." in before or len(words) != len(factors) or len(after) < -dim:
        return None
    letter = after[dim]
    (own, factor), *others = [
        pair for pair in zip(words, factors, strict=True) if letter in pair[0]
    ]
    alone = not others and len(own) >= -dim and own[dim] == letter
    return factor if alone and isinstance(factor, fx.Node) else None


def taken(node: fx.Node) -> list[fx.Node]:
    """Returns the inputs whose numbers come to be in a node's result: not what it is made like, nor places in a tensor."""
    name = name_of(node)
    if name.startswith("new_") or name.endswith("_like"):
        return []
    if name.startswith(_PLACED) and not name.startswith("index_put"):
        given = (*node.args[:1], *node.args[3:])
        return [part for part in given if isinstance(part, fx.Node)]
    return node.all_input_nodes


def _added(user: fx.Node, source: fx.Node) -> fx.Node | None:
    """Returns the parameter that a node adds to channels; None if it does no such thing."""
    if user.target in ADDITIONS | DIFFERENCES and len(user.args) == 2 and not user.kwargs:
        other = user.args[1] if user.args[0] is source else user.args[0]
        return other if lone_parameter(other) else None
    if user.target is torch.addmm and user.args[2:] == (source,) and not user.kwargs:
        return user.args[0] if lone_parameter(user.args[0]) else None
    return None


def _passes(
    traced: fx.GraphModule, user: fx.Node, source: fx.Node, dim: int, foreign: Foreign
) -> bool:
    """Returns whether a node gives channels as they are, weighed and summed over positions, where they were."""
    given, named = list(user.args), name_of(user)
    if isinstance(module_of(traced, user), nn.Identity | nn.Dropout) or user.target in _SAME:
        return True
    if user.target in _FACTORS:
        return True
    if user.target in _QUOTIENTS:
        return given[0] is source and source not in given[1:]
    if user.target in _PRODUCTS or user.target is torch.einsum:
        return sums_positions(user, dim) is source and given.count(source) == 1
    if user.target is operator.getitem:
        return _picks_positions(given[1])
    if named.startswith(_PICKED):
        return given[0] is source
    if named.startswith(_ADDED_AT) or user.target in ADDITIONS | DIFFERENCES:
        parts = [given[0], given[-1]]
        return source in parts and not any(
            isinstance(part, fx.Node) and part is not source and foreign(part) for part in parts
        )
    if named in _REDUCED:
        over = user.kwargs.get("dim", given[1] if len(given) > 1 else None)
        dims = [over] if isinstance(over, int) else over
        return dim == -1 and isinstance(dims, list | tuple) and -1 not in dims
    return False


def _picks_positions(at: Any) -> bool:
    """Returns whether an index takes places of other dimensions than the last."""
    parts = list(at) if isinstance(at, tuple | list) else [at]
    known = all(isinstance(part, fx.Node) or part == slice(None) for part in parts)
    return known and (len(parts) < 3 or parts[-1] == slice(None))
