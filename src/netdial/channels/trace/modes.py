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


def unlike(training: fx.Graph, evaluating: fx.Graph) -> set[str]:
    """Returns the innermost module in which two graphs part first, by name; none if they do not, or only in the network itself.

    Graphs that differ in functional dropouts alone are alike.
    """
    nodes, others = list(training.nodes), list(evaluating.nodes)
    for number in range(max(len(nodes), len(others))):
        here = [part[number] for part in (nodes, others) if number < len(part)]
        if len(here) == 2 and (_is_same(*here) or _is_dropout(*here)):
            continue
        owners = {_owner(node) for node in here}
        return {max(owners, key=len)} - {""}
    return set()


def _owner(node: fx.Node) -> str:
    """Returns the module in whose forward pass a node was recorded, by name; empty for the network's own."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if node.op == "call_module":
        stack = stack[:-1]
    return str(stack[-1][0]) if stack else ""


def _is_same(first: fx.Node, second: fx.Node) -> bool:
    alike = (first.op, first.target) == (second.op, second.target)
    return alike and str((first.args, first.kwargs)) == str((second.args, second.kwargs))


def _is_dropout(first: fx.Node, second: fx.Node) -> bool:
    return first.target in _DROPOUT and first.target == second.target


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
            "network: does other operations in training than in evaluation in its own forward; move what depends on "
            "self.training into a module of its own"
        )
    dropouts = []
    for first, second in pairs:
        if _is_same(first, second):
            continue
        if _is_dropout(first, second):
            dropouts.append(first)
        else:
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
