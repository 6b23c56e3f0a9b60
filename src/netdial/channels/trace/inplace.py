"""Operations that change a tensor in place, made explicit in a traced graph.

``x.add_(y)`` changes what every later reader of x finds, but a graph shows only those that read its result; one whose result
nobody names even looks like dead code. So whoever reads x later is made to read the result. Where x is a piece of something
that is read later too, ``x[:, 0] = y``, that is read with the piece written into it, and where it is ``x.data``, with the
gradients of x. Other views, and parameters, are refused.
A tensor that the network holds, as a counter (``self.n += 1``), is written once, behind all that is computed: later readers
read a value, and a node writes it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from netdial.channels.nodes import (
    IN_PLACE,
    SETS,
    changes_in_place,
    like_kept,
    name_of,
    with_numbers,
    written,
)
from netdial.channels.trace.answers.weights import memory
from netdial.channels.trace.state import (
    StateChanged,
    alone,
    attribute,
    changes,
    owners,
)
from netdial.core.errors import TraceError

_VIEWS = {"getitem", "getattr", "view", "reshape", "flatten"}
_VIEWS |= {"unflatten", "chunk", "split", "unbind", "diagonal"}
_VIEWS |= {"permute", "transpose", "swapaxes", "movedim", "t", "squeeze", "unsqueeze", "expand"}
_VIEWS |= {"expand_as", "broadcast_to", "contiguous", "to", "type_as", "float", "double", "detach"}
_NEW = {
    "softmax",
    "log_softmax",
    "masked_fill",
    "where",
    "clone",
    "cat",
    "matmul",
    "einsum",
    "add",
    "mul",
}
"""Operations whose results share memory with nothing."""
_SAVED = {"softmax", "log_softmax", "sigmoid", "tanh", "exp"}
_SAVED |= {"sqrt", "rsqrt", "reciprocal"}
"""Operations whose gradient is computed of their result, which nobody may change."""
_VIEW_MODULES = (nn.Flatten, nn.Unflatten, nn.Identity)


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

    An ``autograd.Function`` may change what the gradient needs, as it has a gradient of its own; a graph of its operations
    has not, and makes a new tensor.

    Args:
        traced: the network; its graph is changed.
        where: function that tells where a node comes from, for messages.

    Raises:
        TraceError: others see the tensor that is changed in a way that cannot be followed.
    """
    order = {node: number for number, node in enumerate(traced.graph.nodes)}
    apart: list[fx.Node] = []  # what changes copies of the network's own tensors
    stands: dict[
        fx.Node, fx.Node
    ] = {}  # a tensor, and what gives its numbers after a piece was written
    for node in list(traced.graph.nodes):
        if not changes_in_place(traced, node):
            continue
        written_to = made = _piece_written(node, order)
        source = made.args[0] if made.args else None
        if not isinstance(source, fx.Node) or made.kwargs.get("out") is not None:
            raise TraceError(f"{where(made)}: changes a tensor in place in a way that has no rule")
        base = source
        while True:
            later = {user for user in base.users if order[user] > order[made]}
            base.replace_all_uses_with(made, delete_user_cb=later.__contains__)
            whole = base.args[0] if base.args else None
            if not isinstance(whole, fx.Node):
                break
            if changes_in_place(traced, base):  # what it gives is what it changes
                base = whole
                continue
            if not _is_view(traced, base):
                break
            while whole in stands:
                whole = stands[whole]
            if any(order[user] > order[made] for user in whole.users):
                with traced.graph.inserting_after(made):
                    if _is_piece(base):
                        made = _put_back(whole, base.args[1], made, made, order)
                    elif name_of(base) == "diagonal":
                        given = (whole, made, *base.args[1:])
                        made = _added(made, order, torch.diagonal_scatter, given, base.kwargs)
                    elif _is_alias(base):
                        made = _added(made, order, with_numbers, (whole, made))
                    else:
                        raise _seen(where(node), whole)
                stands[whole] = made
            base = whole
        unread = base.op != "placeholder" and not made.users
        if base.op == "get_attr" or (unread and _is_shared(base, made, order)):
            raise _seen(where(made), base)
        if name_of(source) in _SAVED and source.op != "call_module" and _plainly(made):
            _replace(made, order)
        elif _is_copy(base) and _plainly(written_to):
            apart.append(written_to)
    for node in apart:
        if changes_in_place(traced, node):
            _replace(node, order)


