"""Layers with weights: linear, convolutions, embedding, recurrence, attention; switches, shifts and picks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from netdial.channels.labels import FIXED, Labels, Value
from netdial.channels.layers.attention import Attention
from netdial.channels.layers.pick import Pick
from netdial.channels.layers.shift import Shift
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import place
from netdial.channels.rules.elementwise import scene_fix_all
from netdial.channels.rules.table import Inner, Scene, on
from netdial.core.errors import TraceError

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@on(modules=[nn.Linear])
def linear(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Linear: reads the last dimension, makes a new one."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, nn.Linear)
    return _linear(scene, node, x, module.weight, module.bias)


@on(functions=[F.linear])
def functional_linear(
    scene: Scene, node: fx.Node, x: Value, weight: Any, bias: Any = None
) -> Value:
    """F.linear with weights that are parameters."""
    given = {**dict(zip(("input", "weight", "bias"), node.args, strict=False)), **node.kwargs}
    if not is_parameter(given["weight"]) or not (
        given.get("bias") is None or is_parameter(given["bias"])
    ):
        return _product(scene, node, x, weight, bias, given["weight"])
    held = parameter(scene, node, given["weight"])
    shift = given.get("bias")
    return _linear(scene, node, x, held, None if shift is None else parameter(scene, node, shift))


def is_parameter(part: Any) -> bool:
    """Returns whether an argument is a parameter or buffer, read directly."""
    return isinstance(part, fx.Node) and part.op == "get_attr"


def _product(scene: Scene, node: fx.Node, x: Value, weight: Value, bias: Any, source: Any) -> Value:
    """A linear map whose weight is computed, or another layer's turned around: what it multiplies are the same channels."""
    scene.join(x.labels[-1], weight.labels[-1])
    scene.reads(node, node.args[0], x, -1, other=(source, -1))
    scene.reads(node, source, weight, -1, other=(node.args[0], -1))
    if isinstance(bias, Value):
        scene.join(weight.labels[0], bias.labels[0])
    return Value((*x.labels[:-1], weight.labels[0]))


def _linear(scene: Scene, node: fx.Node, x: Value, weight: Tensor, bias: Tensor | None) -> Value:
    scene.join(x.labels[-1], scene.leaf(weight)[1])
    name = scene.name(bias) if bias is not None else None
    scene.reads(node, node.args[0], x, -1, bias=name, foldable=True, made=-1)
    made = scene.makes(weight, 0)
    if bias is not None:
        scene.join(made, scene.leaf(bias)[0])
    return Value((*x.labels[:-1], made))


