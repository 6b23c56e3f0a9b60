"""Operations on each number by itself: channels pass through; two tensors that meet have the same channels."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from netdial.channels.labels import Labels, SizeNumber, Value, fixed
from netdial.channels.layers.keeping import Keeping
from netdial.channels.layers.mode import ByMode
from netdial.channels.nodes import detached, module_of, name_of, place, with_numbers
from netdial.channels.rules.table import Scene, on
from netdial.core.inputs import PartedInputs, ScoredOutput

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
_FILLS = ["bernoulli_", "uniform_", "normal_", "exponential_", "random_", "fill_", "zero_"]
"""Methods that put other numbers in a tensor, the same kind everywhere."""
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_UNARY = [
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
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
    "where",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "atan2",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "xlogy",
    "addcmul",
    "addcdiv",
    "lerp",
    "masked_fill",
    "iadd",
    "isub",
    "imul",
    "itruediv",
    "truediv",
    "floordiv",
    "mod",
]
_IN_PLACE = [f"{name}_" for name in (*_UNARY, *_BINARY)]


def _found(names: list[str], *places: Any) -> list[Any]:
    return [getattr(here, name) for here in places for name in names if hasattr(here, name)]


@on(
    modules=[*ACTIVATIONS, *DROPOUTS],
    functions=[*_found([*_UNARY, *_BINARY, *_IN_PLACE], torch, F, operator), with_numbers],
    methods=[*_UNARY, *_BINARY, *(name for name in _IN_PLACE if hasattr(Tensor, name)), *_FILLS],
)
def elementwise(scene: Scene, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """Joins the channels of all tensors that meet, with broadcasting; a number of channels mixes them."""
    given = (*args, *kwargs.values())
    values = [part for part in given if isinstance(part, Value)]
    if not values:
        return _of_sizes(scene, node, given)
    for part in given:
        for source in part.sources if isinstance(part, SizeNumber) else ():
            scene.mix(source, node)
        scene.handled.add(id(part))
    ndim = max(len(value.labels) for value in values)
    return Value(tuple(_meet(scene, values, dim) for dim in range(-ndim, 0)))


def _of_sizes(scene: Scene, node: fx.Node, given: tuple[Any, ...]) -> Any:
    """Returns what is computed from sizes alone; sizes put together, or repeated, stay apart."""
    found, lists = scene.results[node], [part for part in given if isinstance(part, tuple | list)]
    if len(given) == 2 and lists and isinstance(found, tuple | list):
        whole = tuple(part for sizes in lists for part in sizes)
        return whole * (len(found) // max(len(whole), 1))
    return computed(found, given)


def computed(value: object, given: Any) -> SizeNumber:
    """Returns a number that is computed from others, and from the dimensions that they are computed from."""
    sources: list[Labels] = []
    for part in given if isinstance(given, tuple | list) else [given]:
        if isinstance(part, SizeNumber):
            sources.extend(part.sources)
        elif isinstance(part, tuple | list):
            sources.extend(computed(value, part).sources)
    return SizeNumber(value, tuple(sources))


@on(methods=["to", "type_as", "type", "float", "double", "half", "bfloat16", "long", "bool", "cpu"])
def as_type(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Numbers of another type."""
    return x


@on(modules=[ByMode])
def by_mode(scene: Scene, node: fx.Node, training: Any, evaluating: Any) -> Any:
    """One of two things by mode: tensors of one shape have the same channels, whatever else differs stays."""
    return _one_of(scene, node, training, evaluating)


@on(modules=[Keeping])
def keeping(scene: Scene, node: fx.Node, kept: Any, value: Any) -> Any:
    """A tensor of the network that its forward pass changes: training goes on to, so no channel of a buffer is constant."""
    if isinstance(scene.results[node.all_input_nodes[0]], nn.Parameter):
        return _one_of(scene, node, kept, value)
    for part in (kept, value):
        scene_fix_all(scene, part, f"{place(node)} keeps their values from call to call")
    return kept


def _one_of(scene: Scene, node: fx.Node, one: Any, other: Any) -> Any:
    if isinstance(one, Value) and isinstance(other, Value) and one.shape == other.shape:
        for axis, labels in zip(one.labels, other.labels, strict=True):
            scene.join(axis, labels)
        return other
    if isinstance(one, tuple | list) and isinstance(other, tuple | list) and len(one) == len(other):
        return tuple(_one_of(scene, node, *pair) for pair in zip(one, other, strict=True))
    if isinstance(one, SizeNumber) and isinstance(other, SizeNumber):
        for part in (one, other):
            scene.handled.add(id(part))
        return computed(other.value, (one, other))
    for part in (one, other):
        scene_fix_all(scene, part, f"{place(node)} gives something else in training")
    return other


@on(modules=[PartedInputs])
def parts(scene: Scene, node: fx.Node, x: Value) -> Any:
    """Inputs taken out of one tensor: nothing can be cut."""
    return tuple(fixed(tuple(part.shape)) for part in scene.results[node])