def _is_copy(node: fx.Node) -> bool:
    """Whether a node copies what the network holds; in the other mode that may be read as it is."""
    return node.target == "clone" and getattr(node.args[0], "op", "") == "get_attr"


def _replace(node: fx.Node, order: dict[fx.Node, int]) -> None:
    """Puts what gives a new tensor in the place of a node that changes one."""
    with node.graph.inserting_after(node):
        made = _out_of_place(node.graph, node)
    made.stack_trace, made.meta, order[made] = node.stack_trace, {**node.meta}, order[node]
    node.replace_all_uses_with(made)
    node.graph.erase_node(node)


def _is_shared(base: fx.Node, made: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether something that may share a tensor's memory is read after it was changed; if not, nobody sees the change."""
    near, seen = [base], set[fx.Node]()
    while near:
        node = near.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "get_attr" or any(order[user] > order[made] for user in node.users):
            return True
        if node.op == "call_module" or name_of(node) not in _NEW:
            near += node.all_input_nodes
    return False


def _seen(place: str, base: fx.Node) -> TraceError:
    return TraceError(
        f"{place}: changes in place what others see too ({base.name}); write it out of place"
    )


def _is_piece(node: fx.Node) -> bool:
    """Whether a node picks a piece of a tensor, which can be put back: a place of a tuple of tensors has one number."""
    return node.target is operator.getitem and isinstance(node.args[1], tuple | slice)


def _piece_written(node: fx.Node, order: dict[fx.Node, int]) -> fx.Node:
    """Returns the node that gives a tensor with a piece written, where a node writes one; else the node itself."""
    name, graph, args = name_of(node), node.graph, list[Any](node.args)
    piece: fx.Node | None = None
    if name in SETS:
        base, at, value = args
    elif name == "index_put_" and len(args) == 3:
        base, places, value = args
        at = tuple(slice(None) if place is None else place for place in places)
    elif name in _WRITES and isinstance(args[0], fx.Node) and _is_piece(args[0]):
        piece, value = args[0], args[1] if len(args) > 1 else 0
        base, at = piece.args
    else:
        return node
    with graph.inserting_before(node):
        made = _put_back(base, at, value, node, order)
    if piece is not None:  # who reads the piece itself later
        readers = {user for user in piece.users if order[user] > order[node]}
        with graph.inserting_after(made):
            again = graph.call_function(operator.getitem, (made, at))
        order[again] = order[node]
        piece.replace_all_uses_with(again, delete_user_cb=readers.__contains__)
        node.replace_all_uses_with(again)
    node.replace_all_uses_with(made)
    graph.erase_node(node)
    return made


def _put_back(base: Any, at: Any, value: Any, like: fx.Node, order: dict[fx.Node, int]) -> fx.Node:
    """Returns a new node that gives a tensor with a value at a place."""
    return _added(like, order, written, (base, at, value))


def _added(
    like: fx.Node, order: dict[fx.Node, int], target: Any, args: Any, kwargs: Any = None
) -> fx.Node:
    """Returns a new node that calls a function, and stands where another one does."""
    made = like.graph.call_function(target, args, kwargs)
    made.stack_trace, made.meta, order[made] = like.stack_trace, {**like.meta}, order[like]
    return made


def _is_view(traced: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), _VIEW_MODULES)
    return node.op in ("call_method", "call_function") and name_of(node) in _VIEWS


