"""Operations that change a tensor in place, made explicit in a traced graph.

``x.add_(y)`` changes what every later reader of x finds, but a graph shows only those that read its result; one whose result
nobody names even looks like dead code. So whoever reads x later is made to read the result. Where x is a view of something
that is read later too, or a parameter, that is not possible and the network is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import fx, nn

from netdial.core.errors import TraceError

_VIEWS = {
    "getitem",
    "getattr",
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "chunk",
    "split",
    "unbind",
}
_VIEWS |= {"permute", "transpose", "swapaxes", "movedim", "t", "squeeze", "unsqueeze", "expand"}
_VIEWS |= {"expand_as", "broadcast_to", "contiguous", "to", "type_as", "float", "double", "detach"}
_FUNCTIONS = {
    "iadd",
    "isub",
    "imul",
    "itruediv",
    "ifloordiv",
    "ipow",
    "imod",
    "iand",
    "ior",
    "ixor",
}
_VIEW_MODULES = (nn.Flatten, nn.Unflatten, nn.Identity)


def changes_in_place(traced: nn.Module, node: fx.Node) -> bool:
    """Returns whether a node changes its first input."""
    if node.op == "call_module":
        return bool(getattr(traced.get_submodule(str(node.target)), "inplace", False))
    if node.op not in ("call_method", "call_function"):
        return False
    name = _name(node)
    if name in _FUNCTIONS or (name.endswith("_") and not name.endswith("__")):
        return True
    return bool(node.kwargs.get("inplace", False)) or node.kwargs.get("out") is not None


def changed(net: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, fx.Node]]:
    """Yields the network's own tensors that a graph changes in place, and the nodes that do."""
    for node in graph.nodes:
        if not node.args or not changes_in_place(net, node):
            continue
        base = node.args[0]
        while (
            isinstance(base, fx.Node)
            and base.args
            and (_is_view(net, base) or changes_in_place(net, base))
        ):
            base = base.args[0]
        if isinstance(base, fx.Node) and base.op == "get_attr":
            yield str(base.target), node


def make_explicit(traced: fx.GraphModule, where: Any) -> None:
    """Makes later readers of a tensor that is changed in place read the result.

    Args:
        traced: the network; its graph is changed.
        where: function that tells where a node comes from, for messages.

    Raises:
        TraceError: others see the tensor that is changed in a way that cannot be followed.
    """
    order = {node: number for number, node in enumerate(traced.graph.nodes)}
    for node in list(traced.graph.nodes):
        if not changes_in_place(traced, node):
            continue
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or node.kwargs.get("out") is not None:
            raise TraceError(f"{where(node)}: changes a tensor in place in a way that has no rule")
        later = {user for user in source.users if order[user] > order[node]}
        source.replace_all_uses_with(node, delete_user_cb=later.__contains__)
        base = source
        while _is_view(traced, base) and isinstance(base.args[0], fx.Node):
            base = base.args[0]
            if any(order[user] > order[node] for user in base.users):
                break
        else:
            if base.op != "get_attr" and (node.users or base.op == "placeholder"):
                continue
        raise TraceError(
            f"{where(node)}: changes in place what others see too ({base.name}); write it out of place"
        )


def _is_view(traced: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), _VIEW_MODULES)
    return node.op in ("call_method", "call_function") and _name(node) in _VIEWS


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
