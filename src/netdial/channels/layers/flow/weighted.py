"""Nodes that make channels by a parameter of the network's own, or scale them by one, without a layer: ``F.linear``."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import fx

from netdial.channels.layers.keeping import Keeping
from netdial.channels.nodes import like_kept, name_of, only_asks, place, with_numbers, written

_PRODUCTS: set[Any] = {
    *(operator.matmul, torch.matmul, torch.mm, torch.bmm),
    *("matmul", "mm", "bmm", "__matmul__"),
}
_CONVOLUTIONS: dict[Any, int] = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
_CONVOLUTIONS |= {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
_TRANSPOSED: dict[Any, int] = {
    **{F.conv_transpose1d: 1, F.conv_transpose2d: 2, F.conv_transpose3d: 3},
    **{torch.conv_transpose1d: 1, torch.conv_transpose2d: 2, torch.conv_transpose3d: 3},
}
_CONVERSIONS = ("to", "type", "type_as", "float", "double", "half", "bfloat16")
_TURNS = ("t", "T", "mT", "transpose", "swapaxes", "permute")
"""What gives the transpose of a matrix."""
_TIMES: set[Any] = {operator.mul, torch.mul, "mul"}
ADDITIONS: set[Any] = {operator.add, operator.iadd, torch.add, "add", "add_"}


_NORMALISING: dict[Any, int] = {F.group_norm: 2, F.instance_norm: 3, F.batch_norm: 3}
"""Functions that normalise channels, and where they are given the weight; the bias is next."""
_SCALES = ("weight", "bias")


@dataclass(frozen=True)
class ParameterProduct:
    """What a node makes channels of, and by what.

    Attributes:
        source: node that is read.
        weight: node of the parameter.
        bias: node of the parameter that is added to each channel, or None.
        axis: axis of the channels in the parameter.
        dim: dimension of the channels in the result, counted from the last.
    """

    source: fx.Node
    weight: fx.Node
    bias: fx.Node | None
    axis: int
    dim: int


def weighted(node: fx.Node) -> ParameterProduct | None:
    """Returns what a node makes channels of by a parameter; None if it does nothing of the kind."""
    if node.op not in ("call_function", "call_method"):
        return None
    args = (*node.args, None, None, None)
    if node.target in _PRODUCTS:
        source, weight, bias, axis, dim = args[0], args[1], None, -1, -1
    elif node.target is torch.einsum and len(args) == 6:
        return _by_letters(*node.args)
    elif node.target in (torch.addmm, torch.baddbmm) and not node.kwargs:
        bias, source, weight, axis, dim = args[0], args[1], args[2], -1, -1
    elif node.target is F.linear or node.target in _CONVOLUTIONS:
        source = args[0]
        weight = node.kwargs.get("weight", args[1])
        bias = node.kwargs.get("bias", args[2])
        axis, dim = 0, -1 - _CONVOLUTIONS.get(node.target, 0)
    elif node.target in _TRANSPOSED:
        source = args[0]
        weight = node.kwargs.get("weight", args[1])
        bias = node.kwargs.get("bias", args[2])
        axis, dim = 1, -1 - _TRANSPOSED[node.target]
        if node.kwargs.get("groups", node.args[6] if len(node.args) > 6 else 1) != 1:
            return None  # the parameter has the channels of one group
    else:
        return None
    weight, bias = _masked(_bare(weight)), _bare(bias)
    if (matrix := _turned(weight)) is not None:
        weight, axis = _bare(matrix), {-1: 0, 0: 1}[axis]
    if not isinstance(source, fx.Node) or source.op == "get_attr" or not lone_parameter(weight):
        return None
    if bias is not None and not lone_parameter(bias):
        return None
    return ParameterProduct(source, weight, bias, axis, dim)


def _by_letters(equation: Any, *factors: Any) -> ParameterProduct | None:
    """Returns what an Einstein sum of two tensors makes channels of by a parameter that alone has one letter of the result."""
    before, arrow, after = str(equation).replace(" ", "").partition("->")
    words = before.split(",")
    for (word, weight), (other, source) in permutations(zip(words, factors, strict=False)):
        own = [letter for letter in word if letter in after and letter not in other]
        tail = after[after.find(own[0]) + 1 :] if len(own) == 1 else "."
        made = isinstance(source, fx.Node) and source.op != "get_attr"
        if arrow and "." not in word + tail and made and lone_parameter(weight):
            return ParameterProduct(source, weight, None, word.index(own[0]), -1 - len(tail))
    return None


def _bare(node: Any) -> Any:
    """Returns what a node gives in another number type or times a constant, ``weight.to(x.dtype) * self.mask``; else itself."""
    while isinstance(node, fx.Node) and len(node.users) == 1:
        if node.op == "call_method" and node.target in _CONVERSIONS:
            node = node.args[0]
        elif node.target in _TIMES and len(node.args) == 2:
            one, other = node.args if _is_constant(node.args[1]) else node.args[::-1]
            if not _is_constant(other) or _is_constant(one):
                break
            node = one
        else:
            break
    return node


def _masked(node: Any) -> Any:
    """Returns the parameter of which code puts numbers to 0 before it reads them, ``weight.data *= mask``; else the node."""
    if not isinstance(node, fx.Node) or node.target is not with_numbers:
        return node
    copied, numbers = node.args
    if not isinstance(copied, fx.Node) or copied.target != "clone":
        return node
    while isinstance(numbers, fx.Node) and numbers.target != "detach":
        one, *more = numbers.args
        scaled = numbers.target in _TIMES and _is_constant(more[0])
        zeroed = numbers.target is written and numbers.all_input_nodes == [one] and more[1] == 0
        if not (scaled or zeroed or numbers.target is like_kept):
            return node
        numbers = more[0] if numbers.target is like_kept else one
    readers = [user for user in node.users if not _keeps(user)]
    alone = len(readers) == 1 and all(u is node or u.target == "detach" for u in copied.users)
    return copied.args[0] if alone and numbers in copied.users else node


def _keeps(node: fx.Node) -> bool:
    """Whether a node writes what a tensor of the network holds from then on."""
    module = node.graph.owning_module
    return node.op == "call_module" and isinstance(
        operator.attrgetter(str(node.target))(module), Keeping
    )


def _is_constant(part: Any) -> bool:
    """Returns whether a factor is a number, or a tensor of the network that is no parameter."""
    if not isinstance(part, fx.Node):
        return isinstance(part, int | float)
    held = part.op == "get_attr" and operator.attrgetter(str(part.target))(part.graph.owning_module)
    return isinstance(held, torch.Tensor) and not isinstance(held, torch.nn.Parameter)


def _turned(node: Any) -> fx.Node | None:
    """Returns the matrix of which a node gives the transpose, ``weight.t()``; None if it gives anything else."""
    if not isinstance(node, fx.Node) or len(node.users) > 1 or node.op == "get_attr":
        return None
    given: Any = node.args[1:]
    named = str(given[0]) if node.target is getattr else name_of(node)
    of = _bare(node.args[0])
    if named not in _TURNS or not isinstance(of, fx.Node) or of.op != "get_attr":
        return None
    held = operator.attrgetter(str(of.target))(node.graph.owning_module)
    dims = given[0] if given and isinstance(given[0], tuple | list) else given
    same = named == "permute" and [dim % 2 for dim in dims] == [0, 1]
    return of if held.ndim == 2 and not same else None


def unswitched(traced: fx.GraphModule, node: fx.Node) -> str:
    """Returns why a product by something made of parameters has no switch, and what to do; empty if it is no such product."""
    linear, names = node.target in _PRODUCTS | {F.linear}, made_of(traced, node)
    given = _second(node)
    if not names or given is None:
        return ""
    if given.op == "get_attr":
        return f"{place(node)} multiplies by {names[0]}, which is read elsewhere, too; give each a parameter of its own"
    made = f"{place(node)} multiplies by a weight that is computed from {', '.join(names)}, where no switch can stand; "
    plain = "nn.Linear" if linear else "a convolution module"
    cure = f"shrink it with {plain} there first, and compute weights from what is left"
    return made + (f"nd.slim cuts it as it is, or {cure}" if node.target is F.linear else cure)


def made_of(traced: fx.GraphModule, node: fx.Node) -> list[str]:
    """Returns the parameters that alone make what a product multiplies by; none for other nodes and weights as they are."""
    products: Any = {*_PRODUCTS, F.linear, *_CONVOLUTIONS, *_TRANSPOSED}
    given = _second(node)
    if node.target not in products or given is None or weighted(node) is not None:
        return []
    seen, waiting = {given}, [given]
    while waiting:
        sources = [one for one in waiting.pop().all_input_nodes if one not in seen]
        seen.update(sources)
        waiting += sources
    if any(one.op == "placeholder" for one in seen):
        return []
    held = dict(traced.named_parameters())
    read = [str(one.target) for one in node.graph.nodes if one in seen and one.op == "get_attr"]
    return [name for name in dict.fromkeys(read) if name in held]


def _second(node: fx.Node) -> fx.Node | None:
    given = node.kwargs.get("weight", node.args[1] if len(node.args) > 1 else None)
    return given if isinstance(given, fx.Node) else None


def biased(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """Returns the node with a weight, and the parameter, of which a node is the sum; None if it is no such sum."""
    if node.target not in ADDITIONS or len(node.args) != 2 or node.kwargs:
        return None
    for one, other in (node.args, node.args[::-1]):
        if isinstance(one, fx.Node) and weighted(one) is not None:
            bias = _spread(other)
            if lone_parameter(bias):
                return one, bias
    return None


def _spread(node: Any) -> Any:
    """Returns what a node gives with more dimensions, the last as it is, ``bias[:, None, :]``; any other as it is."""
    if not isinstance(node, fx.Node) or node.target is not operator.getitem or len(node.users) > 1:
        return node
    at = node.args[1] if isinstance(node.args[1], tuple) else ()
    plain = all(part is None or part == slice(None) for part in at)
    return node.args[0] if plain and at[-1:] == (slice(None),) else node


def normalising(node: fx.Node) -> list[fx.Node]:
    """Returns the parameters by which a function scales and shifts the channels that it normalises; none for others."""
    at = _NORMALISING.get(node.target)
    if at is None or node.args[1:2] == (1,):  # a group of all channels
        return []
    given = (*node.args, *[None] * 3)[at : at + 2]
    found = [node.kwargs.get(name, part) for name, part in zip(_SCALES, given, strict=True)]
    held = [part for part in found if lone_parameter(part)]
    others = [part for part in found if part is not None and part not in held]
    return held if held[:1] == found[:1] and not others else []


def lone_parameter(node: Any) -> TypeGuard[fx.Node]:
    """Returns whether a node gives a parameter that is read there alone; its shape may be asked for elsewhere."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return False
    same = [one for one in node.graph.nodes if one.op == "get_attr" and one.target == node.target]
    users = [(one, user) for one in same for user in one.users]
    reading = [(one, user) for one, user in users if not (only_asks(user) or _keeps(user))]
    return len(reading) == 1 and reading[0][0] is node
