"""Shifts: every channel by itself, with its own number."""

from __future__ import annotations

from torch import fx

from netdial.channels.labels import Value
from netdial.channels.layers.shift import Shift
from netdial.channels.rules.table import Scene, on


@on(modules=[Shift])
def shift(scene: Scene, node: fx.Node, x: Value) -> Value:
    """A shift: one number for each channel."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, Shift)
    scene.join(x.labels[module.dim], scene.leaf(module.shift)[0])
    return x
