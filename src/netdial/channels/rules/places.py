"""Operations at places that a tensor gives, on neighbours and on pairs: there channels stay, elsewhere they pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from netdial.channels.labels import FIXED, Value, fixed
from netdial.channels.nodes import place
from netdial.channels.rules.elementwise import scene_fix_all
from netdial.channels.rules.table import Scene, on
from netdial.core.errors import TraceError

_INDEX_SELECT = torch._C._VariableFunctions.index_select
"""That of torch; ``torch_geometric`` puts one of its own in its place."""


@on(functions=[_INDEX_SELECT, torch.narrow], methods=["index_select", "narrow"])
def picked(scene: Scene, node: fx.Node, x: Value, dim: int, *args: Any, **kwargs: Any) -> Value:
    """Some positions of a dimension, whose channels stay; the others pass."""
    scene.fix(x.labels[dim], f"{place(node)}: picks channels by their numbers; use chunk")
    axes = list(x.labels)
    axes[dim] = scene.result(node).labels[dim]
    return Value(tuple(axes))


@on(
    functions=[torch.index_add, torch.index_copy, torch.index_reduce],
    methods=[f"index_{kind}{end}" for kind in ("add", "copy", "reduce") for end in ("", "_")],
)
def put(
    scene: Scene,
    node: fx.Node,
    x: Value,
    dim: int,
    index: Value,
    source: Value,
    *args: Any,
    **kwargs: Any,
) -> Value:
    """Rows added or put at places that a tensor gives, which stay; channels of both go together."""
    _at_places(scene, node, dim, [x, source])
    scene_fix_all(scene, index, f"{place(node)} puts numbers by it")
    return x


@on(
    functions=[torch.scatter, torch.scatter_add, torch.scatter_reduce],
    methods=[f"scatter{kind}{end}" for kind in ("", "_add", "_reduce") for end in ("", "_")],
)
def scattered(
    scene: Scene, node: fx.Node, x: Value, dim: int, index: Value, *args: Any, **kwargs: Any
) -> Value:
    """Numbers added or put at places of a dimension that a tensor gives, which stay; channels of all go together."""
    source = [part for part in (*args, *kwargs.values()) if isinstance(part, Value) and part.labels]
    _at_places(scene, node, dim, [x, index, *source])
    return x


@on(functions=[torch.masked_scatter], methods=["masked_scatter", "masked_scatter_"])
def filled_in(scene: Scene, node: fx.Node, x: Value, mask: Value, source: Value) -> Value:
    """Rows put one after another where a mask says so, which is the same for all channels of a row: they go together."""
    said: torch.Tensor = scene.results[node.args[1]]  # type: ignore[index]
    by_row = said.shape[-1] == 1 or said.stride(-1) == 0
    kept = [*x.labels, *source.labels]
    if by_row and source.labels and len(x.labels[-1]) == len(source.labels[-1]):
        scene.join(x.labels[-1], source.labels[-1])
        kept = [*x.labels[:-1], *source.labels[:-1]]
    for axis in kept:
        scene.fix(axis, f"{place(node)}: puts channels at places that a mask gives")
    scene_fix_all(scene, mask, f"{place(node)} puts numbers by it")
    return x


@on(functions=[torch.gather], methods=["gather"])
def gathered(scene: Scene, node: fx.Node, x: Value, dim: int, index: Value, **kwargs: Any) -> Value:
    """Numbers of a dimension at places that a tensor gives: the places stay; channels of both go together."""
    _at_places(scene, node, dim, [x, index])
    return index


@on(functions=[torch.take_along_dim], methods=["take_along_dim"])
def taken(
    scene: Scene, node: fx.Node, x: Value, index: Value, dim: int | None = None, **kwargs: Any
) -> Value:
    """The same, where either may be one long in the other dimensions, for all of the other."""
    if dim is None:
        raise TraceError(f"{place(node)}: counts through all dimensions; name one (dim=)")
    axes = list(index.labels)
    for d, (one, other) in enumerate(zip(x.labels, index.labels, strict=True)):
        if d != dim % len(axes) and len(one) == len(other):
            scene.join(one, other)
            continue
        for axis in (one, other):
            if d == dim % len(axes) or len(axis) == 1:
                scene.fix(axis, f"{place(node)}: takes channels at places that a tensor gives")
        if d != dim % len(axes) and len(one) > 1:
            axes[d] = one
    return Value(tuple(axes))


@on(functions=[torch.meshgrid])
def grids(scene: Scene, node: fx.Node, *given: Any, **kwargs: Any) -> Any:
    """Places of a grid: each line of them stays."""
    scene_fix_all(scene, given, f"{place(node)} makes a grid of it")
    return tuple(fixed(tuple(part.shape)) for part in scene.results[node])


def _at_places(scene: Scene, node: fx.Node, dim: int, values: Sequence[Value]) -> None:
    """Joins the channels of tensors in all dimensions but one; what is longer than another is written in part, and stays."""
    for d, axes in enumerate(zip(*(value.labels for value in values), strict=True)):
        if d == dim % len(values[0].labels) or len({len(axis) for axis in axes}) > 1:
            for axis in axes:
                scene.fix(axis, f"{place(node)}: puts channels at places that a tensor gives")
        else:
            for axis in axes[1:]:
                scene.join(axes[0], axis)


@on(functions=[torch.diagonal], methods=["diagonal"])
def diagonal(
    scene: Scene,
    node: fx.Node,
    x: Value,
    offset: int = 0,
    dim1: int = 0,
    dim2: int = 1,
    **kwargs: Any,
) -> Value:
    """Entries whose two places are the same: the channels of both dimensions are the same, too; of others, they stay."""
    one, other = dim1 % len(x.labels), dim2 % len(x.labels)
    rest = [axis for d, axis in enumerate(x.labels) if d not in (one, other)]
    if offset == 0 and len(x.labels[one]) == len(x.labels[other]):
        scene.join(x.labels[one], x.labels[other])
        return Value((*rest, x.labels[one]))
    for d in (one, other):
        scene.fix(x.labels[d], f"{place(node)}: pairs channels by their places")
    return Value((*rest, scene.result(node).labels[-1]))


@on(functions=[torch.diagonal_scatter], methods=["diagonal_scatter"])
def diagonal_put(
    scene: Scene, node: fx.Node, x: Value, source: Value, *args: Any, **kwargs: Any
) -> Value:
    """A tensor with other entries where its two places are the same."""
    found: Value = diagonal(scene, node, x, *args, **kwargs)
    for axis, other in zip(found.labels, source.labels, strict=True):
        scene.join(axis, other)
    return x


@on(functions=[torch.diff], methods=["diff"])
def differences(
    scene: Scene, node: fx.Node, x: Value, n: int = 1, dim: int = -1, *around: Any, **kwargs: Any
) -> Value:
    """Differences of neighbours along positions: channels pass; channels whose neighbours are asked for stay."""
    scene.fix(x.labels[dim], f"{place(node)}: takes channels from their neighbours")
    for part in (*around, *kwargs.values()):
        scene_fix_all(scene, part, f"{place(node)}: takes channels from their neighbours")
    axes = list(x.labels)
    axes[dim] = scene.result(node).labels[dim]
    return Value(tuple(axes))


@on(functions=[torch.stft, torch.istft], methods=["stft", "istft"])
def spectrum(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Spectra of windows, and signals of spectra: steps and frequencies are places, and rows are no channels of a layer."""
    scene_fix_all(
        scene, (x, *args, *kwargs.values()), f"{place(node)}: counts frequencies and steps"
    )
    return scene.result(node)


@on(functions=[torch.view_as_complex])
def pairs(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Complex numbers of pairs, whose two parts stay."""
    scene.fix(x.labels[-1], f"{place(node)}: makes complex numbers of pairs")
    return Value(x.labels[:-1])


@on(functions=[torch.view_as_real])
def unpaired(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Real and imaginary parts along a last dimension."""
    return Value((*x.labels, np.full(2, FIXED)))
