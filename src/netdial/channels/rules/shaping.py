"""Operations that move numbers without changing them: reshaping, permuting, padding, pooling, resizing.

A size that is written in the code cannot follow when channels go, so it is refused where it touches channels; ``-1``,
``flatten`` and sizes computed from ``x.shape`` follow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from netdial.channels.labels import FIXED, Labels, SizeNumber, Value
from netdial.channels.nodes import module_of, place
from netdial.channels.rules.table import Scene, on

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
    after = scene.result(node).labels
    kind = node.target if node.op != "call_module" else type(module_of(scene.traced, node))
    found = re.search(r"(\d)d$", getattr(kind, "__name__", ""))
    positions = int(found[1]) if found else len(after) - 2
    lead = len(after) - positions
    scene.keep(node, x.labels[lead:])
    return Value((*x.labels[:lead], *after[lead:]))


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
    widths = args[0] if args else kwargs.get("pad")
    if node.op == "call_module":
        widths = getattr(module_of(scene.traced, node), "padding", None)
    touched = set(range(len(x.labels)))
    if isinstance(widths, Sequence):
        last = len(x.labels) - 1
        touched = {last - i // 2 for i, width in enumerate(widths) if width != 0}
    axes = []
    for dim, (axis, after) in enumerate(zip(x.labels, scene.result(node).labels, strict=True)):
        if dim in touched:
            scene.fix(axis, f"{place(node)} pads this dimension")
        axes.append(after if dim in touched else axis)
    return Value(tuple(axes))


@on(modules=[nn.Flatten], functions=[torch.flatten], methods=["flatten"])
def flatten(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Flattening follows whatever is cut."""
    return _reshaped(scene, node, x, None)


@on(methods=["view", "reshape"], functions=[torch.reshape])
def reshape(scene: Scene, node: fx.Node, x: Value, *sizes: Any, **kwargs: Any) -> Value:
    """A view: what is written as a number cannot follow."""
    given = sizes or (kwargs.get("shape", kwargs.get("size")),)
    return _reshaped(scene, node, x, given[0] if isinstance(given[0], Sequence) else given)


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
    return _reshaped(scene, node, x, [None] * dim + list(sizes) + [None] * (ndim - 1 - dim))


def _reshaped(scene: Scene, node: fx.Node, x: Value, given: Sequence[Any] | None) -> Value:
    """Returns the labels after a reshape; ``given`` are the new sizes as they are written, None what always follows."""
    after = scene.shape(node)
    asked = [None] * len(after) if given is None else list(given)
    out: list[Labels] = []
    for before_dims, after_dims in blocks(x.shape, after):
        axes = [x.labels[d] for d in before_dims]
        sizes = [after[d] for d in after_dims]
        out.extend(_block(scene, node, axes, sizes, [asked[d] for d in after_dims]))
    return Value(tuple(out))


def _block(
    scene: Scene, node: fx.Node, axes: list[Labels], sizes: list[int], asked: list[Any]
) -> list[Labels]:
    """Returns the labels of the new dimensions that a run of old ones becomes."""
    plain = [np.full(size, FIXED) for size in sizes]
    free = [axis for axis in axes if scene.atoms.is_free(axis)]
    if not free or not sizes:
        return plain
    moving = [i for i, size in enumerate(asked) if follows(scene, size, free[0])]
    wide = [i for i, size in enumerate(sizes) if size > 1]
    if len(free) > 1 or (len(wide) > 1 and math.prod(sizes) != len(free[0])):
        for axis in axes:
            scene.fix(axis, f"{place(node)} mixes several dimensions")
        return plain
    chosen = [i for i in moving if i in wide] or moving[:1]
    if len(chosen) != 1:
        scene.refuse(
            free[0],
            f"{place(node)}: writes the size {sizes} of channels in the code, which cannot follow when channels go; "
            "use flatten(1), -1 or a size computed from x.shape for them",
        )
        return plain
    shape = [len(free[0]) if axis is free[0] else 1 for axis in axes]
    labels = np.broadcast_to(free[0].reshape(shape), [len(a) for a in axes]).reshape(sizes)
    dim = chosen[0]
    lines = np.moveaxis(labels, dim, -1).reshape(-1, sizes[dim])
    scene.join(lines, lines[:1])
    plain[dim] = lines[0]
    return plain


def follows(scene: Scene, size: Any, labels: Labels) -> bool:
    """Whether a size that was asked for follows when the channels of a dimension go."""
    if not isinstance(size, SizeNumber):
        return size is None or size == -1
    counted = {root for source in size.sources for root in scene.atoms.find(source).tolist()}
    return counted - {FIXED} == set(scene.atoms.find(labels).tolist()) - {FIXED}


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
        if dims:
            scene.fix(x.labels[dim], f"{place(node)} drops this dimension when one is left")
    return Value(tuple(a for d, a in enumerate(x.labels) if d not in chosen or len(a) != 1))
