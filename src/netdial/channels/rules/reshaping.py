"""Operations that give the same numbers another shape: view, reshape, flatten.

A size that counts channels is computed anew from the input where it does not follow when they go. Where channels become several
dimensions, those go along which the fewest ties are needed; of a split into heads, whole heads, or as many channels of each.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from netdial.channels.labels import FIXED, Labels, SizeNumber, Value
from netdial.channels.nodes import name_of, place
from netdial.channels.rules.following import counts, leaf_size
from netdial.channels.rules.reducing import gone
from netdial.channels.rules.table import Scene, on
from netdial.core.errors import TraceError


@on(modules=[nn.Flatten], functions=[torch.flatten, torch.ravel], methods=["flatten", "ravel"])
def flatten(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Flattening follows whatever is cut."""
    return _reshaped(scene, node, x, None)


@on(methods=["view", "reshape"], functions=[torch.reshape])
def reshape(scene: Scene, node: fx.Node, x: Value, *sizes: Any, **kwargs: Any) -> Value:
    """A view: sizes of channels are computed anew from the input where they do not follow."""
    named = next((name for name in ("shape", "size") if name in kwargs), None)
    given = (kwargs[named],) if named else sizes
    listed = isinstance(given[0], Sequence)
    if isinstance(given[0], torch.dtype):
        raise TraceError(f"{place(node)}: views numbers as of another type")
    asked = list(given[0]) if listed else list(given)
    where: list[tuple[Any, ...]] = [
        ("kwargs", named, i) if named else ("args", 1, i) if listed else ("args", 1 + i)
        for i in range(len(asked))
    ]
    if listed and not isinstance(node.kwargs[named] if named else node.args[1], Sequence):
        where = [()] * len(asked)  # the sizes are one value, computed elsewhere
    return _reshaped(scene, node, x, asked, where)


@on(methods=["view_as", "reshape_as"])
def reshape_as(scene: Scene, node: fx.Node, x: Value, other: Value) -> Value:
    """A view of the shape of another tensor."""
    asked = [SizeNumber(len(axis), (axis,)) for axis in other.labels]
    return _reshaped(scene, node, x, asked, [()] * len(asked))


