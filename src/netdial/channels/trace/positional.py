"""Calls said again as rules expect them: by position (``self.fc(input=x)``), products and sums apart (``baddbmm``)."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from netdial.channels.nodes import module_of, name_of

_ORDERS = (
    ("input", "other"),
    ("input", "mat2"),
    ("input", "dim0", "dim1"),
    ("mat1", "mat2"),
    ("input", "batch1", "batch2"),
    ("input", "mat", "vec"),
    ("input", "vec"),
    ("input",),
    ("tensors",),
    ("self",),
)
"""Names of the tensors that functions and methods of torch begin with, and of what is given by position with them."""
_OWN_ORDERS = {
    "permute": ("input", "dims"),
    "flip": ("input", "dims"),
    "squeeze": ("input", "dim"),
    "select": ("input", "dim", "index"),
    "unfold": ("input", "dimension", "size", "step"),
    "movedim": ("input", "source", "destination"),
    "moveaxis": ("input", "source", "destination"),
}
"""The same of some alone; others take such numbers behind others."""
_NUMPYS = {
    "axis": "dim",
    "keepdims": "keepdim",
    "x": "input",
    "a": "input",
    "x1": "input",
    "x2": "other",
}
"""Names that torch's own functions take as NumPy does, beside their own."""


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
        if isinstance(node.target, str | BuiltinFunctionType) and node.op != "call_module":
            _renamed(node)
        if node.op == "call_module":
            _moved(node, _names(module_of(traced, node)))
        elif node.op in ("call_function", "call_method"):
            if node.target is F.scaled_dot_product_attention:
                _moved(node, ("query", "key", "value"))
            own = _OWN_ORDERS.get(name_of(node))
            for order in _ORDERS if own is None else (*_ORDERS, own):
                names = order[1:] if node.op == "call_method" and order[0] == "input" else order
                _moved(node, names, 1 if names is not order else 0)


def spelled_out(traced: fx.GraphModule) -> None:
    """Takes operations apart that do several things at once, in place: what each of them does has a rule."""
    for node in list(traced.graph.nodes):
        make = _SPELLED.get(name_of(node)) if node.op.startswith("call_") else None
        if make is None or node.op == "call_module":
            continue
        with traced.graph.inserting_before(node):
            found = make(traced.graph, *node.args, **node.kwargs)
        if found is not None:
            for made in _between(found, node):
                made.stack_trace = node.stack_trace
            node.replace_all_uses_with(found)
            traced.graph.erase_node(node)


def _between(last: fx.Node, node: fx.Node) -> Iterator[fx.Node]:
    """Yields the nodes that stand for another one: all before it up to the last that is known where it comes from."""
    while last.stack_trace is None and last.op == "call_function":
        yield last
        last = last.prev


def _summed(of: Callable[[fx.Graph, fx.Node], fx.Node]) -> Callable[..., fx.Node]:
    """Returns what makes ``beta * x + alpha * product``, the product made once more of."""

    def make(
        graph: fx.Graph, x: Any, one: Any, other: Any, *, beta: Any = 1, alpha: Any = 1
    ) -> fx.Node:
        product = of(graph, graph.call_function(torch.matmul, (one, other)))
        if alpha != 1:
            product = graph.call_function(operator.mul, (product, alpha))
        if beta == 0:  # then torch reads no number of x, which may hold any
            return product
        if beta != 1:
            x = graph.call_function(operator.mul, (x, beta))
        return graph.call_function(operator.add, (x, product))

    return make


def _product(graph: fx.Graph, one: Any, other: Any) -> fx.Node:
    return graph.call_function(torch.matmul, (one, other))


def _exchanged(graph: fx.Graph, x: Any, *dims: Any, **named: Any) -> fx.Node:
    """Returns what exchanges two dimensions, under the name of it that is known everywhere."""
    return graph.call_function(torch.transpose, (x, *dims, *named.values()))


def _picked(graph: fx.Graph, x: Any, dim: int, at: Any) -> fx.Node:
    """Returns what picks one place along a dimension, as an index."""
    rest = (slice(None),) * (dim if dim >= 0 else -1 - dim)
    place: Any = (*rest, at) if dim >= 0 else (..., at, *rest)
    return graph.call_function(operator.getitem, (x, place))


def _empty(graph: fx.Graph, like: Any, *sizes: Any) -> fx.Node:
    return graph.call_method("new_empty", (like, *(sizes or ((0,),))))


def _resized(graph: fx.Graph, x: Any, *sizes: Any) -> fx.Node | None:
    """Returns an empty tensor of other sizes; None for one that holds numbers."""
    return _empty(graph, x.args[0], *sizes) if x.target == "new_empty" else None


_SPELLED: dict[str, Callable[..., fx.Node | None]] = {
    "baddbmm": _summed(lambda graph, product: product),
    "addmv": _summed(lambda graph, product: product),
    "addbmm": _summed(lambda graph, product: graph.call_method("sum", (product, 0))),
    "swapdims": _exchanged,
    "select": _picked,
    "mv": _product,
    "dot": _product,
    "new": _empty,
    "resize_": _resized,
}


def _names(module: Any) -> tuple[str, ...]:
    """Returns the names of the arguments of a layer's forward pass that may be given by position."""
    found = inspect.signature(module.forward).parameters.values()
    return tuple(p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD)


def _renamed(node: fx.Node) -> None:
    """Gives arguments by NumPy's names torch's own."""
    node.kwargs = {_NUMPYS.get(name, name): value for name, value in node.kwargs.items()}


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
