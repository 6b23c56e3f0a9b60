"""Picks: inputs by number become channels."""

from __future__ import annotations

from torch import fx

from netdial.channels.labels import Value
from netdial.channels.layers.pick import Pick
from netdial.channels.rules.table import Scene, on


@on(modules=[Pick])
def pick(scene: Scene, node: fx.Node, x: Value) -> Value:
    """A pick: makes as many channels as it has numbers; the inputs themselves stay."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, Pick)
    return Value((*x.labels[:-1], scene.makes(module.index, 0)))
