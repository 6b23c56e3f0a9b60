"""Operations that move numbers without changing them: permuting, padding, repeating, scattering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from netdial.channels.labels import FIXED, Labels, SizeNumber, Value
from netdial.channels.nodes import module_of, name_of, place, squeezed
from netdial.channels.rules.table import Scene, on
from netdial.core.errors import TraceError

_CONSTANT = tuple(getattr(nn, f"{kind}Pad{n}d") for kind in ("Zero", "Constant") for n in (1, 2, 3))
_OWN = tuple(
    getattr(nn, f"{kind}Pad{n}d")
    for kind in ("Reflection", "Replication", "Circular")
    for n in (1, 2, 3)
)


@on(modules=[*_CONSTANT, *_OWN], functions=[F.pad])
def padding(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Padding: a dimension that gets numbers of one kind keeps those, as of positions, and what was there goes on as it is.

    One that is padded with its own numbers, or loses some, stays whole.
    """
    given = dict(zip(("pad", "mode"), args, strict=False)) | kwargs
    widths, constant = given.get("pad"), given.get("mode", "constant") == "constant"
    if node.op == "call_module":
        module = module_of(scene.traced, node)
        widths, constant = getattr(module, "padding", None), isinstance(module, _CONSTANT)
    after = scene.result(node).labels
    if not isinstance(widths, Sequence):
        for axis in x.labels:
            scene.fix(axis, f"{place(node)} pads this dimension")
        return Value(after)
    axes = list(x.labels)
    for back, (before, behind) in enumerate(zip(widths[::2], widths[1::2], strict=True), 1):
        if constant and all(isinstance(n, int) and n >= 0 for n in (before, behind)):
            parts = [np.full(before, FIXED), axes[-back], np.full(behind, FIXED)]
            axes[-back] = np.concatenate(parts)
        elif (before, behind) != (0, 0):
            scene.fix(axes[-back], f"{place(node)} pads this dimension")
            axes[-back] = after[-back]
    return Value(tuple(axes))


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


@on(
    functions=[torch.movedim, torch.moveaxis, torch.t],
    methods=["movedim", "moveaxis", "t"],
)
def movedim(scene: Scene, node: fx.Node, x: Value, *args: Any) -> Value:
    """Dimensions moved, one or several at once, or a matrix transposed."""
    if not args:
        return Value(x.labels[::-1])
    size = len(x.labels)
    came, went = ([d % size for d in np.atleast_1d(part)] for part in args)
    axes = [axis for d, axis in enumerate(x.labels) if d not in came]
    for new, old in sorted(zip(went, came, strict=True)):
        axes.insert(new, x.labels[old])
    return Value(tuple(axes))


