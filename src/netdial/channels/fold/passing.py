"""Where a scale of channels goes past operations that treat every channel alike: picks, means, transposes, joins.

A scale passes what is linear in each channel by itself, and where none of its numbers is negative also what is so for
such factors (a maximum over time, ReLU). A shift passes none of them here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx
from torch.utils._pytree import tree_leaves

from netdial.channels.fold.affine import Affine

Shapes = dict[fx.Node, torch.Size]
Way = Callable[[fx.Node, fx.Node, Affine, Shapes], Affine | None]

_SAME = (torch.clone, "clone", "contiguous", F.dropout, F.dropout1d, operator.neg, torch.neg, "neg")
_POSITIVE = (torch.relu, F.relu, F.leaky_relu, "relu")
_OVER = (torch.mean, torch.sum, "mean", "sum")
_HIGHEST = (torch.max, torch.amax, "max", "amax")
_SUMS = (operator.add, torch.add, "add", operator.sub, torch.sub, "sub")
_GATHERS = (*_SUMS, torch.stack, torch.cat, torch.concat, torch.concatenate)


def passed(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    """Returns what a scale of a node's channels is behind an operation that reads it once; None if it does not pass.

    Args:
        node: what is scaled.
        user: the operation.
        affine: the scale, and the dimension of the channels.
        shapes: of all tensors; a node without one holds several.
    """
    reads = tree_leaves((user.args, dict(user.kwargs)))
    if affine.shift.any() or sum(part is node for part in reads) != 1:
        return None
    if user.target in _POSITIVE + _HIGHEST and not bool((affine.scale >= 0).all()):
        return None
    if user.target in _SAME + _POSITIVE or (user.target is getattr and user.args[1] == "values"):
        return affine
    way = next((way for targets, way in _WAYS if user.target in targets), None)
    return None if way is None else way(node, user, affine, shapes)


def gathered(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    """Returns what the scale is behind an operation all of whose inputs are scaled alike; None if it is no such operation."""
    alike = {shapes.get(source) for source in user.all_input_nodes}
    if affine.shift.any() or user.target not in _GATHERS or shapes.get(user) is None:
        return None
    if user.target in _SUMS:
        return affine if alike == {shapes[user]} else None
    dim: Any = (*user.args[1:], user.kwargs.get("dim", 0))[0]
    if user.target is torch.stack:
        return _at(affine, affine.dim + (dim % len(shapes[user]) <= affine.dim))
    return affine if dim % len(shapes[user]) != affine.dim else None


def _at(affine: Affine, dim: int, scale: torch.Tensor | None = None) -> Affine:
    """Returns a scale at another dimension, or other numbers."""
    scale = affine.scale if scale is None else scale
    return Affine(scale, torch.zeros_like(scale), dim)


def _picked(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    """Indexing by numbers and pieces; of several tensors, the first (values of a maximum)."""
    index = user.args[1]
    if node not in shapes:
        return affine if index == 0 else None
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(not (p is None or p is Ellipsis or isinstance(p, int | slice)) for p in parts):
        return None
    ndim, used = len(shapes[node]), sum(part is not None and part is not Ellipsis for part in parts)
    rest: list[Any] = [slice(None)] * (ndim - used)
    where = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    before, after = 0, 0
    for part in [*parts[:where], *rest, *parts[where + 1 :]]:
        if part is None:
            after += 1
        elif before == affine.dim:
            known = _settled(part, shapes[node][before], shapes[user], after)
            return None if known is None else _at(affine, after, affine.scale[known])
        else:
            before, after = before + 1, after + isinstance(part, slice)
    return None


def _settled(part: Any, size: int, made: tuple[int, ...], dim: int) -> slice | None:
    """Returns a piece of a dimension whose ends may be computed in the graph, in numbers; None for a place, or if it is open.

    Args:
        part: the index.
        size: that of the dimension.
        made: shape of the result.
        dim: where the piece lies in it.
    """
    if not isinstance(part, slice):
        return None
    if not any(isinstance(end, fx.Node) for end in (part.start, part.stop, part.step)):
        return part
    if part.step is not None:
        return None
    if part.start is None:
        return slice(made[dim])
    return slice(size - made[dim], size) if part.stop is None else None


def _reduced(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    """A mean, sum or maximum over other dimensions."""
    given = (*user.args[1:], None, None)
    asked, keeps = user.kwargs.get("dim", given[0]), user.kwargs.get("keepdim", given[1])
    dims = [asked] if type(asked) is int else asked
    if not isinstance(dims, Sequence) or any(type(dim) is not int for dim in dims):
        return None
    gone = {int(str(dim)) % len(shapes[node]) for dim in dims}
    if affine.dim in gone:
        return None
    return _at(affine, affine.dim if keeps else affine.dim - sum(d < affine.dim for d in gone))


def _transposed(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    one, other = (int(str(dim)) % len(shapes[node]) for dim in user.args[1:3])
    return _at(affine, {one: other, other: one}.get(affine.dim, affine.dim))


def _permuted(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    order: Any = user.args[1] if isinstance(user.args[1], Sequence) else user.args[1:]
    return _at(affine, [dim % len(shapes[node]) for dim in order].index(affine.dim))


def _widened(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    new = int(str(user.args[1])) % (len(shapes[node]) + 1)
    return _at(affine, affine.dim + (new <= affine.dim))


def _narrowed(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    if (
        len(user.args) < 2
        or type(user.args[1]) is not int
        or len(shapes[user]) == len(shapes[node])
    ):
        return None
    gone = user.args[1] % len(shapes[node])
    return None if gone == affine.dim else _at(affine, affine.dim - (gone < affine.dim))


def _joined(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    """Parts one after another along the channels: those of the others are not scaled."""
    parts: Any = user.args[0]
    dim: Any = (*user.args[1:], user.kwargs.get("dim", 0))[0]
    if dim % len(shapes[node]) != affine.dim:
        return None
    scales = [
        affine.scale if part is node else affine.scale.new_ones(shapes[part][affine.dim])
        for part in parts
    ]
    return _at(affine, affine.dim, torch.cat(scales))


def _multiplied(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    """A product with something else, each channel with its own."""
    before, after = shapes[node], shapes[user]
    dim = affine.dim - len(before) + len(after)
    return _at(affine, dim) if before[affine.dim] == after[dim] else None


def _weighed(node: fx.Node, user: fx.Node, affine: Affine, shapes: Shapes) -> Affine | None:
    """A matrix product in which the channels are the columns of the right side: sums over positions."""
    right = user.args[1] is node and len(shapes[node]) > 1
    last = affine.dim == len(shapes[node]) - 1
    return _at(affine, len(shapes[user]) - 1) if right and last else None


_WAYS: tuple[tuple[tuple[Any, ...], Way], ...] = (
    ((operator.getitem,), _picked),
    (_OVER + _HIGHEST, _reduced),
    ((torch.transpose, "transpose", torch.swapaxes, "swapaxes"), _transposed),
    ((torch.permute, "permute"), _permuted),
    ((torch.unsqueeze, "unsqueeze"), _widened),
    ((torch.squeeze, "squeeze"), _narrowed),
    ((torch.cat, torch.concat, torch.concatenate), _joined),
    ((operator.mul, torch.mul, "mul"), _multiplied),
    ((operator.matmul, torch.matmul, torch.bmm, "matmul", "bmm", "__matmul__"), _weighed),
)
