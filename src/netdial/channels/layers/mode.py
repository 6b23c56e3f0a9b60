"""ByMode: one thing in training and another in evaluation; what is left of code that reads ``self.training``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import fx, nn
from torch.fx.node import map_aggregate


class ByMode(nn.Module):
    """Gives its first input in training and its second in evaluation, whatever they are: tensors, numbers, None, tuples."""

    def forward(self, training: Any, evaluating: Any) -> Any:
        """Returns one of the two as it is."""
        return training if self.training else evaluating


@contextmanager
def evaluation_alone(net: nn.Module) -> Iterator[None]:
    """Leaves out of the graphs in a network what only training reads, as its random numbers, while it is used as a context."""
    with ExitStack() as stack:
        for part in [part for part in net.modules() if isinstance(part, fx.GraphModule)]:
            if any(isinstance(inner, ByMode) for inner in part.modules()):
                stack.callback(setattr, part, "graph", part.graph)
                part.graph = _evaluated(part)
        yield


def _evaluated(traced: fx.GraphModule) -> fx.Graph:
    """Returns the graph of evaluation."""
    graph = copy.deepcopy(traced.graph)
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(traced.get_submodule(node.target), ByMode):
            instead = partial(_exchanged, old=node, new=node.args[1])
            for user in list(node.users):
                given = map_aggregate((user.args, user.kwargs), instead)
                user.args, user.kwargs = given
            graph.erase_node(node)
    graph.owning_module = traced
    graph.eliminate_dead_code()
    return graph


def _exchanged(part: Any, *, old: fx.Node, new: Any) -> Any:
    return new if part is old else part