@on(functions=[torch.flip, torch.roll], methods=["flip", "roll"])
def moved(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Positions turned around or moved on; channels would be other ones at each place."""
    named = name_of(node)
    given = kwargs.get("dims", args[-1] if named == "flip" or len(args) > 1 else None)
    if named == "flip" and len(args) > 1:
        given = args
    dims = (
        range(len(x.labels)) if given is None else given if isinstance(given, Sequence) else [given]
    )
    for dim in dims:
        scene.fix(x.labels[dim], f"{place(node)}: moves channels to other places")
    return x


_RUNNING = ["cumsum", "cumprod", "logcumsumexp"]


@on(functions=[getattr(torch, name) for name in _RUNNING], methods=_RUNNING)
def running(scene: Scene, node: fx.Node, x: Value, dim: int, **kwargs: Any) -> Value:
    """Sums of all numbers up to each; of channels, these depend on their order, and stay."""
    scene.fix(x.labels[dim], f"{place(node)}: sums channels up in their order")
    return x


_EXTREMES = ["cummax", "cummin"]


@on(functions=[getattr(torch, name) for name in _EXTREMES], methods=_EXTREMES)
def running_extreme(scene: Scene, node: fx.Node, x: Value, dim: int, **kwargs: Any) -> Any:
    """Largest or smallest numbers so far, and where they are."""
    found = running(scene, node, x, dim)
    return found, found


_FOURIER = {
    getattr(torch.fft, f"{inverse}{real}fft{n}"): dims
    for inverse in ("", "i")
    for real in ("", "r", "h")
    for n, dims in (("", (-1,)), ("2", (-2, -1)), ("n", None))
}
"""Fourier transforms, and the dimensions that they run along by default; None means all."""


@on(functions=_FOURIER)
def spectrum(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Fourier transforms along positions: channels pass; channels that one runs along stay."""
    assert callable(node.target)
    given = kwargs.get("dim", args[1] if len(args) > 1 else _FOURIER[node.target])
    dims = range(len(x.labels)) if given is None else [given] if isinstance(given, int) else given
    axes, after = list(x.labels), scene.result(node).labels
    for dim in dims:
        scene.fix(axes[dim], f"{place(node)} runs along this dimension")
        axes[dim] = after[dim]
    return Value(tuple(axes))


@on(functions=[torch.unsqueeze], methods=["unsqueeze"])
def unsqueeze(scene: Scene, node: fx.Node, x: Value, dim: int) -> Value:
    """A new dimension of size 1."""
    axes = list(x.labels)
    axes.insert(dim % (len(axes) + 1), np.full(1, FIXED))
    return Value(tuple(axes))


@on(functions=[torch.squeeze], methods=["squeeze"])
def squeeze(scene: Scene, node: fx.Node, x: Value, *dims: Any) -> Value:
    """Dimensions of size 1 gone; where none is named, a channel that is left alone would go, too, and is made to stay."""
    if not dims:
        free = tuple(d for d, a in enumerate(x.labels) if len(a) > 1 and scene.atoms.is_free(a))
        if free:
            node.op, node.target, node.args = "call_function", squeezed, (node.args[0], free)
            scene.traced.recompile()
        return Value(tuple(axis for axis in x.labels if len(axis) != 1))
    named = dims[0] if isinstance(dims[0], Sequence) else dims
    chosen = {d % len(x.labels) for d in named}
    for dim in chosen:
        scene.fix(x.labels[dim], f"{place(node)} drops this dimension when one is left")
    return Value(tuple(a for d, a in enumerate(x.labels) if d not in chosen or len(a) != 1))


@on(functions=[squeezed])
def squeeze_others(scene: Scene, node: fx.Node, x: Value, kept: Any) -> Value:
    """Dimensions of size 1 gone, but for those of channels."""
    return Value(tuple(a for d, a in enumerate(x.labels) if d in kept or len(a) != 1))


@on(methods=["expand_as"])
def expand_as(scene: Scene, node: fx.Node, x: Value, other: Value) -> Value:
    """Dimensions of size 1 made as large as those of another tensor; the others are alike."""
    axes = list(other.labels)
    for back in range(1, len(x.labels) + 1):
        if len(x.labels[-back]) == len(axes[-back]):
            scene.join(x.labels[-back], axes[-back])
    return Value(tuple(axes))


@on(
    methods=["expand", "repeat", "tile", "broadcast_to"], functions=[torch.broadcast_to, torch.tile]
)
def expand(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Dimensions of size 1 made larger; the others pass."""
    after = scene.result(node)
    axes = list(after.labels)
    listed = bool(args) and isinstance(args[0], Sequence)
    asked = args[0] if listed else args
    same = 1 if name_of(node) in ("repeat", "tile") else -1
    for back in range(1, len(axes) + 1):
        axis = x.labels[-back] if back <= len(x.labels) else np.full(1, FIXED)
        size = asked[-back] if back <= len(asked) else None
        number = len(asked) - back
        where = ("args", 1, number) if listed else ("args", 1 + number)
        if len(axis) != len(axes[-back]):
            scene.fix(axis, f"{place(node)} repeats this dimension")
            _grown(scene, axes, back, size, where)
        else:
            if isinstance(size, int | SizeNumber) and size != same:
                message = f"{place(node)}: writes the size {len(axis)} of channels in the code; use {same} for it"
                scene.demand(where, axis, size, message, lambda graph: same)
            axes[-back] = axis
    return Value(tuple(axes))


def _grown(scene: Scene, axes: list[Labels], back: int, size: Any, where: tuple[Any, ...]) -> None:
    """Gives a dimension that was made larger the channels whose count it was given, or those that it meets."""
    count = len(axes[-back])
    if isinstance(size, SizeNumber) and [len(source) for source in size.sources] == [count]:
        scene.handled.add(id(size))
        axes[-back] = size.sources[0]
    elif (size.value if isinstance(size, SizeNumber) else size) == count:
        axes[-back] = scene.repeated(count)
        scene.demand(where, axes[-back], size, "")


@on(functions=[torch.repeat_interleave], methods=["repeat_interleave"])
def repeat_interleave(
    scene: Scene, node: fx.Node, x: Value, repeats: Any, dim: Any = None, **kwargs: Any
) -> Value:
    """Each channel several times, one after another."""
    if not isinstance(repeats, int | SizeNumber) or dim is None:
        raise TraceError(
            f"{place(node)}: repeats in a way that has no rule; give a number and dim="
        )
    axes = list(x.labels)
    count = repeats.value if isinstance(repeats, SizeNumber) else repeats
    assert isinstance(count, int)
    axes[dim] = np.repeat(axes[dim], count)
    return Value(tuple(axes))


@on(functions=[F.grid_sample, torch.grid_sampler, torch.grid_sampler_2d, torch.grid_sampler_3d])
def sampled(scene: Scene, node: fx.Node, x: Value, grid: Value, *args: Any, **kwargs: Any) -> Value:
    """Channels at other positions."""
    scene.keep(node, [*x.labels[2:], *grid.labels])
    return Value((*x.labels[:2], *scene.result(node).labels[2:]))


@on(functions=[F.affine_grid, torch.affine_grid_generator])
def grid(scene: Scene, node: fx.Node, theta: Value, *args: Any, **kwargs: Any) -> Value:
    """Positions, of numbers that have a meaning each."""
    scene.keep(node, theta.labels)
    return scene.result(node)


@on(methods=["unfold"])
def frames(scene: Scene, node: fx.Node, x: Value, dim: int, *args: Any, **kwargs: Any) -> Value:
    """Pieces of a dimension, one beside the other."""
    after, dim = scene.result(node).labels, dim % len(x.labels)
    scene.keep(node, [x.labels[dim]])
    return Value((*x.labels[:dim], after[dim], *x.labels[dim + 1 :], after[-1]))


@on(modules=[nn.GLU], functions=[F.glu])
def gated(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """A gated linear unit: a value and its gate go together."""
    dim = kwargs.get("dim", args[0] if args else getattr(module_of(scene.traced, node), "dim", -1))
    halves = x.labels[dim].reshape(2, -1)
    scene.join(halves, halves[:1])
    axes = list(x.labels)
    axes[dim] = halves[0]
    return Value(tuple(axes))


@on(modules=[nn.PixelShuffle], functions=[F.pixel_shuffle])
def pixel_shuffle(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Channels made into positions: those that become one channel go together."""
    after = scene.result(node).labels
    lines = x.labels[-3].reshape(len(after[-3]), -1)
    scene.join(lines, lines[:, :1])
    scene.keep(node, x.labels[-2:])
    return Value((*x.labels[:-3], lines[:, 0], *after[-2:]))


@on(modules=[nn.PixelUnshuffle], functions=[F.pixel_unshuffle])
def pixel_unshuffle(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Positions made into channels: all that one channel becomes go with it."""
    after = scene.result(node).labels
    scene.keep(node, x.labels[-2:])
    made = np.repeat(x.labels[-3], len(after[-3]) // len(x.labels[-3]))
    return Value((*x.labels[:-3], made, *after[-2:]))


@on(modules=[nn.Unfold], functions=[F.unfold])
def patches(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Patches ``[B, C k, L]`` of pictures: all places of a channel in a patch go with it."""
    scene.expect(x, node, [4])
    after = scene.result(node).labels
    scene.keep(node, x.labels[-2:])
    return Value((x.labels[0], np.repeat(x.labels[1], len(after[1]) // len(x.labels[1])), after[2]))


@on(modules=[nn.Fold], functions=[F.fold])
def unpatched(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Pictures of patches ``[B, C k, L]``: all places of a channel in a patch go with it."""
    scene.expect(x, node, [3])
    after = scene.result(node).labels
    lines = x.labels[1].reshape(len(after[1]), -1)
    scene.join(lines, lines[:, :1])
    scene.keep(node, x.labels[2:])
    return Value((x.labels[0], lines[:, 0], *after[2:]))


@on(modules=[nn.ChannelShuffle], functions=[F.channel_shuffle])
def channel_shuffle(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Channels of several groups in turns: those at the same place of all groups go together."""
    groups = kwargs.get(
        "groups", args[0] if args else getattr(module_of(scene.traced, node), "groups", 1)
    )
    by_group = x.labels[1].reshape(int(groups), -1)
    scene.join(by_group, by_group[:1])
    return Value((x.labels[0], by_group.T.ravel(), *x.labels[2:]))
