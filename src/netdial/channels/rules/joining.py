"""Operations that put tensors together or take them apart.

Equal parts (``chunk``) stay equal: what is at the same place of each goes together. Parts and places that are written in the
code as numbers cannot follow when channels go, so they are refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from netdial.channels.labels import FIXED, Labels, SizeNumber, Value
from netdial.channels.nodes import name_of, place, written
from netdial.channels.rules.elementwise import scene_fix_all
from netdial.channels.rules.table import Scene, on


@on(functions=[torch.cat, torch.concat, torch.concatenate], methods=[])
def concatenate(scene: Scene, node: fx.Node, parts: Sequence[Value], dim: int = 0) -> Value:
    """Parts one after another along a dimension; alike in the others. Torch passes over an empty part of one dimension."""
    parts = [part for part in parts if part.shape != (0,)] or parts[:1]
    dim = dim % len(parts[0].labels)
    for part in parts[1:]:
        for d, (one, other) in enumerate(zip(parts[0].labels, part.labels, strict=True)):
            if d != dim:
                scene.join(one, other)
    axes = list(parts[0].labels)
    axes[dim] = np.concatenate([part.labels[dim] for part in parts])
    return Value(tuple(axes))


@on(functions=[torch.stack])
def stack(scene: Scene, node: fx.Node, parts: Sequence[Value], dim: int = 0) -> Value:
    """Parts alike, along a new dimension."""
    for part in parts[1:]:
        for one, other in zip(parts[0].labels, part.labels, strict=True):
            scene.join(one, other)
    axes = list(parts[0].labels)
    axes.insert(dim % (len(axes) + 1), np.full(len(parts), FIXED))
    return Value(tuple(axes))


_BESIDE: dict[Any, tuple[int, int]] = {
    torch.hstack: (1, 1),
    torch.column_stack: (1, 2),
    torch.vstack: (0, 2),
    torch.row_stack: (0, 2),
    torch.dstack: (2, 3),
}
"""Dimension that each of them puts its parts together along, and the fewest dimensions that it gives them."""


@on(functions=_BESIDE)
def beside(scene: Scene, node: fx.Node, parts: Sequence[Value]) -> Value:
    """Parts one after another along the dimension of the function, which gives them the dimensions that they lack."""
    along, least = _BESIDE[node.target]
    shaped = [
        _with_dimensions(part, least, of_column=node.target is torch.column_stack) for part in parts
    ]
    found: Value = concatenate(scene, node, shaped, min(along, len(shaped[0].labels) - 1))
    return found


def _with_dimensions(part: Value, least: int, *, of_column: bool) -> Value:
    """Returns what is known of a part after it got dimensions of one number: before its own if it had one, else behind them."""
    one, axes = np.full(1, FIXED), list(part.labels)
    if len(axes) == 1 and least > 1:
        axes.insert(1 if of_column else 0, one)
    while len(axes) < least:
        axes.append(one)
    return Value(tuple(axes))


@on(functions=[torch.chunk, torch.tensor_split], methods=["chunk", "tensor_split"])
def chunk(scene: Scene, node: fx.Node, x: Value, chunks: Any, dim: int = 0) -> Any:
    """Equal parts: what is at the same place of each goes together, so that they stay equal."""
    axis = x.labels[dim]
    if not isinstance(chunks, int):
        scene.fix(axis, f"{place(node)} splits channels at places that are given; use chunk")
    elif scene.atoms.is_free(axis) and len(axis) % chunks:
        scene.fix(axis, f"{place(node)} splits {len(axis)} channels into {chunks} unequal parts")
    elif scene.atoms.is_free(axis):
        parts = axis.reshape(chunks, -1)
        scene.join(parts, parts[:1])
    return _parts(scene, node, x, dim)


@on(functions=[torch.hsplit, torch.vsplit, torch.dsplit], methods=["hsplit", "vsplit", "dsplit"])
def chunk_by_name(scene: Scene, node: fx.Node, x: Value, chunks: Any) -> Any:
    """Equal parts of the dimension that the name tells; of the only one, where there is one."""
    named = name_of(node)
    dim = min("vhd".index(named[0]), len(x.labels) - 1)
    return chunk(scene, node, x, chunks, dim)


@on(functions=[torch.split], methods=["split"])
def split(
    scene: Scene, node: fx.Node, x: Value, size: Any = None, dim: int = 0, **kwargs: Any
) -> Any:
    """Parts of sizes that are written in the code, or computed; equal parts lose channels at the same places."""
    size = kwargs.get("split_size_or_sections", kwargs.get("split_size", size))
    where: tuple[Any, ...] = ("args", 1)
    if len(node.args) < 2:
        where = ("kwargs", next(k for k in node.kwargs if k.startswith("split_size")))
    axis, parts = x.labels[dim], _parts(scene, node, x, dim)
    pieces = [part.labels[dim] for part in parts]
    message = f"{place(node)}: writes the sizes {_plain(size)} of parts in the code; use chunk, or sizes computed from x.shape"
    if isinstance(size, Sequence):
        alike = len({len(piece) for piece in pieces}) == 1
        if alike and scene.atoms.is_free(axis) and all(_shares(one, axis) for one in size):
            scene.join(axis.reshape(len(pieces), -1), pieces[0][None])
        share = _share(node.args[0], dim, len(pieces)) if alike else None
        for number, (one, piece) in enumerate(zip(size, pieces, strict=True)):
            _follow_source(scene, one, piece)
            scene.demand((*where, number), piece, one, message, spare=share)
    elif len({len(piece) for piece in pieces}) == 1:
        if scene.atoms.is_free(axis):
            scene.join(axis.reshape(len(pieces), -1), pieces[0][None])
        scene.demand(where, pieces[0], size, message, _share(node.args[0], dim, len(pieces)))
    else:
        scene.handled.add(id(size))
        scene.fix(axis, message)
    return parts


def _shares(number: Any, axis: Labels) -> bool:
    """Returns whether a number is computed from how many channels there are."""
    return isinstance(number, SizeNumber) and [len(s) for s in number.sources] == [len(axis)]


def _plain(size: Any) -> Any:
    """Returns sizes as they are written, for messages."""
    if isinstance(size, Sequence):
        return [_plain(one) for one in size]
    return size.value if isinstance(size, SizeNumber) else size


def _share(source: Any, dim: int, count: int) -> Callable[[fx.Graph], Any]:
    """Returns what computes the size of one of several equal parts of a dimension."""

    def make(graph: fx.Graph) -> Any:
        return graph.call_function(
            operator.floordiv, (graph.call_method("size", (source, dim)), count)
        )

    return make


def _follow_source(scene: Scene, number: Any, labels: Labels) -> None:
    """Lets a part whose size is that of another dimension lose channels with it."""
    if isinstance(number, SizeNumber) and len(number.sources) == 1:
        (source,) = number.sources
        if len(source) == len(labels) == number.value:
            scene.join(source, labels)


def _parts(scene: Scene, node: fx.Node, x: Value, dim: int) -> Any:
    """Returns the parts of a tensor that was split along a dimension."""
    sizes = [part.shape[dim] for part in scene.results[node]]
    pieces = np.split(x.labels[dim], np.cumsum(sizes)[:-1])
    out = []
    for piece in pieces:
        axes = list(x.labels)
        axes[dim] = piece
        out.append(Value(tuple(axes)))
    return tuple(out)


@on(functions=[operator.getitem])
def getitem(scene: Scene, node: fx.Node, x: Any, index: Any) -> Any:
    """Indexing: whole dimensions pass; a place or a piece of channels has to follow when channels go."""
    if not isinstance(x, Value):
        return x[index.value if isinstance(index, SizeNumber) else index]
    spread = _spread(x, index)
    if any(isinstance(part, Value | list) for _, part in spread):
        by_mask = _by_mask(scene, node, x, index)
        return by_mask or _by_tensors(scene, node, x, [part for _, part in spread])
    return Value(tuple(_picked(scene, node, x, index, spread)))


def _spread(x: Value, index: Any) -> list[tuple[int, Any]]:
    """Returns what an index asks of each dimension, and at which place of it that stands; -1 where it says nothing."""
    places = index if isinstance(index, tuple) else (index,)
    used = sum(part is not None and part is not Ellipsis for part in places)
    rest = [slice(None)] * (len(x.labels) - used)
    at = next((i for i, part in enumerate(places) if part is Ellipsis), len(places))
    spread = [*enumerate(places[:at]), *((-1, part) for part in rest)]
    return spread + [(i + at + 1, part) for i, part in enumerate(places[at + 1 :])]


def _picked(
    scene: Scene, node: fx.Node, x: Value, index: Any, spread: list[tuple[int, Any]]
) -> list[Labels]:
    """Returns the labels of what an index of numbers picks."""
    axes: list[Labels] = []
    dim = 0
    for number, part in spread:
        if part is None:
            axes.append(np.full(1, FIXED))
            continue
        axis = x.labels[dim]
        dim += 1
        if not isinstance(part, slice):
            _keep_or_refuse(scene, node, axis, part)
        elif part == slice(None):
            axes.append(axis)
        else:
            where = ("args", 1, number) if isinstance(index, tuple) else ("args", 1)
            axes.append(_piece(scene, node, axis, part, where))
    return axes


@on(functions=[written])
def write(scene: Scene, node: fx.Node, x: Value, at: Any, value: Any) -> Value:
    """A piece written: it has the channels of what is written, and the rest stays."""
    spread = _spread(x, at)
    one = at[0] if isinstance(at, tuple) and len(at) == 1 else at
    if (
        isinstance(one, Value)
        and not getattr(value, "labels", ())
        and _is_mask(scene, _first(node))
    ):
        for mask, other in zip(one.labels, x.labels, strict=False):
            scene.join(mask, other)
        return x
    if any(isinstance(part, Value | list) for _, part in spread):
        scene_fix_all(scene, (x, at, value), f"{place(node)}: writes at places that a tensor gives")
        return x
    piece = _picked(scene, node, x, at, spread)
    given = value.labels if isinstance(value, Value) else ()
    for one, other in zip(reversed(piece), reversed(given), strict=False):
        if len(one) == len(other):
            scene.join(one, other)
    return x


def _first(node: fx.Node) -> fx.Node:
    """Returns the first tensor of an index."""
    return node.all_input_nodes[1]


def _keep_or_refuse(scene: Scene, node: fx.Node, axis: Labels, part: Any) -> None:
    """Keeps positions of a parameter that is read directly, and refuses to cut channels that are picked by number."""
    source = node.args[0]
    if isinstance(source, fx.Node) and scene.is_table(source):
        scene.fix(axis, f"{place(node)} picks from it by number")
    scene.fix(
        axis, f"{place(node)}: picks channels {_shown(part)} by a number in the code; use chunk"
    )


def _shown(part: Any) -> Any:
    """Returns an index as it is written, for messages."""
    if isinstance(part, slice):
        return slice(
            *(
                p.value if isinstance(p, SizeNumber) else p
                for p in (part.start, part.stop, part.step)
            )
        )
    return part.value if isinstance(part, SizeNumber) else part


def _piece(
    scene: Scene, node: fx.Node, axis: Labels, part: slice, where: tuple[Any, ...]
) -> Labels:
    """Returns the labels of a piece of a dimension, whose ends have to follow."""
    shown = _shown(part)
    start, stop, step = shown.indices(len(axis))
    source = node.args[0]
    from_end = any(isinstance(end, int) and end < 0 for end in (shown.start, shown.stop))
    if step != 1 or from_end or (isinstance(source, fx.Node) and scene.is_table(source)):
        _keep_or_refuse(scene, node, axis, part)
        kept: Labels = axis[shown]
        return kept
    message = f"{place(node)}: picks channels {shown} by a number in the code; use chunk"
    if part.start is not None and start > 0:
        scene.demand((*where, "start"), axis[:start], part.start, message)
    if part.stop is not None and (stop < len(axis) or isinstance(part.stop, SizeNumber)):
        _follow_source(scene, part.stop, axis[:stop])
        scene.demand((*where, "stop"), axis[:stop], part.stop, message)
    piece: Labels = axis[start:stop]
    return piece


def _by_tensors(scene: Scene, node: fx.Node, x: Value, places: list[Any]) -> Value:
    """Indexing by tensors: dimensions that are indexed stay, the others pass."""
    result = scene.result(node)
    indexed = [i for i, part in enumerate(places) if not (part is None or part == slice(None))]
    simple = not any(part is None for part in places) and all(
        not isinstance(places[i], slice) for i in indexed
    )
    together = indexed == list(range(indexed[0], indexed[-1] + 1))
    first, after = x.labels[: indexed[0]], x.labels[indexed[-1] + 1 :]
    middle = result.labels[len(first) : len(result.labels) - len(after)]
    fits = (*map(len, first), *map(len, middle), *map(len, after)) == result.shape
    masks = any(_is_mask(scene, part) for part in node.all_input_nodes)
    if not (simple and together and fits) or masks:
        for axis in x.labels:
            scene.fix(axis, f"{place(node)}: picks by a tensor in a way that has no rule")
        return result
    for axis in x.labels[indexed[0] : indexed[-1] + 1]:
        if isinstance(node.args[0], fx.Node) and scene.is_table(node.args[0]):
            scene.fix(axis, f"{place(node)} picks from it by a tensor")
        scene.fix(axis, f"{place(node)}: picks channels by a tensor")
    for part in places:
        scene_fix_all(scene, part, f"{place(node)} picks by it")
    return Value((*first, *middle, *after))


def _by_mask(scene: Scene, node: fx.Node, x: Value, index: Any) -> Value | None:
    """Indexing by one mask: dimensions that it lies over stay, the others pass; None for any other index."""
    given: Any = node.args[1]
    parts, places = (part if isinstance(part, tuple) else (part,) for part in (given, index))
    at = next((i for i, part in enumerate(places) if isinstance(part, Value)), -1)
    rest = [part for i, part in enumerate(places) if i != at]
    if at < 0 or not _is_mask(scene, parts[at]) or any(part != slice(None) for part in rest):
        return None
    end = at + len(places[at].labels)
    for axis in (*x.labels[at:end], *places[at].labels):
        scene.fix(axis, f"{place(node)}: picks channels by a mask")
    return Value((*x.labels[:at], scene.result(node).labels[at], *x.labels[end:]))


def _is_mask(scene: Scene, node: fx.Node) -> bool:
    found = scene.results[node]
    return isinstance(found, torch.Tensor) and found.dtype in (torch.bool, torch.uint8)


@on(functions=[torch.unbind], methods=["unbind"])
def unbind(scene: Scene, node: fx.Node, x: Value, dim: int = 0) -> Any:
    """One tensor for each index of a dimension."""
    scene.fix(x.labels[dim], f"{place(node)} takes this dimension apart")
    axes = list(x.labels)
    del axes[dim]
    return (Value(tuple(axes)),) * len(x.labels[dim])
