"""Reads a whole graph: labels are followed through every operation once, in order.

What an operation has no rule for touches channels only if its inputs hold some: it passes what cannot be cut, and whether
the channels of its inputs can is known at the end. A number that a rule does not account for keeps the channels that it counts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from netdial.channels.labels import SizeNumber, Value, fixed
from netdial.channels.nodes import place
from netdial.channels.rules.elementwise import computed, scene_fix_all
from netdial.channels.rules.following import settle
from netdial.channels.rules.layers import attribute
from netdial.channels.rules.opaque import passes
from netdial.channels.rules.table import FUNCTIONS, METHODS, MODULES, Heads, Scene
from netdial.core.errors import NetdialError, TraceError

_ROUNDS = 8
"""Times that a graph is read again after numbers in it were made to follow."""
_LOOKUPS = (operator.getitem, getattr)


def read(
    traced: fx.GraphModule,
    run: Callable[[], dict[fx.Node, Any]],
    same: Callable[[], bool],
    *,
    lenient: bool,
    heads: Heads = "whole",
) -> Scene:
    """Returns what is known of a graph; numbers in it that can follow when channels go are made to, in place.

    Args:
        traced: the network.
        run: runs it on an example; gives the result of every node.
        same: whether it gives what it gave at first, for other numbers of inputs, too.
        lenient: what has no rule keeps its channels whole, in place of being refused.
        heads: what goes of channels in heads, or in groups of a GroupNorm.

    Raises:
        TraceError: an operation has no rule; the message names the node.
    """
    for _ in range(_ROUNDS):
        scene = Scene(traced, run(), heads=heads)
        values: dict[fx.Node, Any] = {}
        for node in traced.graph.nodes:
            scene.node, scene.handled = node, set()
            values[node] = _value(scene, node, values, lenient=lenient)
        if not settle(scene, same, lenient=lenient):
            break
    return scene


def _value(scene: Scene, node: fx.Node, values: dict[fx.Node, Any], *, lenient: bool) -> Any:
    """Returns what is known of a node's result."""
    if node.op == "placeholder":
        return _whole(scene.results[node])
    if node.op == "get_attr":
        return attribute(scene, node)
    args = fx.node.map_arg(node.args, values.__getitem__)
    kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
    given = (*args, *kwargs.values())
    if node.op == "output":
        scene_fix_all(scene, args[0], "makes the network's outputs")
        return args[0]
    numbers = not any(isinstance(part, Value) for part in _flat(given))
    picks = node.target in _LOOKUPS
    if numbers and not picks and isinstance(scene.results[node], int | float | bool):
        return computed(scene.results[node], given)
    found = _passed(scene, node, args, kwargs, values, lenient=lenient)
    if not numbers:
        for part in _flat(given):
            if isinstance(part, SizeNumber) and id(part) not in scene.handled:
                for source in part.sources:
                    scene.fix(source, f"{place(node)} is given how many there are")
    return found


def _passed(
    scene: Scene,
    node: fx.Node,
    args: Any,
    kwargs: dict[str, Any],
    values: dict[fx.Node, Any],
    *,
    lenient: bool,
) -> Any:
    """Returns what a node's rule makes of its inputs."""
    rule = _rule(scene, node)
    try:
        if rule is not None:
            return rule(scene, node, *args, **kwargs)
        found = passes(scene, node, args, kwargs)
        if found is not None:
            return found
        if node.op == "call_module" and not isinstance(scene.results[node], Tensor):
            scene_fix_all(scene, [args, kwargs], f"enters {place(node)}, which gives several parts")
            return _whole(scene.results[node])
        message = (
            f"{place(node)}: has no rule, so what may be cut around it is not known; write a rule "
            "(netdial.channels.rules)"
        )
    except NetdialError as error:
        if not lenient and node.op == "call_module":
            raise
        message = str(error)
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        message = f"{place(node)}: is used in a way that has no rule ({error})"
        if not lenient and node.op == "call_module":
            raise TraceError(message) from error
    for source in node.all_input_nodes:
        if scene.is_table(source):
            scene_fix_all(scene, values[source], message)
    for value in _flat((*args, *kwargs.values())):
        for axis in value.labels if isinstance(value, Value) else ():
            scene.refuse(axis, message)
    return _whole(scene.results[node])


def _rule(scene: Scene, node: fx.Node) -> Any:
    if node.op == "call_module":
        return MODULES.get(type(scene.traced.get_submodule(str(node.target))))
    if node.op == "call_method":
        return METHODS.get(str(node.target))
    return FUNCTIONS.get(node.target)


def _whole(result: Any) -> Any:
    """Returns fixed values of the shapes of a result."""
    if isinstance(result, Tensor):
        return fixed(tuple(result.shape))
    if isinstance(result, tuple | list):
        return tuple(_whole(part) for part in result)
    if isinstance(result, dict):
        return {key: _whole(part) for key, part in result.items()}
    return SizeNumber(result)


def _flat(tree: Any) -> list[Any]:
    """Returns the values and numbers in arguments, however they are packed."""
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, slice):
        tree = (tree.start, tree.stop, tree.step)
    if isinstance(tree, tuple | list):
        return [leaf for part in tree for leaf in _flat(part)]
    return [tree]


__all__ = ["read"]
