"""Operations on each number by itself: channels pass through; two tensors that meet have the same channels."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from netdial.shrink.labels import Labels, Number, Value
from netdial.shrink.rules.table import Scene, on

ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Softsign,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.LogSigmoid,
    nn.Softshrink,
    nn.Hardshrink,
    nn.Tanhshrink,
    nn.Threshold,
    nn.Identity,
)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_UNARY = [
    "relu",
    "relu_",
    "relu6",
    "leaky_relu",
    "leaky_relu_",
    "elu",
    "elu_",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "sigmoid",
    "tanh",
    "softplus",
    "softsign",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "logsigmoid",
    "softshrink",
    "hardshrink",
    "tanhshrink",
    "threshold",
    "abs",
    "neg",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sqrt",
    "rsqrt",
    "square",
    "sin",
    "cos",
    "erf",
    "clamp",
    "clamp_min",
    "clamp_max",
    "clip",
    "reciprocal",
    "nan_to_num",
    "sign",
    "contiguous",
    "clone",
    "detach",
    "float",
    "double",
    "half",
    "bfloat16",
    "to",
]
_BINARY = [
    "add",
    "sub",
    "mul",
    "div",
    "true_divide",
    "maximum",
    "minimum",
    "pow",
    "add_",
    "sub_",
    "mul_",
    "div_",
    "where",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "atan2",
    "lerp",
    "masked_fill",
    "masked_fill_",
    "type_as",
    "iadd",
    "isub",
    "imul",
    "itruediv",
    "truediv",
    "floordiv",
    "mod",
]


def _found(names: list[str], *places: Any) -> list[Any]:
    return [getattr(here, name) for here in places for name in names if hasattr(here, name)]


@on(
    modules=[*ACTIVATIONS, *DROPOUTS],
    functions=_found([*_UNARY, *_BINARY], torch, F, operator),
    methods=[*_UNARY, *_BINARY],
)
def elementwise(scene: Scene, node: fx.Node, *args: Any, **kwargs: Any) -> Value | Number:
    """Joins the channels of all tensors that meet, with broadcasting."""
    values = [part for part in (*args, *kwargs.values()) if isinstance(part, Value)]
    if not values:
        return Number(scene.results[node])
    ndim = max(len(value.labels) for value in values)
    return Value(tuple(_meet(scene, values, dim) for dim in range(-ndim, 0)))


def _meet(scene: Scene, values: list[Value], dim: int) -> Labels:
    """Returns the joined labels of one dimension, counted from the end."""
    axes = [value.labels[dim] for value in values if -dim <= len(value.labels)]
    size = max(len(axis) for axis in axes)
    first = next(axis for axis in axes if len(axis) == size)
    for axis in axes:
        if len(axis) == size:
            scene.join(first, axis)
        else:
            scene.fix(axis)
    return first


@on(modules=[nn.PReLU])
def prelu(scene: Scene, node: fx.Node, x: Value) -> Value:
    """PReLU: one slope for each channel, or one for all."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, nn.PReLU)
    if module.weight.numel() > 1:
        scene.join(x.labels[1], scene.leaf(module.weight)[0])
    return x


@on(functions=[getattr], methods=["size", "dim", "numel"])
def sizes(scene: Scene, node: fx.Node, x: Any, *args: Any) -> Any:
    """Sizes of a tensor: numbers that follow when it is cut."""
    found = scene.results[node]
    if isinstance(found, torch.Size):
        return tuple(Number(size) for size in found)
    if isinstance(found, torch.Tensor):  # .T, .mT, .data
        axes = list(x.labels)
        if args == ("T",):
            axes = axes[::-1]
        elif args == ("mT",):
            axes[-2:] = axes[:-3:-1]
        elif args != ("data",):
            scene_fix_all(scene, x)
            return scene.result(node)
        return Value(tuple(axes))
    return Number(found)


def scene_fix_all(scene: Scene, value: Any, why: str = "") -> None:
    """Fixes everything about a tensor."""
    if isinstance(value, Value):
        for axis in value.labels:
            scene.fix(axis, why)
    elif isinstance(value, tuple | list):
        for part in value:
            scene_fix_all(scene, part, why)


@on(
    functions=[
        torch.zeros,
        torch.ones,
        torch.full,
        torch.arange,
        torch.zeros_like,
        torch.ones_like,
    ],
    methods=["new_zeros", "new_ones", "new_full", "new_empty"],
)
def creation(scene: Scene, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    """A new tensor like another one has its channels; of a size written down, it has none."""
    shape = scene.shape(node)
    like = args[0] if args and isinstance(args[0], Value) and args[0].shape == shape else None
    if like is not None and getattr(node.target, "__name__", "").endswith("_like"):
        return like
    return Value(tuple(np.zeros(size, dtype=np.int64) for size in shape))