@on(modules=[ScoredOutput])
def scored(scene: Scene, node: fx.Node, found: Any) -> Value:
    """The output that is scored, of several: all of them stay."""
    scene_fix_all(scene, found, "makes the network's outputs")
    return scene.result(node)


@on(functions=[detached])
def aside(scene: Scene, node: fx.Node, x: Any) -> Any:
    """The result of a block without gradients."""
    return x


def _meet(scene: Scene, values: list[Value], dim: int) -> Labels:
    """Returns the joined labels of one dimension, counted from the end."""
    axes = [value.labels[dim] for value in values if -dim <= len(value.labels)]
    size = max(len(axis) for axis in axes)
    first = next(axis for axis in axes if len(axis) == size)
    for axis in axes:
        if len(axis) == size:
            scene.join(first, axis)
        else:
            scene.fix(axis, "is broadcast against a larger dimension")
    return first


@on(functions=[torch.broadcast_tensors])
def broadcast(scene: Scene, node: fx.Node, *values: Value) -> Any:
    """Tensors made as large as they are together."""
    most = max(len(value.labels) for value in values)
    axes = tuple(_meet(scene, list(values), dim) for dim in range(-most, 0))
    return tuple(Value(axes) for _ in values)


@on(modules=[nn.PReLU], functions=[torch.prelu], methods=["prelu"])
def prelu(scene: Scene, node: fx.Node, x: Value, weight: Value | None = None) -> Value:
    """PReLU, with slopes of a layer or given: one for each channel, or one for all."""
    module = module_of(scene.traced, node)
    if isinstance(module, nn.PReLU):
        weight = Value(scene.leaf(module.weight))
    assert isinstance(weight, Value)
    if weight.shape[-1:] > (1,):
        scene.join(x.labels[1], weight.labels[0])
    else:
        scene_fix_all(scene, weight)
    return x


@on(functions=[getattr], methods=["size", "dim", "numel"])
def sizes(scene: Scene, node: fx.Node, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Sizes of a tensor: numbers that follow when it is cut."""
    found = scene.results[node]
    if isinstance(x, tuple):  # what max, sort and topk give has names
        return x[("values", "indices").index(args[0])]
    if isinstance(found, torch.Size):
        return tuple(
            SizeNumber(size, (labels,)) for size, labels in zip(found, x.labels, strict=True)
        )
    if isinstance(found, torch.Tensor):  # .T, .mT, .mH, .data
        axes = list(x.labels)
        if args == ("T",):
            axes = axes[::-1]
        elif args in (("mT",), ("mH",)):
            axes[-2:] = axes[:-3:-1]
        elif args != ("data",):
            scene_fix_all(scene, x)
            return scene.result(node)
        return Value(tuple(axes))
    if node.target == "size":
        return SizeNumber(found, (x.labels[(*args, *kwargs.values())[0]],))
    return SizeNumber(found, x.labels if node.target == "numel" else ())


def scene_fix_all(scene: Scene, value: Any, why: str = "") -> None:
    """Fixes everything about a tensor."""
    if isinstance(value, Value):
        for axis in value.labels:
            scene.fix(axis, why)
    elif isinstance(value, dict):
        scene_fix_all(scene, tuple(value.values()), why)
    elif isinstance(value, tuple | list):
        for part in value:
            scene_fix_all(scene, part, why)


@on(
    functions=[
        torch.zeros,
        torch.ones,
        torch.full,
        torch.empty,
        torch.rand,
        torch.randn,
        torch.arange,
        torch.zeros_like,
        torch.ones_like,
        torch.empty_like,
        torch.full_like,
        torch.rand_like,
        torch.randn_like,
        torch.bernoulli,
    ],
    methods=["new_zeros", "new_ones", "new_full", "new_empty"],
)
def creation(scene: Scene, node: fx.Node, *args: Any, **kwargs: Any) -> Value:
    """A new tensor like another one has its channels; of a size, those which it meets, if the size can follow."""
    shape = scene.shape(node)
    like = args[0] if args and isinstance(args[0], Value) and args[0].shape == shape else None
    named = name_of(node)
    if like is not None and (named.endswith("_like") or named == "bernoulli"):
        return like
    lead = 1 if named.startswith("new_") else 0
    given = args[lead:]
    listed = bool(given) and isinstance(given[0], tuple | list)
    sizes = given[0] if listed else given
    if (
        named == "arange"
        or len(sizes) != len(shape)
        or (listed and isinstance(node.args[lead], fx.Node))
    ):
        return Value(tuple(np.zeros(size, dtype=np.int64) for size in shape))
    axes = []
    for number, (size, count) in enumerate(zip(sizes, shape, strict=True)):
        axis = scene.atoms.fresh(count)
        if count == 1:
            scene.fix(axis)
        if (
            isinstance(size, SizeNumber)
            and len(size.sources) == 1
            and len(size.sources[0]) == count
        ):
            scene.join(axis, size.sources[0])
        where = ("args", lead, number) if listed else ("args", lead + number)
        scene.demand(where, axis, size, "")
        axes.append(axis)
    return Value(tuple(axes))
