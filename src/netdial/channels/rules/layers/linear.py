"""Linear layers and embeddings, and layers with one number for each channel: switches, shifts, picks."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx, nn

from netdial.channels.labels import Value
from netdial.channels.layers.pick import Pick
from netdial.channels.layers.shift import Shift
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import place
from netdial.channels.rules.layers.parameters import is_parameter, parameter
from netdial.channels.rules.table import Scene, on


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


@on(functions=[F.embedding])
def looked_up(
    scene: Scene, node: fx.Node, ids: Value, weight: Value, *args: Any, **kwargs: Any
) -> Value:
    """Rows of a table, that is a parameter or computed of one: entries stay, features pass."""
    scene.fix(weight.labels[0], f"{place(node)} looks entries up")
    if is_parameter(node.args[1]):
        scene.makes(parameter(scene, node, node.args[1]), 1)
    return Value((*ids.labels, weight.labels[1]))
