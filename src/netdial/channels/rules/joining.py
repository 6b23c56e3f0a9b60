"""Operations that put tensors together, take them apart or repeat them.

Equal parts (``chunk``) stay equal: what is at the same place of each goes together. Parts and places that are written in the
code as numbers cannot follow when channels go, so they are refused.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from netdial.channels.labels import FIXED, SizeNumber, Value
from netdial.channels.nodes import place
from netdial.channels.rules.elementwise import scene_fix_all
from netdial.channels.rules.shaping import follows
from netdial.channels.rules.table import Scene, on


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
                p.value if isinstance(p, SizeNumber) else p
                for p in (part.start, part.stop, part.step)
            ]
            axes.append(np.full(len(axis[slice(*numbers)]), FIXED))
    return Value(tuple(axes))


@on(methods=["expand", "expand_as", "repeat", "broadcast_to"], functions=[torch.broadcast_to])
def expand(scene: Scene, node: fx.Node, x: Value, *args: Any) -> Value:
    """Dimensions of size 1 made larger; the others pass."""
    after = scene.result(node)
    axes = list(after.labels)
    asked = args[0] if args and isinstance(args[0], Sequence) else args
    same = 1 if node.target == "repeat" else -1
    for back in range(1, len(x.labels) + 1):
        axis = x.labels[-back]
        size = asked[-back] if back <= len(asked) else None
        if len(axis) != len(axes[-back]):
            scene.fix(axis, f"{place(node)} repeats this dimension")
        elif isinstance(size, int | SizeNumber) and size != same and not follows(scene, size, axis):
            scene.refuse(
                axis,
                f"{place(node)}: writes the size {len(axis)} of channels in the code; use {same} for it",
            )
        axes[-back] = axes[-back] if len(axis) != len(axes[-back]) else axis
    return Value(tuple(axes))


@on(functions=[torch.unbind], methods=["unbind"])
def unbind(scene: Scene, node: fx.Node, x: Value, dim: int = 0) -> Any:
    """One tensor for each index of a dimension."""
    scene.fix(x.labels[dim], f"{place(node)} takes this dimension apart")
    axes = list(x.labels)
    del axes[dim]
    return (Value(tuple(axes)),) * len(x.labels[dim])
