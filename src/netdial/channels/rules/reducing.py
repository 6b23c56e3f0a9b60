"""Reductions, softmax and order: over positions each channel goes by itself, over channels all of them depend on each other.

Sums and lengths are the same without a channel that is 0. The sum of products over channels is one of what ``einsum`` says in
one word: it reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from netdial.channels.labels import FIXED, Value
from netdial.channels.nodes import name_of, place
from netdial.channels.rules.elementwise import elementwise, scene_fix_all
from netdial.channels.rules.table import Scene, on
from netdial.core.errors import TraceError

_SPREADS = ("var", "std", "var_mean", "std_mean")
_TIMES = ("mul", "mul_", "imul", "multiply", "__mul__")


@on(
    modules=[nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d],
    functions=[
        torch.softmax,
        torch.log_softmax,
        F.softmax,
        F.log_softmax,
        F.softmin,
        F.gumbel_softmax,
    ],
    methods=["softmax", "log_softmax"],
)
def over_a_dimension(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Softmax and the like: over channels, all of them depend on each other."""
    module: Any = scene.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
    dim = kwargs.get("dim", args[0] if args else getattr(module, "dim", 1))
    if not isinstance(dim, int):
        raise TraceError(f"{place(node)}: name the dimension (dim=)")
    scene.mix(x.labels[dim], node)
    return x


@on(functions=[F.normalize])
def unit_length(
    scene: Scene, node: fx.Node, x: Value, p: float = 2.0, dim: Any = 1, *args: Any, **kwargs: Any
) -> Value:
    """Vectors divided by their lengths."""
    for d in [dim] if isinstance(dim, int) else dim:
        if p > 0:
            scene.sums(node, node.args[0], x, d)
        else:
            scene.mix(x.labels[d], node)
    return x


@on(
    functions=[
        torch.mean,
        torch.sum,
        torch.amax,
        torch.amin,
        torch.var,
        torch.std,
        torch.norm,
        torch.linalg.norm,
        torch.linalg.vector_norm,
        torch.prod,
    ],
    methods=["mean", "sum", "amax", "amin", "var", "std", "norm", "prod"],
)
def reduction(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Reductions over positions pass channels; over channels they depend on all of them, or on all that are not 0."""
    sums = name_of(node) == "sum"
    if name_of(node).endswith("norm"):
        order = kwargs.get("p", kwargs.get("ord", args[0] if args else None))
        sums = order in (None, "fro") or (isinstance(order, int | float) and order > 0)
        args = args[1:]
    over, kept = gone(node, len(x.labels), args, kwargs)
    dots = _is_dots(node)
    axes = []
    for d, axis in enumerate(x.labels):
        if d not in over:
            axes.append(axis)
            continue
        if dots:
            scene.reads(node, node.args[0], x, d)
        elif sums:
            scene.sums(node, node.args[0], x, d)
        else:
            scene.mix(axis, node)
        if kept:
            axes.append(np.full(1, FIXED))
    if len(axes) != len(scene.shape(node)):
        raise TraceError(f"{place(node)}: reduces in a way that has no rule; name its dimensions")
    return Value(tuple(axes))


def gone(
    node: fx.Node, number: int, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[set[int], bool]:
    """Returns the dimensions that a reduction of a tensor of a number of them runs over, and whether they stay as of size 1."""
    if name_of(node) in _SPREADS:  # between the two stands whether the spread is that of a sample
        args = (None, *args[1:]) if args and isinstance(args[0], bool) else args
        args = (*args[:1], *args[2:])
    dim = kwargs.get("dim", args[0] if args else None)
    dims = range(number) if dim is None else dim if isinstance(dim, Sequence) else [dim]
    return {d % number for d in dims}, kwargs.get("keepdim", len(args) > 1 and bool(args[1]))


def _is_dots(node: fx.Node) -> bool:
    """Whether a node sums products of two tensors, ``(x * y).sum(-1)``: where either is 0, a channel does not count."""
    source = node.args[0] if node.args else None
    if name_of(node) != "sum" or not isinstance(source, fx.Node) or name_of(source) not in _TIMES:
        return False
    return all(isinstance(part, fx.Node) for part in source.args[:2])


@on(
    functions=[torch.median, torch.nanmedian, torch.mode, torch.kthvalue, torch.quantile],
    methods=["median", "nanmedian", "mode", "kthvalue", "quantile"],
)
def ranked(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """A number of a certain rank of each position of a dimension, and where it is."""
    if name_of(node) in ("kthvalue", "quantile"):
        if isinstance(args[0] if args else kwargs.get("q"), Value | Sequence):
            raise TraceError(f"{place(node)}: takes several quantiles at once; take each by itself")
        args = args[1:]  # the first is the rank
    found = reduced(scene, node, x, *args, **kwargs)
    return (found, found) if isinstance(scene.results[node], tuple) else found


@on(functions=[torch.trapezoid, torch.trapz])
def integral(scene: Scene, node: fx.Node, y: Value, *args: Any, **kwargs: Any) -> Value:
    """Areas under curves: sums over positions; of channels, these depend on their order, and stay."""
    dim = kwargs.get("dim", -1) % len(y.labels)
    scene.fix(y.labels[dim], f"{place(node)}: sums channels up in their order")
    for part in (*args, kwargs.get("x")):
        scene_fix_all(scene, part, f"{place(node)}: places that are summed over")
    return Value((*y.labels[:dim], *y.labels[dim + 1 :]))


@on(
    functions=[torch.var_mean, torch.std_mean, torch.aminmax],
    methods=["aminmax"],
)
def pair(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """Two reductions over the same dimensions."""
    found = reduced(scene, node, x, *args, **kwargs)
    return found, found


@on(functions=[torch.max, torch.min], methods=["max", "min"])
def extreme(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """The largest number of each position of a dimension, and where it is; or of two tensors."""
    if args and isinstance(args[0], Value):
        return elementwise(scene, node, x, *args, **kwargs)
    found = reduced(scene, node, x, *args, **kwargs)
    return (found, found) if isinstance(scene.results[node], tuple) else found


@on(
    functions=[
        *(torch.logsumexp, torch.argmax, torch.argmin, torch.any, torch.all),
        *(torch.nanmean, torch.nansum),
    ],
    methods=["logsumexp", "argmax", "argmin", "any", "all", "nanmean", "nansum"],
)
def reduced(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Reductions that give no number for each channel if they run over channels."""
    over, keep = gone(node, len(x.labels), args, kwargs)
    for d in over:
        scene.mix(x.labels[d], node)
    axes = [
        np.full(1, FIXED) if d in over else a
        for d, a in enumerate(x.labels)
        if keep or d not in over
    ]
    return Value(tuple(axes))


@on(functions=[torch.sort, torch.topk, torch.argsort], methods=["sort", "topk", "argsort"])
def ordered(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """Positions in order, or the first of them; an order of channels is refused."""
    named = name_of(node)
    rest = args[1:] if named == "topk" else args
    dim = kwargs.get("dim", next((part for part in rest if not isinstance(part, bool)), -1))
    scene.fix(x.labels[dim], f"{place(node)}: puts channels in an order")
    result = scene.results[node]
    first = result[0] if isinstance(result, tuple) else result
    axes = list(x.labels)
    axes[dim] = np.full(first.shape[dim], FIXED)
    found = Value(tuple(axes))
    return (found, found) if isinstance(result, tuple) else found
