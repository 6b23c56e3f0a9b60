"""Operations that move numbers without changing them: reshaping, permuting, joining, splitting, padding, resizing.

A size that is written in the code cannot follow when channels go, so it is refused where it touches channels; ``-1``,
``flatten`` and sizes computed from ``x.shape`` follow.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from netdial.shrink.labels import FIXED, Labels, Number, Value
from netdial.shrink.rules.elementwise import scene_fix_all
from netdial.shrink.rules.table import Scene, on
from netdial.shrink.trace import place

_POOLS = [
    getattr(nn, f"{kind}Pool{n}d")
    for kind in ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg")
    for n in (1, 2, 3)
]
_POOL_FUNCTIONS = [
    getattr(F, f"{kind}_pool{n}d")
    for kind in ("max", "avg", "adaptive_max", "adaptive_avg")
    for n in (1, 2, 3)
]


@on(
    modules=[*_POOLS, nn.LPPool1d, nn.LPPool2d, nn.Upsample],
    functions=[*_POOL_FUNCTIONS, F.interpolate],
)
def over_positions(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Pooling and resizing: channels pass, positions change."""
    scene.expect(x, node, [len(scene.shape(node))])
    return Value((*x.labels[:2], *scene.result(node).labels[2:]))


@on(
    modules=[
        *(
            getattr(nn, f"{kind}Pad{n}d")
            for kind in ("Zero", "Constant", "Reflection", "Replication")
            for n in (1, 2, 3)
        ),
    ],
    functions=[F.pad],
)
def padding(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Padding of positions; a padded dimension keeps its channels."""
    axes = []
    for axis, after in zip(x.labels, scene.result(node).labels, strict=True):
        if len(axis) == len(after):
            axes.append(axis)
        else:
            scene.fix(axis, f"{place(node)} pads this dimension")
            axes.append(after)
    return Value(tuple(axes))


@on(modules=[nn.Flatten], functions=[torch.flatten], methods=["flatten"])
def flatten(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Flattening follows whatever is cut."""
    return _reshaped(scene, node, x, None)


@on(methods=["view", "reshape"], functions=[torch.reshape])
def reshape(scene: Scene, node: fx.Node, x: Value, *sizes: Any, **kwargs: Any) -> Value:
    """A view: what is written as a number cannot follow."""
    given = node.args[1:] or (kwargs.get("shape", kwargs.get("size")),)
    if len(given) == 1 and isinstance(given[0], Sequence):
        given = tuple(given[0])
    if len(given) == 1 and isinstance(given[0], fx.Node) and len(scene.shape(node)) != 1:
        given = (given[0],) * len(scene.shape(node))  # x.view(y.shape)
    return _reshaped(scene, node, x, [isinstance(size, int) and size != -1 for size in given])


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
    ndim, count = len(x.labels), len(sizes)
    written = [False] * (ndim - 1 + count)
    for offset, size in enumerate(sizes):
        written[dim % ndim + offset] = isinstance(size, int) and size != -1
    return _reshaped(scene, node, x, written)


def _reshaped(scene: Scene, node: fx.Node, x: Value, written: Sequence[bool] | None) -> Value:
    """Returns the labels after a reshape; ``written`` tells which new sizes are numbers in the code."""
    after = scene.shape(node)
    free = [False] * len(after) if written is None else list(written)
    out: list[Labels] = []
    for before_dims, after_dims in _blocks(x.shape, after):
        axes = [x.labels[d] for d in before_dims]
        out.extend(
            _block(scene, node, axes, [after[d] for d in after_dims], [free[d] for d in after_dims])
        )
    return Value(tuple(out))


def _block(
    scene: Scene, node: fx.Node, axes: list[Labels], sizes: list[int], written: list[bool]
) -> list[Labels]:
    """Returns the labels of the new dimensions that a run of old ones becomes."""
    plain = [np.full(size, FIXED) for size in sizes]
    free = [place_ for place_, axis in enumerate(axes) if scene.atoms.is_free(axis)]
    if not free or not sizes:
        return plain
    labels = np.concatenate(axes) if len(axes) == 1 else None
    wide = [i for i, size in enumerate(sizes) if size > 1] or [0]
    if len(free) > 1 or (len(wide) > 1 and math.prod(len(a) for a in axes) != len(axes[free[0]])):
        for axis in axes:
            scene.fix(axis, f"{place(node)} mixes several dimensions")
        return plain
    shape = [1] * len(axes)
    shape[free[0]] = -1
    whole = np.broadcast_to(axes[free[0]].reshape(shape), [len(a) for a in axes])
    labels = whole.reshape(sizes)
    moving = [i for i in wide if not written[i]]
    if len(moving) != 1:
        scene.refuse(
            axes[free[0]],
            f"{place(node)}: writes the size {sizes} of channels in the code, which cannot follow when channels go; "
            "use flatten(1), -1 or a size computed from x.shape for them",
        )
        return plain
    dim = moving[0]
    lines = np.moveaxis(labels, dim, -1).reshape(-1, sizes[dim])
    scene.join(lines, lines[:1])
    plain[dim] = lines[0]
    return plain


def _blocks(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
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


@on(functions=[torch.permute], methods=["permute"])
def permute(scene: Scene, node: fx.Node, x: Value, *dims: Any) -> Value:
    """Dimensions in another order."""
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], Sequence) else dims
    return Value(tuple(x.labels[d] for d in order))


