"""Convolutions and transposed ones, as layers and as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, fx, nn

from netdial.channels.labels import Labels, SizeNumber, Value
from netdial.channels.nodes import place
from netdial.channels.rules.layers.parameters import is_parameter, parameter
from netdial.channels.rules.table import Scene, on
from netdial.core.errors import TraceError

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED_FUNCTIONS = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_NAMES = ("input", "weight", "bias", "stride", "padding", "spacing", "groups")
"""Arguments in their order; the sixth, which no rule reads, is the dilation, or the output padding of a transposed one."""


@on(modules=_CONVS)
def convolution(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Convolution: reads dimension 1, makes a new one."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, _CONVS)
    words, count = isinstance(module.padding, str), len(module.stride)
    padding: Any = [module.padding] * count if words else module.padding
    steps = tuple(zip(module.stride, padding, strict=True))
    return _convolution(scene, node, x, module.weight, module.bias, module.groups, steps)


@on(functions=[F.conv1d, F.conv2d, F.conv3d, *_TRANSPOSED_FUNCTIONS])
def functional_convolution(
    scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any
) -> Value:
    """F.conv and F.conv_transpose; as many groups as channels go with these, others are written in the code."""
    transposed = node.target in _TRANSPOSED_FUNCTIONS
    given: dict[str, Any] = {**dict(zip(_NAMES, node.args, strict=False)), **node.kwargs}
    values = {"groups": 1, **dict(zip(_NAMES[1:], args, strict=False)), **kwargs}
    source, shift, groups = given["weight"], given.get("bias"), _groups(scene, node, x, values)
    if not (is_parameter(source) and (shift is None or is_parameter(shift))):
        known = values["weight"], values.get("bias")
        return _convolved(scene, node, x, *known, source, groups, made_by=int(transposed))
    weight = parameter(scene, node, source)
    bias = None if shift is None else parameter(scene, node, shift)
    rule = _transposed if transposed else _convolution
    return rule(scene, node, x, weight, bias, groups)


def _groups(scene: Scene, node: fx.Node, x: Value, values: Mapping[str, Any]) -> int:
    """Returns the number of groups; one for each channel follows the channels."""
    groups = values["groups"]
    count = groups.value if isinstance(groups, SizeNumber) else groups
    if not isinstance(count, int):
        raise TraceError(f"{place(node)}: computes its number of groups; write it in the code")
    if count > 1 and count == len(x.labels[1]):
        where = ("kwargs", "groups") if "groups" in node.kwargs else ("args", 6)
        why = f"{place(node)}: groups={count} is written in the code; use a layer"
        scene.demand(where, x.labels[1], groups, why)
    return count


def _convolved(
    scene: Scene,
    node: fx.Node,
    x: Value,
    weight: Value,
    bias: Any,
    source: Any,
    groups: int,
    made_by: int = 0,
) -> Value:
    """A convolution whose weight is computed: what it multiplies are the same channels; in groups of several they stay.

    ``made_by`` is the dimension of the weight that makes channels: 0, or 1 of a transposed one.
    """
    after, made, read_by = scene.result(node).labels, weight.labels[made_by], 1 - made_by
    scene.keep(node, [*x.labels[2:], *weight.labels[2:]])
    if groups == 1:
        if isinstance(bias, Value):
            scene.join(made, bias.labels[0])
        scene.join(x.labels[1], weight.labels[read_by])
        scene.reads(node, node.args[0], x, 1, other=(source, read_by))
        scene.reads(node, source, weight, read_by, other=(node.args[0], 1))
        return Value((x.labels[0], made, *after[2:]))
    shift = [bias.labels[0]] if isinstance(bias, Value) else []
    if made_by == 0 and len(weight.labels[1]) == 1 and groups == len(x.labels[1]):
        _couple(scene, x.labels[1], weight.labels[1], made, groups)
        for axis in shift:
            scene.join(made, axis)
        return Value((x.labels[0], made, *after[2:]))
    for axis in (x.labels[1], *weight.labels[:2], *shift):
        scene.fix(axis, f"{place(node)}: convolves in groups, with a weight that is computed")
    return Value((x.labels[0], *after[1:]))


def _convolution(
    scene: Scene,
    node: fx.Node,
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    steps: Sequence[tuple[Any, Any]] = (),
) -> Value:
    scene.expect(x, node, [weight.ndim])
    _, columns, *kernel = scene.leaf(weight)
    sees = [size != 1 for size in weight.shape[2:]]
    for dim, (stride, padding) in enumerate(steps):
        sees[dim] = sees[dim] or stride != 1 or padding not in (0, "valid", "same")
    sees = sees if steps else [True] * len(sees)
    scene.keep(node, [*kernel, *(a for a, seen in zip(x.labels[2:], sees, strict=True) if seen)])
    places = scene.result(node).labels[2:]
    after = [b if seen else a for a, b, seen in zip(x.labels[2:], places, sees, strict=True)]
    made = scene.makes(weight, 0)
    _couple(scene, x.labels[1], columns, made, groups)
    if bias is not None:
        scene.join(made, scene.leaf(bias)[0])
    name = scene.name(bias) if bias is not None else None
    if groups == 1 or len(columns) > 1:
        scene.reads(node, node.args[0], x, 1, bias=name, foldable=True)
    return Value((x.labels[0], made, *after))


def _couple(scene: Scene, read: Labels, columns: Labels, made: Labels, groups: int) -> None:
    """Joins what a convolution of several groups ties together.

    One channel to a group (depthwise): each channel goes with the rows that it alone makes. Several: every group has to
    keep as many, so channels at the same place of all groups go together, on either side.
    """
    if groups == 1:
        scene.join(read, columns)
    elif len(columns) == 1:
        scene.fix(columns)
        scene.join(np.repeat(read, len(made) // groups), made)
    else:
        scene.join(read.reshape(groups, -1), columns[None, :])
        by_group = made.reshape(groups, -1)
        scene.join(by_group, by_group[:1])


@on(modules=_TRANSPOSED)
def transposed_convolution(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Transposed convolution: weight [in, out / groups, kernel]."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, _TRANSPOSED)
    return _transposed(scene, node, x, module.weight, module.bias, module.groups)


def _transposed(
    scene: Scene, node: fx.Node, x: Value, weight: Tensor, bias: Tensor | None, groups: int
) -> Value:
    scene.expect(x, node, [weight.ndim])
    rows, columns, *kernel = scene.leaf(weight)
    scene.keep(node, [*kernel, *x.labels[2:]])
    scene.join(x.labels[1], rows)
    if groups == 1:
        made = scene.makes(weight, 1)
    elif len(rows) == groups:  # depthwise: channels made go with the one that is read
        scene.fix(columns)
        made = np.repeat(rows, len(columns))
    else:
        by_group = rows.reshape(groups, -1)
        scene.join(by_group, by_group[:1])
        made = np.tile(scene.makes(weight, 1), groups)
    if bias is not None:
        scene.join(made, scene.leaf(bias)[0])
    if groups != len(rows) or groups == 1:
        name = scene.name(bias) if bias is not None else None
        scene.reads(node, node.args[0], x, 1, bias=name, foldable=True)
    return Value((x.labels[0], made, *scene.result(node).labels[2:]))
