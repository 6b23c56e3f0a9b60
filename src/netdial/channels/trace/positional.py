"""Calls by keyword, said again by position, as rules expect them: ``self.fc(input=x)`` is ``self.fc(x)``."""

from __future__ import annotations

import inspect
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from netdial.channels.nodes import module_of

_ORDERS = (
    ("input", "other"),
    ("input", "mat2"),
    ("input", "dim0", "dim1"),
    ("mat1", "mat2"),
    ("input",),
    ("tensors",),
    ("self",),
)
"""Names of the tensors that functions and methods of torch begin with, and of what is given by position with them."""


def by_position(traced: fx.GraphModule) -> None:
    """Makes calls of layers and functions give their tensors by position, in place; ``nn.Unflatten`` becomes a method."""
    for node in list(traced.graph.nodes):
        module = module_of(traced, node)
        if type(module) is nn.Unflatten and isinstance(module.dim, int):
            node.op, node.target = "call_method", "unflatten"
            sizes: Any = module.unflattened_size
            node.args = ((*node.args, *node.kwargs.values())[0], module.dim, tuple(sizes))
            node.kwargs = {}
        if not node.kwargs:
            continue
        if node.op == "call_module":
            _moved(node, _names(module_of(traced, node)))
        elif node.op in ("call_function", "call_method"):
            if node.target is F.scaled_dot_product_attention:
                _moved(node, ("query", "key", "value"))
            for order in _ORDERS:
                names = order[1:] if node.op == "call_method" and order[0] == "input" else order
                _moved(node, names, 1 if names is not order else 0)


def _names(module: Any) -> tuple[str, ...]:
    """Returns the names of the arguments of a layer's forward pass that may be given by position."""
    found = inspect.signature(module.forward).parameters.values()
    return tuple(p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD)


def _moved(node: fx.Node, names: tuple[str, ...], lead: int = 0) -> None:
    """Moves arguments by name that come next by position, as far as they follow one another.

    Args:
        node: the call.
        names: names of its arguments, in order.
        lead: arguments before the first of them.
    """
    args, kwargs = list(node.args), dict(node.kwargs)
    if node.op != "call_module" and not all(name in kwargs for name in names[len(args) - lead :]):
        return
    for name in names[max(len(args) - lead, 0) :]:
        if name not in kwargs:
            break
        args.append(kwargs.pop(name))
    node.args, node.kwargs = tuple(args), kwargs