@on(modules=[nn.Unflatten], functions=[torch.unflatten], methods=["unflatten"])
def unflatten(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """The opposite of flattening, with sizes written in the code."""
    module = scene.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
    given: tuple[Any, Any] = (
        (args[0], args[1]) if args else (kwargs.get("dim"), kwargs.get("sizes"))
    )
    dim, sizes = (
        (module.dim, module.unflattened_size) if isinstance(module, nn.Unflatten) else given
    )
    ndim, dim = len(x.labels), dim % len(x.labels)
    rest = ndim - 1 - dim
    listed = len(node.args) > 2 and isinstance(node.args[2], Sequence)
    where = [("args", 2, number) if listed else () for number in range(len(sizes))]
    asked = [None] * dim + list(sizes) + [None] * rest
    return _reshaped(scene, node, x, asked, [()] * dim + where + [()] * rest)


def _reshaped(
    scene: Scene,
    node: fx.Node,
    x: Value,
    given: Sequence[Any] | None,
    where: Sequence[tuple[Any, ...]] = (),
) -> Value:
    """Returns the labels after a reshape.

    Args:
        scene: the graph under study.
        node: the operation.
        x: its input.
        given: the new sizes as they are written, None what always follows.
        where: the way to each of them in the arguments, empty where it cannot be changed.
    """
    after = scene.shape(node)
    asked = [None] * len(after) if given is None else list(given)
    places = list(where) or [()] * len(after)
    out: list[Labels] = []
    for before_dims, after_dims in blocks(x.shape, after):
        axes = [x.labels[d] for d in before_dims]
        block = _Block(
            node,
            before_dims,
            after_dims,
            [after[d] for d in after_dims],
            [asked[d] for d in after_dims],
            [places[d] for d in after_dims],
        )
        out.extend(_block(scene, block, axes))
    return Value(tuple(out))


@dataclass
class _Block:
    """A run of old dimensions that becomes a run of new ones.

    Attributes:
        node: the reshape.
        before: the old dimensions.
        after: the new ones.
        sizes: sizes of the new ones.
        asked: the same as they are written.
        where: the way to each in the arguments.
    """

    node: fx.Node
    before: list[int]
    after: list[int]
    sizes: list[int]
    asked: list[Any]
    where: list[tuple[Any, ...]]

    def size(self, scene: Scene, dim: int) -> Callable[[fx.Graph], Any]:
        """Returns what computes the size of a new dimension from the input and the sizes of the others."""

        def make(graph: fx.Graph) -> Any:
            source = self.node.args[0] if self.node.args else self.node.kwargs["input"]
            sizes = [graph.call_method("size", (source, d)) for d in self.before]
            whole = reduce(lambda a, b: graph.call_function(operator.mul, (a, b)), sizes)
            other = math.prod(size for i, size in enumerate(self.sizes) if i != dim)
            others = [self._number(scene, i, graph) for i in range(len(self.sizes)) if i != dim]
            if all(isinstance(number, int) for number in others):
                return (
                    whole if other == 1 else graph.call_function(operator.floordiv, (whole, other))
                )
            for number in others:
                whole = graph.call_function(operator.floordiv, (whole, number))
            return whole

        return make

    def _number(self, scene: Scene, dim: int, graph: fx.Graph) -> Any:
        """Returns a size as it is, the node that computes it where it is that of the batch or of other positions."""
        way, size = self.where[dim], self.asked[dim]
        if (
            not isinstance(size, SizeNumber)
            or not way
            or any(map(scene.atoms.is_free, size.sources))
        ):
            return self.sizes[dim]
        found: Any = getattr(self.node, way[0])
        for step in way[1:]:
            found = found[step]
        return found


def _block(scene: Scene, block: _Block, axes: list[Labels]) -> list[Labels]:
    """Returns the labels of the new dimensions that a run of old ones becomes."""
    node, sizes = block.node, block.sizes
    plain = [np.full(size, FIXED) for size in sizes]
    free = [axis for axis in axes if scene.atoms.is_free(axis)]
    repeats = [axis for axis in free if scene.grown.issuperset(axis.tolist())]
    if len(repeats) == len(free) - 1:  # each head several times, one after another: the heads go
        for axis in repeats:
            scene.fix(axis, f"{place(node)} repeats other channels along it")
        free = [axis for axis in free if scene.atoms.is_free(axis)]
    if not free or not sizes:
        return plain
    if len(free) > 1 and len(made := [axis for axis in free if _is_made(scene, axis)]) == 1:
        for axis in [axis for axis in free if axis is not made[0]]:
            scene.fix(axis, f"{place(node)} lays other channels out along it")
        free = made if scene.atoms.is_free(made[0]) else []
    for axis in free[1:]:  # whole blocks of the first go
        scene.fix(axis, f"{place(node)} lays other channels out along it")
    free = [axis for axis in free[:1] if scene.atoms.is_free(axis)]
    wide = [i for i, size in enumerate(sizes) if size > 1]
    if (
        len(free) != 1
        or not wide
        or (len(wide) > 1 and math.prod(sizes) != math.prod(map(len, axes)))
    ):
        for axis in axes:
            scene.fix(axis, f"{place(node)} mixes several dimensions")
        return plain
    shape = [len(axis) if axis is free[0] else 1 for axis in axes]
    labels = np.broadcast_to(free[0].reshape(shape), [len(a) for a in axes]).reshape(sizes)
    dim = _moving(scene, block, labels, wide, free[0])
    if dim is None:
        for axis in axes:
            scene.fix(axis, f"{place(node)} mixes several dimensions")
        return plain
    lines = np.moveaxis(labels, dim, -1).reshape(-1, sizes[dim])
    scene.join(lines, lines[:1])
    plain[dim] = lines[0]
    message = (
        f"{place(node)}: writes the size {sizes} of channels in the code, which cannot follow when channels go; "
        "use flatten(1), -1 or a size computed from x.shape for them"
    )
    follows = counts(scene, block.asked[dim], plain[dim])
    leaf = None if follows or not _is_open(block.asked) else leaf_size(scene, plain[dim])
    for i, size in enumerate(block.asked):
        if i == dim and not follows:
            make = block.size(scene, dim) if block.where[dim] else None
            scene.demand(block.where[dim], plain[dim], size, message, leaf or make)
        elif i == dim:
            scene.handled.add(id(size))
        elif (leaf or follows) and _is_open([size]):
            continue  # it is what is left, for inputs of other sizes, too
        elif _is_taken_from(scene, size, free[0]) and block.where[i]:
            scene.demand(
                block.where[i], plain[dim], block.sizes[i], message, _constant(block.sizes[i])
            )
            scene.handled.add(id(size))
    return plain


def _is_made(scene: Scene, labels: Labels) -> bool:
    """Whether a layer makes channels, and they are not those of a table, as a grid of places is."""
    made = [scene.atoms.find(scene.leaves[leaf][dim]) for leaf, dim in scene.makers]
    return any(np.isin(scene.atoms.find(labels), roots).any() for roots in made)


def _is_open(sizes: Sequence[Any]) -> bool:
    return any(isinstance(size, int) and size == -1 for size in sizes)


def _constant(size: int) -> Callable[[fx.Graph], Any]:
    return lambda graph: size


def _is_taken_from(scene: Scene, size: Any, labels: Labels) -> bool:
    """Whether a size would change, though it has to stay, when channels of a dimension go."""
    if not isinstance(size, SizeNumber):
        return _is_open([size])
    return any(scene.atoms.is_free(source) for source in size.sources)


def _moving(
    scene: Scene, block: _Block, labels: Labels, wide: list[int], axis: Labels
) -> int | None:
    """Returns the new dimension along which channels go: the one whose size follows, or which needs the fewest ties."""
    following = [dim for dim, size in enumerate(block.asked) if counts(scene, size, axis)]
    if len(wide) == 1:
        return following[0] if len(following) == 1 else wide[0]
    apart = [dim for dim in wide if _is_apart(scene, labels, dim)]
    if apart:
        return apart[0]
    heads = _heads(block.sizes, wide)
    if attends(block.node):
        return heads if scene.heads == "whole" else wide[-1]
    if scene.heads == "whole" and _is_normalised(scene, block, heads, wide):
        return heads
    chosen = [dim for dim in following if dim in wide] or following[:1]
    return chosen[0] if len(chosen) == 1 else heads


def _is_normalised(scene: Scene, block: _Block, groups: int, wide: list[int]) -> bool:
    """Whether means or spreads over groups of channels are taken next, each of its own: a group normalisation by hand."""
    inside = {block.after[dim] for dim in wide if dim > groups}
    seen, waiting = {block.node}, [block.node]
    while waiting:
        for user in waiting.pop().users:
            if name_of(user) in _SPREADS:
                over, _ = gone(user, len(scene.shape(block.node)), user.args[1:], user.kwargs)
                if inside <= over and block.after[groups] not in over:
                    return True
            elif user not in seen and name_of(user) in _UNITS:
                seen.add(user)
                waiting.append(user)
    return False


def _heads(sizes: list[int], wide: list[int]) -> int:
    """Returns the dimension of heads or groups in a split of channels: before the last, and not that of q, k and v."""
    before = wide[:-1]
    return before[1] if len(before) > 1 and sizes[before[0]] in (2, 3) else before[0]


def _is_apart(scene: Scene, labels: Labels, dim: int) -> bool:
    """Whether the same channels lie at each place of a dimension already."""
    lines = scene.atoms.find(np.moveaxis(labels, dim, -1).reshape(-1, labels.shape[dim]))
    return bool((lines == lines[:1]).all()) and len(np.unique(lines[0])) > 1


_SPREADS = {"mean", "var", "std", "var_mean", "std_mean"}
_UNITS = {"float", "double", "to", "square", "pow", "pow_", "mul", "abs"}
"""Operations on each number by itself before these."""
_STEPS = {
    *("permute", "transpose", "swapaxes", "unbind", "getitem", "mul"),
    *("contiguous", "mT", "getattr", "chunk", "truediv", "to"),
}
_PRODUCTS = {"matmul", "bmm", "einsum", "baddbmm", "scaled_dot_product_attention", "__matmul__"}


def attends(node: fx.Node) -> bool:
    """Returns whether what a node gives is multiplied by another tensor next, as queries, keys and values are."""
    seen, waiting = {node}, [node]
    while waiting:
        for user in waiting.pop().users:
            name = (
                user.target
                if isinstance(user.target, str)
                else getattr(user.target, "__name__", "")
            )
            if user.op in ("call_function", "call_method") and name in _PRODUCTS:
                return True
            if user not in seen and name in _STEPS:
                seen.add(user)
                waiting.append(user)
    return False


def blocks(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Returns the shortest runs of old and new dimensions that hold equally many numbers, in order."""
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        old: list[int] = []
        new: list[int] = []
        have = want = 1
        while not old or not new or have != want:
            if i < len(before) and (not old or have < want or (j >= len(after) and have <= want)):
                old.append(i)
                have *= before[i]
                i += 1
            elif j < len(after):
                new.append(j)
                want *= after[j]
                j += 1
            else:
                break
        if found and (not old or not new):
            found[-1][0].extend(old)
            found[-1][1].extend(new)
        else:
            found.append((old, new))
    return found