@on(functions=[torch.transpose, torch.swapaxes], methods=["transpose", "swapaxes"])
def transpose(scene: Scene, node: fx.Node, x: Value, one: int, other: int) -> Value:
    """Two dimensions exchanged."""
    axes = list(x.labels)
    axes[one], axes[other] = axes[other], axes[one]
    return Value(tuple(axes))


@on(functions=[torch.movedim], methods=["movedim", "t"])
def movedim(scene: Scene, node: fx.Node, x: Value, *args: Any) -> Value:
    """One dimension moved, or a matrix transposed."""
    axes = list(x.labels)
    if not args:
        return Value(tuple(axes[::-1]))
    moved = axes.pop(args[0])
    axes.insert(args[1] % len(x.labels), moved)
    return Value(tuple(axes))


@on(functions=[torch.unsqueeze], methods=["unsqueeze"])
def unsqueeze(scene: Scene, node: fx.Node, x: Value, dim: int) -> Value:
    """A new dimension of size 1."""
    axes = list(x.labels)
    axes.insert(dim % (len(axes) + 1), np.full(1, FIXED))
    return Value(tuple(axes))


@on(functions=[torch.squeeze], methods=["squeeze"])
def squeeze(scene: Scene, node: fx.Node, x: Value, *dims: Any) -> Value:
    """Dimensions of size 1 gone; without naming them, a channel that is left alone would go, too."""
    if not dims:
        for axis in x.labels:
            scene.refuse(axis, f"{place(node)}: squeeze() without a dimension; name the dimension")
    named = dims[0] if dims and isinstance(dims[0], Sequence) else dims
    chosen = {d % len(x.labels) for d in named} if dims else set(range(len(x.labels)))
    for dim in chosen:
        if dims and len(x.labels[dim]) == 1:
            scene.fix(x.labels[dim])
    return Value(tuple(a for d, a in enumerate(x.labels) if d not in chosen or len(a) != 1))


@on(functions=[torch.cat, torch.concat], methods=[])
def concatenate(
    scene: Scene, node: fx.Node, parts: Sequence[Value], dim: int = 0, **kwargs: Any
) -> Value:
    """Parts one after another along a dimension; alike in the others."""
    dim = kwargs.get("axis", dim) % len(parts[0].labels)
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


@on(functions=[torch.chunk], methods=["chunk"])
def chunk(scene: Scene, node: fx.Node, x: Value, chunks: int, dim: int = 0) -> Any:
    """Equal parts: what is at the same place of each goes together, so that they stay equal."""
    axis = x.labels[dim]
    if scene.atoms.is_free(axis) and len(axis) % chunks:
        scene.fix(axis, f"{place(node)} splits {len(axis)} channels into {chunks} unequal parts")
    elif scene.atoms.is_free(axis):
        parts = axis.reshape(chunks, -1)
        scene.join(parts, parts[:1])
    return _parts(scene, node, x, dim)


@on(functions=[torch.split], methods=["split"])
def split(scene: Scene, node: fx.Node, x: Value, size: Any, dim: int = 0) -> Any:
    """Parts of sizes that are written in the code, or computed."""
    sizes = size if isinstance(size, Sequence) else [size]
    if any(isinstance(part, int) for part in sizes):
        scene.refuse(
            x.labels[dim],
            f"{place(node)}: writes the sizes {list(sizes)} of parts in the code; use chunk, or sizes computed from x.shape",
        )
    else:
        scene.fix(x.labels[dim], f"{place(node)} splits at computed places")
    return _parts(scene, node, x, dim)


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
    """Indexing: whole dimensions pass; a place or a piece of channels is written in the code."""
    if not isinstance(x, Value):
        return x[index]
    places = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, Value | list) for part in places):
        scene_fix_all(scene, x, f"{place(node)} picks by a tensor")
        return scene.result(node)
    used = sum(part is not None and part is not Ellipsis for part in places)
    rest = [slice(None)] * (len(x.labels) - used)
    at = next((i for i, part in enumerate(places) if part is Ellipsis), len(places))
    spread = [*places[:at], *rest, *places[at + 1 :]]
    axes, dim = [], 0
    for part in spread:
        if part is None:
            axes.append(np.full(1, FIXED))
            continue
        axis = x.labels[dim]
        dim += 1
        if part == slice(None):
            axes.append(axis)
            continue
        scene.refuse(
            axis, f"{place(node)}: picks channels {part} by a number in the code; use chunk"
        )
        if isinstance(part, slice):
            numbers = [
                p.value if isinstance(p, Number) else p for p in (part.start, part.stop, part.step)
            ]
            axes.append(np.full(len(axis[slice(*numbers)]), FIXED))
    return Value(tuple(axes))


@on(methods=["expand", "expand_as", "repeat", "broadcast_to"], functions=[torch.broadcast_to])
def expand(scene: Scene, node: fx.Node, x: Value, *args: Any) -> Value:
    """Dimensions of size 1 made larger; the others pass."""
    after = scene.result(node)
    axes = list(after.labels)
    for back in range(1, len(x.labels) + 1):
        axis = x.labels[-back]
        if len(axis) == len(axes[-back]):
            axes[-back] = axis
        else:
            scene.fix(axis, f"{place(node)} repeats this dimension")
    return Value(tuple(axes))
