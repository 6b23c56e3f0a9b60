"""Parameters and buffers that the graph reads by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from netdial.channels.labels import Value
from netdial.channels.nodes import place
from netdial.channels.rules.table import Scene
from netdial.core.errors import TraceError


def is_parameter(part: Any) -> bool:
    """Returns whether an argument is a parameter or buffer, read directly."""
    return isinstance(part, fx.Node) and part.op == "get_attr"


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
