"""Which leaves make the outputs of a network: where whole rows go, theirs stay."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from torch import Tensor, fx, nn

from netdial.channels.nodes import module_of
from netdial.channels.trace.trace import trace
from netdial.core.errors import NetdialError
from netdial.nets.foreign import copy_network


def output_leaves(net: nn.Module, example: Tensor | None = None) -> frozenset[str] | None:
    """Returns the leaves of two or more dimensions that outputs come from with no other one between; None if it is not known.

    Args:
        net: the network; it is left as it is.
        example: inputs ``[b, ...]``, two or more, for networks that cannot be traced without.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = trace(copy_network(net), example)
    except NetdialError:
        return None
    names = {id(p): name for name, p in traced.named_parameters() if p.ndim > 1}
    found, seen = set[str](), set[fx.Node]()
    waiting = [node for node in traced.graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        held = _held(traced, node, names)
        found |= held
        waiting += [] if held else node.all_input_nodes
    return frozenset(found)


def _held(traced: fx.GraphModule, node: fx.Node, names: Mapping[int, str]) -> set[str]:
    """Returns those of the leaves in ``names`` that a node uses."""
    layer = module_of(traced, node)
    if layer is not None:
        return {names[id(p)] for p in layer.parameters() if id(p) in names}
    return {str(n.target) for n in node.all_input_nodes if n.op == "get_attr"} & set(names.values())
