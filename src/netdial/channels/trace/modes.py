"""One graph for both modes, training and evaluation.

Functional dropout is recorded with the mode of the moment. Where two graphs differ only there, a ``Dropout`` module takes its
place; any other difference is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from netdial.core.errors import TraceError

_DROPOUT: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    torch.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
}


def settle_modes(
    traced: fx.GraphModule,
    training: fx.Graph,
    evaluating: fx.Graph,
    where: Callable[[fx.Node], str],
) -> None:
    """Makes one graph serve both modes.

    Args:
        traced: the network with the graph of training, which is changed.
        training: that graph as it was taken.
        evaluating: the graph of evaluation.
        where: function that tells where a node comes from, for messages.

    Raises:
        TraceError: the graphs differ in more than functional dropouts.
    """
    pairs = list(zip(training.nodes, evaluating.nodes, strict=False))
    if len(training.nodes) != len(evaluating.nodes):
        raise TraceError(
            "network: does other operations in training than in evaluation; move what depends on self.training into a module"
        )
    dropouts = []
    for first, second in pairs:
        same = (first.op, first.target) == (second.op, second.target)
        plain = str((first.args, first.kwargs)) == str((second.args, second.kwargs))
        if same and not plain and first.target in _DROPOUT:
            dropouts.append(first)
        elif not (same and plain):
            raise TraceError(
                f"network: {where(first)} differs between training and evaluation; "
                "move what depends on self.training into a module"
            )
    for node in dropouts:
        _dropout_module(traced, node)


def _dropout_module(traced: fx.GraphModule, node: fx.Node) -> None:
    """Replaces a functional dropout by a module that knows its mode."""
    names = ("input", "p", "training", "inplace")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    assert callable(node.target)
    kind, name = _DROPOUT[node.target], f"{node.name}_of_forward"
    traced.add_submodule(name, kind(p=given.get("p", 0.5)))
    with traced.graph.inserting_after(node):
        made = traced.graph.call_module(name, (given["input"],))
    node.replace_all_uses_with(made)
    traced.graph.erase_node(node)