@on(modules=_CONVS)
def convolution(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Convolution: reads dimension 1, makes a new one."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, _CONVS)
    words, count = isinstance(module.padding, str), len(module.stride)
    padding: Any = [module.padding] * count if words else module.padding
    steps = tuple(zip(module.stride, padding, strict=True))
    return _convolution(scene, node, x, module.weight, module.bias, module.groups, steps)


@on(functions=[F.conv1d, F.conv2d, F.conv3d])
def functional_convolution(
    scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any
) -> Value:
    """F.conv with weights that are parameters; groups other than 1 are written in the code."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    weight = parameter(scene, node, given["weight"])
    bias = parameter(scene, node, given["bias"]) if given.get("bias") is not None else None
    groups = given.get("groups", 1)
    if groups != 1 and weight.shape[1] == 1:
        scene.fix(
            x.labels[1], f"{place(node)}: groups={groups} is written in the code; use a layer"
        )
    return _convolution(scene, node, x, weight, bias, int(groups))


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
    scene.expect(x, node, [module.weight.ndim])
    rows, columns, *kernel = scene.leaf(module.weight)
    scene.keep(node, [*kernel, *x.labels[2:]])
    groups = module.groups
    scene.join(x.labels[1], rows)
    if groups == 1:
        made = scene.makes(module.weight, 1)
    elif len(rows) == groups:  # depthwise: channels made go with the one that is read
        scene.fix(columns)
        made = np.repeat(rows, len(columns))
    else:
        by_group = rows.reshape(groups, -1)
        scene.join(by_group, by_group[:1])
        made = np.tile(scene.makes(module.weight, 1), groups)
    if module.bias is not None:
        scene.join(made, scene.leaf(module.bias)[0])
    if groups != len(rows) or groups == 1:
        name = scene.name(module.bias) if module.bias is not None else None
        scene.reads(node, node.args[0], x, 1, bias=name, foldable=True)
    return Value((x.labels[0], made, *scene.result(node).labels[2:]))


@on(modules=[nn.Bilinear])
def bilinear(scene: Scene, node: fx.Node, x: Value, y: Value) -> Value:
    """A product of two inputs: reads the last dimension of each, makes a new one."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, nn.Bilinear)
    _, *read = scene.leaf(module.weight)
    for number, (value, columns) in enumerate(zip((x, y), read, strict=True)):
        scene.join(value.labels[-1], columns)
        scene.reads(node, node.args[number], value, -1)
    made = scene.makes(module.weight, 0)
    for bias in () if module.bias is None else (module.bias,):
        scene.join(made, scene.leaf(bias)[0])
    return Value((*x.labels[:-1], made))


@on(modules=[Switch, Shift])
def one_number(scene: Scene, node: fx.Node, x: Value) -> Value:
    """A switch or a shift: one number for each channel."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, Switch | Shift)
    number = module.theta if isinstance(module, Switch) else module.shift
    scene.join(x.labels[module.dim], scene.leaf(number)[0])
    return x


@on(modules=[Pick])
def pick(scene: Scene, node: fx.Node, x: Value) -> Value:
    """A pick: makes as many channels as it has numbers; the inputs themselves stay."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, Pick)
    return Value((*x.labels[:-1], scene.makes(module.index, 0)))


@on(modules=[nn.Embedding, nn.EmbeddingBag])
def embedding(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Embedding, and sums or means of embeddings: entries stay, features are made."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, nn.Embedding | nn.EmbeddingBag)
    scene.fix(scene.leaf(module.weight)[0])
    return Value((*scene.result(node).labels[:-1], scene.makes(module.weight, 1)))


@on(modules=[nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def cell(scene: Scene, node: fx.Node, x: Value, state: Any = None) -> Any:
    """One step of a recurrence: a unit is one row of every gate, and a column wherever it is read."""
    module: Any = scene.traced.get_submodule(str(node.target))
    scene.join(x.labels[-1], scene.leaf(module.weight_ih)[1])
    scene.reads(node, node.args[0], x, -1)
    units = scene.makes(module.weight_hh, 1)
    held = [module.weight_ih, module.weight_hh]
    held += [module.bias_ih, module.bias_hh] if module.bias else []
    for tensor in held:
        scene.join(scene.leaf(tensor)[0].reshape(-1, len(units)), units[None, :])
    at = np.arange(len(scene.leaf(module.weight_hh)[0])).reshape(-1, len(units)).T
    scene.inner.append(Inner(units, {scene.name(t): at for t in held}))
    parts = state if isinstance(state, tuple | list) else [state]
    for part in parts:
        if isinstance(part, Value):
            scene.join(part.labels[-1], units)
    found = Value((*x.labels[:-1], units))
    return (found, found) if isinstance(module, nn.LSTMCell) else found


@on(modules=[nn.LSTM, nn.GRU, nn.RNN])
def recurrent(scene: Scene, node: fx.Node, x: Value, state: Any = None) -> Any:
    """LSTM, GRU, RNN: a unit is one row of every gate, and a column wherever it is read, by the next step too."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, nn.RNNBase)
    if module.proj_size:
        raise TraceError(f"{place(node)}: projections have no rule; leave proj_size out")
    gates = int(cast(Tensor, module.weight_hh_l0).shape[0]) // module.hidden_size
    read, ends = x.labels[-1], []
    scene.keep(node, x.labels[:-1])
    scene.reads(node, node.args[0], x, -1)
    for layer in range(module.num_layers):
        made = []
        for suffix in ("", "_reverse")[: 1 + module.bidirectional]:
            part = {
                kind: getattr(module, f"{kind}_l{layer}{suffix}")
                for kind in (
                    "weight_ih",
                    "weight_hh",
                    *(("bias_ih", "bias_hh") if module.bias else ()),
                )
            }
            scene.join(read, scene.leaf(part["weight_ih"])[1])
            units = scene.makes(part["weight_hh"], 1)
            for tensor in part.values():
                scene.join(scene.leaf(tensor)[0].reshape(gates, -1), units[None, :])
            at = np.arange(gates * len(units)).reshape(gates, -1).T
            scene.inner.append(Inner(units, {scene.name(t): at for t in part.values()}))
            made.append(units)
        ends.extend(made)
        read = np.concatenate(made)
    for units in ends[1:]:  # the last states of all layers and directions lie in one tensor
        scene.join(ends[0], units)
    for part in state if isinstance(state, tuple | list) else [state]:
        if isinstance(part, Value):
            scene.join(part.labels[-1], ends[0])
    return _states(scene.results[node], read, ends[0])


def _states(result: Any, read: Labels, units: Labels) -> Any:
    """Returns what is known of a recurrence's outputs and last states."""

    def like(tensor: Tensor, labels: Labels) -> Value:
        return Value((*(np.full(size, FIXED) for size in tensor.shape[:-1]), labels))

    out, last = result
    if isinstance(last, tuple):
        return like(out, read), tuple(like(part, units) for part in last)
    return like(out, read), like(last, units)


@on(modules=[Attention])
def attention(
    scene: Scene, node: fx.Node, query: Value, key: Value, value: Value, *args: Any, **kwargs: Any
) -> Any:
    """Attention: whole heads can go; what it reads and what it makes are the stream's channels."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, Attention)
    rows, columns = scene.leaf(module.in_proj_weight)
    for position, (name, part) in enumerate({"query": query, "key": key, "value": value}.items()):
        scene.join(part.labels[-1], columns)
        scene.keep(node, part.labels[:-1])
        source = node.args[position] if position < len(node.args) else node.kwargs[name]
        scene.reads(node, source, part, -1)
    for part in (*args, *kwargs.values()):
        scene_fix_all(scene, part, f"{place(node)} is masked by it")
    heads = rows.reshape(3, -1, module.head_dim)
    scene.join(heads, heads[:1, :, :1])
    if module.in_proj_bias is not None:
        scene.join(rows, scene.leaf(module.in_proj_bias)[0])
    scene.makers.append((scene.name(module.in_proj_weight), 0))
    scene.join(heads[0].reshape(-1), scene.leaf(module.out_proj.weight)[1])
    held = [t for t in (module.in_proj_weight, module.in_proj_bias) if t is not None]
    values = np.arange(len(rows)).reshape(heads.shape)[2]
    scene.inner.append(Inner(heads[2, :, 0], {scene.name(t): values for t in held}))
    made = scene.makes(module.out_proj.weight, 0)
    if module.out_proj.bias is not None:
        scene.join(made, scene.leaf(module.out_proj.bias)[0])
    _, weights = scene.results[node]
    seen = None if weights is None else Value(tuple(np.full(n, FIXED) for n in weights.shape))
    return Value((*query.labels[:-1], made)), seen


def parameter(scene: Scene, node: fx.Node, part: Any) -> Tensor:
    """Returns the parameter that an argument is, or refuses."""
    if isinstance(part, fx.Node) and part.op == "get_attr":
        found: Any = scene.results[part]
        named = _attribute(scene.traced, str(part.target))
        if isinstance(found, Tensor) and isinstance(named, Tensor):
            return named
    raise TraceError(f"{place(node)}: its weight is computed, not a parameter; this has no rule")


def _attribute(module: nn.Module, path: str) -> Any:
    """Returns a parameter or buffer by its dotted path."""
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def attribute(scene: Scene, node: fx.Node) -> Value:
    """A parameter or buffer used directly."""
    tensor = _attribute(scene.traced, str(node.target))
    if not isinstance(tensor, torch.Tensor):
        raise TraceError(f"{place(node)}: is a {type(tensor).__name__}, expected a tensor")
    if not scene.knows(tensor):
        return scene.result(node)
    found = scene.leaf(tensor)
    for axis in found:
        if len(axis) == 1:  # stands for a missing dimension, not for a channel
            scene.fix(axis)
    return Value(found)
