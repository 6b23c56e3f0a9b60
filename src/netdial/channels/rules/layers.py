"""Layers with weights: linear, convolutions, embedding, recurrence; switches, shifts and picks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from netdial.channels.labels import FIXED, Labels, Value
from netdial.channels.layers.gated import GatedCell, GatedLayer
from netdial.channels.layers.pick import Pick
from netdial.channels.layers.shift import Shift
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import place
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
    """F.conv: groups other than 1 are written in the code."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    groups, source, shift = given.get("groups", 1), given["weight"], given.get("bias")
    if not (is_parameter(source) and (shift is None or is_parameter(shift))):
        values = {**dict(zip(names[1:], args, strict=False)), **kwargs}
        known = values["weight"], values.get("bias")
        return _convolved(scene, node, x, *known, source, groups)
    weight = parameter(scene, node, source)
    bias = None if shift is None else parameter(scene, node, shift)
    if groups != 1 and weight.shape[1] == 1:
        scene.fix(
            x.labels[1], f"{place(node)}: groups={groups} is written in the code; use a layer"
        )
    return _convolution(scene, node, x, weight, bias, int(groups))


def _convolved(
    scene: Scene, node: fx.Node, x: Value, weight: Value, bias: Any, source: Any, groups: Any
) -> Value:
    """A convolution whose weight is computed: what it multiplies are the same channels; in groups they stay."""
    after, made = scene.result(node).labels, weight.labels[0]
    scene.keep(node, [*x.labels[2:], *weight.labels[2:]])
    if isinstance(bias, Value):
        scene.join(made, bias.labels[0])
    if groups == 1:
        scene.join(x.labels[1], weight.labels[1])
        scene.reads(node, node.args[0], x, 1, other=(source, 1))
        scene.reads(node, source, weight, 1, other=(node.args[0], 1))
        return Value((x.labels[0], made, *after[2:]))
    for axis in (x.labels[1], *weight.labels[:2]):
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


@on(modules=[Switch, Shift])
def one_number(scene: Scene, node: fx.Node, x: Value) -> Value:
    """A switch or a shift: one number for each channel."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, Switch | Shift)
    number = module.theta if isinstance(module, Switch) else module.shift
    scene.join(x.labels[module.dim].reshape(-1, len(number)), scene.leaf(number)[0][None])
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


@on(modules=[nn.LSTMCell, nn.GRUCell, nn.RNNCell, GatedCell])
def cell(scene: Scene, node: fx.Node, x: Value, state: Any = None) -> Any:
    """One step of a recurrence: a unit is one row of every gate, and a column wherever it is read."""
    module: Any = scene.traced.get_submodule(str(node.target))
    scene.join(x.labels[-1], scene.leaf(module.weight_ih)[1])
    scene.reads(node, node.args[0], x, -1)
    units = scene.makes(module.weight_hh, 1)
    held = [module.weight_ih, module.weight_hh]
    held += [module.bias_ih, module.bias_hh] if module.bias else []
    at = _rows(scene, held, units)
    _silent(scene, module, units, {scene.name(tensor): at for tensor in held})
    parts = state if isinstance(state, tuple | list) else [state]
    for part in parts:
        if isinstance(part, Value):
            scene.join(part.labels[-1], units)
    found = Value((*x.labels[:-1], units))
    return (found, found) if getattr(module, "kind", type(module)) is nn.LSTMCell else found


@on(modules=[nn.LSTM, nn.GRU, nn.RNN, GatedLayer])
def recurrent(scene: Scene, node: fx.Node, x: Value, state: Any = None) -> Any:
    """LSTM, GRU, RNN: a unit is one row of every gate, and a column wherever it is read, by the next step too.

    With projections a unit is read by the projection alone, and what that makes by everything else.
    """
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, nn.RNNBase)
    read, cells, ends = x.labels[-1], list[Labels](), list[Labels]()
    scene.keep(node, x.labels[:-1])
    scene.reads(node, node.args[0], x, -1)
    for number in range(module.num_layers * (1 + module.bidirectional)):
        layer, backwards = divmod(number, 1 + module.bidirectional)
        suffix = f"_l{layer}" + ("_reverse" if backwards else "")
        kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if module.bias else ()))
        held = [cast(Tensor, getattr(module, kind + suffix)) for kind in kinds]
        if module.proj_size:
            projection = cast(Tensor, getattr(module, "weight_hr" + suffix))
            made, units = scene.makes(projection, 0), scene.leaf(projection)[1]
            scene.join(scene.leaf(held[1])[1], made)
            scene.fix(
                units, f"{place(node)} has projections, and torch wants more units than those"
            )
            _silent(scene, module, made, {scene.name(projection): np.arange(len(made))[:, None]})
        else:
            units = made = scene.makes(held[1], 1)
        scene.join(read if not layer else _below(ends, module), scene.leaf(held[0])[1])
        at = _rows(scene, held, units)
        if not module.proj_size:
            _silent(scene, module, made, {scene.name(tensor): at for tensor in held})
        cells.append(units)
        ends.append(made)
    for one, other in zip((cells, ends), (cells[1:], ends[1:]), strict=True):
        for units in other:  # the last states of all layers and directions lie in one tensor
            scene.join(one[0], units)
    parts = state if isinstance(state, tuple | list) else [state]
    for part, units in zip(parts, (ends[0], cells[0]), strict=False):
        if isinstance(part, Value):
            scene.join(part.labels[-1], units)
    return _states(
        scene.results[node], np.concatenate(ends[-1 - module.bidirectional :]), ends[0], cells[0]
    )


def _below(ends: list[Labels], module: nn.RNNBase) -> Labels:
    """Returns the labels of what the layer below gives, of which all directions are known."""
    sides = 1 + module.bidirectional
    first = (len(ends) // sides - 1) * sides
    return np.concatenate(ends[first : first + sides])


def _rows(scene: Scene, held: Sequence[Tensor], units: Labels) -> Labels:
    """Joins the rows of every gate that make a unit; returns them ``[H, gates]``."""
    for tensor in held:
        scene.join(scene.leaf(tensor)[0].reshape(-1, len(units)), units[None, :])
    rows: Labels = np.arange(held[0].shape[0]).reshape(-1, len(units)).T
    return rows


def _silent(scene: Scene, module: nn.Module, units: Labels, rows: dict[str, Labels]) -> None:
    """Notes when nobody reads a unit: where its switch is 0, or where all rows that make it are."""
    for switch in module.children():
        assert isinstance(switch, Switch)
        scene.join(units, scene.leaf(switch.theta)[0])
        rows = {scene.name(switch.theta): np.arange(len(units))[:, None]}
    scene.inner.append(Inner(units, rows))


def _states(result: Any, read: Labels, units: Labels, cells: Labels) -> Any:
    """Returns what is known of a recurrence's outputs and last states."""

    def like(tensor: Tensor, labels: Labels) -> Value:
        return Value((*(np.full(size, FIXED) for size in tensor.shape[:-1]), labels))

    out, last = result
    if isinstance(last, tuple):
        hidden, cell = last
        return like(out, read), (like(hidden, units), like(cell, cells))
    return like(out, read), like(last, units)


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