def keep_changes(
    net: nn.Module, graph: fx.Graph, constants: dict[str, Tensor], replaced: dict[str, fx.Node]
) -> set[str]:
    """Makes a graph change the network's own tensors as its forward pass does, in place; returns their names.

    Args:
        net: the network.
        graph: its graph.
        constants: tensors that the graph has names for; they can be views of buffers.
        replaced: names of tensors that it sets, and the nodes that make what they are set to.

    Raises:
        StateChanged: it changes one in a way that has no rule, as a part of it; or a module without parameters holds it,
            which is one operation then.
    """
    kind, held = type(net).__name__, owners(net)
    for leaf, node in replaced.items():
        if alone(net, leaf.rpartition(".")[0]) is not None:
            raise StateChanged.at(kind, leaf, node)
        if not isinstance(attribute(net, leaf), Tensor):
            raise StateChanged.remembered(kind, leaf)
    for leaf, node in changed(net, graph):
        made = constants.get(leaf)
        owner = leaf if made is None else held.get(memory(made))
        if owner is None or owner not in held.values():
            continue
        direct = made is None and _base(net, node) == leaf and "out" not in node.kwargs
        if not direct or alone(net, owner.rpartition(".")[0]) is not None or not _plainly(node):
            raise StateChanged.at(kind, owner, node)
    values = _written(net, graph, set(held.values())) | replaced
    _note(graph, values)
    return set(values)


def _base(net: nn.Module, node: fx.Node) -> str | None:
    """Returns the tensor of the network that a node changes as a whole; None if it is a view of one."""
    base: Any = node.args[0]
    while isinstance(base, fx.Node) and (changes_in_place(net, base) or _is_alias(base)):
        base = base.args[0]
    return str(base.target) if isinstance(base, fx.Node) and base.op == "get_attr" else None


def _is_alias(node: fx.Node) -> bool:
    """Whether a node gives all of a tensor, aside from its gradients: ``x.data``, ``x.detach()``."""
    if node.target is getattr:
        return node.args[1] == "data"
    return node.op in ("call_method", "call_function") and name_of(node) == "detach"


def _plainly(node: fx.Node) -> bool:
    """Whether there is an operation that gives what one in place writes."""
    name = name_of(node)
    return name in IN_PLACE or name in _WRITES or hasattr(Tensor, name.removesuffix("_"))


_WRITES = ("copy_", "fill_", "zero_")


def _written(net: nn.Module, graph: fx.Graph, names: set[str]) -> dict[str, fx.Node]:
    """Says changes in place out of place; returns what each tensor holds at the end."""
    order = {node: number for number, node in enumerate(graph.nodes)}
    stand: dict[fx.Node, str] = {}
    last: dict[str, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr" and node.target in names:
            stand[node] = str(node.target)
            if (now := last.get(str(node.target))) is not None:
                node.replace_all_uses_with(now)
            continue
        source = node.args[0] if node.args else None
        if source in stand and _is_alias(node):
            stand[node] = stand[source]
        if source not in stand or not changes_in_place(net, node):
            continue
        leaf = stand[source]
        with graph.inserting_before(node):
            made = _out_of_place(graph, node)
        made.stack_trace, made.meta = node.stack_trace, {**node.meta}
        order[made], stand[made] = order[node], leaf
        for one in [one for one, name in stand.items() if name == leaf and one is not made]:
            one.replace_all_uses_with(made, delete_user_cb=lambda u: order[u] > order[made])  # noqa: B023
        node.replace_all_uses_with(made)
        graph.erase_node(node)
        last[leaf] = made
    return last


def _out_of_place(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """Returns the node that gives what one in place writes."""
    name = name_of(node)
    if name in IN_PLACE:
        plainly = {"iand": operator.and_, "ior": operator.or_}
        found = plainly.get(name) or getattr(operator, name.removeprefix("i"))
        return graph.call_function(found, node.args)
    if name in _WRITES:
        value = node.args[1] if len(node.args) > 1 else 0
        return graph.call_function(like_kept, (node.args[0], value))
    return graph.call_method(name.removesuffix("_"), node.args, node.kwargs)


def _note(graph: fx.Graph, values: dict[str, fx.Node]) -> None:
    """Adds the nodes that write values; whoever reads a tensor itself finds it as it was before."""
    end = next(node for node in reversed(graph.nodes) if node.op == "output")
    for node in [n for n in graph.nodes if n.op == "get_attr" and n.target in values]:
        if any(user.target != "clone" for user in node.users):
            with graph.inserting_after(node):
                copied = graph.call_method("clone", (node,))
            node.replace_all_uses_with(copied, delete_user_cb=lambda user: user is not copied)  # noqa: B023
    for leaf, value in values.items():
        with graph.inserting_before(end):
            kept = graph.get_attr(leaf)
            noted = graph.call_function(changes, (kept, value))
        noted.stack_trace = value.stack_trace
