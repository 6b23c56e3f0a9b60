"""What a forward pass changes of its network's own state, as counters and running means: a graph keeps it, or is refused.

Tracing runs the code on proxies, so a buffer or an attribute that it sets would hold a proxy afterwards. What is computed of
the network's own tensors and numbers alone would even happen once, while tracing, and never again. So a network whose forward
pass changes them is traced again with proxies in their places.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from netdial.channels.layers.keeping import Keeping
from netdial.channels.nodes import WITHOUT_GRADIENTS, changes_in_place, name_of, place
from netdial.channels.trace.answers.draws import drawn
from netdial.channels.trace.answers.weights import WritesSeen, memory
from netdial.core.errors import TraceError
from netdial.core.outputs import plain

_ALIASES = ("to", "float", "double", "contiguous", "type_as")
"""Operations that give their tensor itself where it is so already."""
_ALONE = (
    "in the forward pass of a module of its own that has no parameters: that stays one operation"
)


class StateChanged(TraceError):
    """A forward pass changes a tensor or a number that its network holds.

    Attributes:
        leaf: its name.
        owner: name of the module that holds it.
    """

    def __init__(self, leaf: str, message: str) -> None:
        super().__init__(message)
        self.leaf = leaf
        self.owner = leaf.rpartition(".")[0]

    @classmethod
    def at(cls, kind: str, leaf: str, node: fx.Node) -> StateChanged:
        """Returns the error for a tensor that a node changes in a way that a graph has no form for."""
        return cls(
            leaf,
            f"network {kind}: {place(node)} changes {leaf!r} in a way that a graph cannot keep; change it as a whole "
            f"(self.x = …, self.x.copy_(…)), or {_ALONE}",
        )

    @classmethod
    def read(cls, net: nn.Module, leaf: str, line: str = "") -> StateChanged:
        """Returns the error for a number that the forward pass both changes and goes by, or may go by if no line is known."""
        return cls(
            leaf,
            f"network {type(net).__name__}: its forward pass changes the attribute {leaf!r}{_set_at(net, leaf)}"
            f"{line and f' and goes by it ({line})'}, and a "
            "graph would have it as it is now; hold it in a buffer (register_buffer) that is no condition of an if, or count "
            f"{_ALONE}; if it is set once only, call the network once before",
        )

    @classmethod
    def remembered(cls, kind: str, leaf: str) -> StateChanged:
        """Returns the error for a tensor that a forward pass remembers, where there is none before the first call."""
        return Remembered(
            leaf,
            f"network {kind}: its forward pass remembers {leaf!r} from one call to the next, which is no tensor before the "
            "first; take it as an input and give it as an output, or hold it in a buffer (register_buffer) from the start, of "
            "a size that goes for every batch",
        )

    @classmethod
    def filled(cls, net: nn.Module, leaf: str) -> StateChanged:
        """Returns the error for a parameter that a forward pass sets, as by the first data that it sees."""
        return cls(
            leaf,
            f"network {type(net).__name__}: its forward pass sets the parameter {leaf!r}, which a graph would not; if only the "
            "first one does, call the network once on data before",
        )


class Remembered(StateChanged):
    """A forward pass sets what is no tensor before its first call; one that the first call alone makes can be exported."""


@contextmanager
def settled(net: nn.Module, example: Tensor) -> Iterator[list[str]]:
    """Calls a network once, so that it holds the numbers which its forward pass sets to the same each time.

    Yields the names of parameters that the call sets, which are as they were.
    """
    with parameters_kept(net) as changed, torch.no_grad(), suppress(Exception):
        drawn(lambda: net(example.clone()), net)  # its failure is said by the export
    yield changed


@contextmanager
def parameters_kept(net: nn.Module) -> Iterator[list[str]]:
    """Gives a network back the numbers of its parameters; yields names of those that were set, filled at the end."""
    held = {name: p for name, p in net.named_parameters() if not is_lazy(p)}
    before = {name: (p.data, p.detach().clone()) for name, p in held.items()}
    changed: list[str] = []
    try:
        with WritesSeen(net) as seen:
            yield changed
    finally:
        for name, (data, kept) in before.items():
            now = held[name].data
            same = torch.equal(now, kept) or (  # the first is seven times as fast
                now.shape == kept.shape and torch.allclose(now, kept, 0, 0, equal_nan=True)
            )
            if name in seen.names or not same:
                held[name].data = data.copy_(kept)
                changed.append(name)


def _set_at(net: nn.Module, leaf: str) -> str:
    """Returns the file and the line that set an attribute outside ``__init__``; empty if they are not found."""
    owner, _, key = leaf.rpartition(".")
    kind = type(net.get_submodule(owner))
    try:
        lines, first = inspect.getsourcelines(kind)
        file = Path(inspect.getfile(kind)).name
    except (OSError, TypeError):  # there is no source
        return ""
    inside = ""
    for number, line in enumerate(lines):
        inside = found[1] if (found := re.match(r"\s*def (\w+)", line)) else inside
        if inside != "__init__" and re.search(rf"self\.{re.escape(key)}\s*[-+*/|&]*=(?!=)", line):
            return f" ({file}:{first + number})"
    return ""


class Touched(StateChanged):
    """A forward pass changes tensors or numbers while it is traced.

    Attributes:
        names: of them.
    """

    def __init__(self, kind: str, names: Collection[str]) -> None:
        first = next(iter(names))
        super().__init__(
            first, f"network {kind}: its forward pass changes {first!r}; do it {_ALONE}"
        )
        self.names = names


@contextmanager
def state_kept(net: nn.Module, kind: type[Any] = fx.Proxy) -> Iterator[dict[str, Any]]:
    """Gives a network back the buffers and attributes that tracing replaces.

    Yields what is filled at the end: buffers and tensors that were replaced, and what they were set to.

    Args:
        net: the network.
        kind: what tensors are while it is traced.
    """
    before = [
        (name, module, dict(module._buffers), dict(vars(module)))
        for name, module in net.named_modules()
    ]
    replaced: dict[str, Any] = {}
    try:
        yield replaced
    finally:
        for name, module, buffers, attributes in before:
            for held, was in ((module._buffers, buffers), (vars(module), attributes)):
                for key, value in list(held.items()):
                    if not isinstance(value, kind) or value is was.get(key):
                        continue
                    if held is module._buffers or isinstance(was.get(key), Tensor):
                        replaced[f"{name}.{key}".lstrip(".")] = value
                    if key in was:
                        held[key] = was[key]
                    else:
                        del held[key]


def owners(net: nn.Module) -> dict[int, str]:
    """Returns the names of tensors that a network holds and are no parameters, by where their numbers lie."""
    held = dict(net.named_buffers())
    for name, module in net.named_modules():
        found = {k: v for k, v in plain(module).items() if isinstance(v, Tensor)}
        held |= {f"{name}.{key}".lstrip("."): value for key, value in found.items()}
    return {memory(tensor): name for name, tensor in held.items()}


def attribute(net: nn.Module, name: str) -> Any:
    """Returns what a network holds under a dotted name; None if its code has not made it yet."""
    owner, _, key = name.rpartition(".")
    return getattr(net.get_submodule(owner), key, None)


def tensors_held(net: nn.Module) -> list[str]:
    """Returns the names of the tensors that the modules of a network hold which are not torch's own, but for parameters."""
    return [
        f"{name}.{key}".lstrip(".")
        for name, module in net.named_modules()
        if not type(module).__module__.startswith("torch.nn.modules")
        for key, value in {**module._buffers, **vars(module)}.items()
        if isinstance(value, Tensor)
    ]


def proxied(tracer: fx.Tracer, names: Iterable[str]) -> dict[str, fx.Node]:
    """Puts proxies in the places of what a network holds; returns the nodes that read it, by name."""
    nodes = {}
    for name in names:
        owner, _, key = name.rpartition(".")
        module = tracer.root.get_submodule(owner)
        held: dict[str, Any] = module._buffers if key in module._buffers else vars(module)
        held[key] = tracer.create_proxy("get_attr", name, (), {})
        nodes[name] = held[key].node
    return nodes


def set_aside(net: nn.Module, graph: fx.Graph, copies: Mapping[str, fx.Node]) -> None:
    """Lets what runs without gradients change the numbers of parameters alone, as it does to the parameters themselves.

    Args:
        net: the network.
        graph: its graph, in one mode.
        copies: what stands for parameters that the forward pass changes, by name.

    Raises:
        StateChanged: a layer reads the parameter by itself.
    """
    for name, copied in copies.items():
        reads = [node for node in graph.nodes if node.op == "get_attr" and node.target == name]
        if any(user is not copied for node in reads for user in node.users):
            raise StateChanged.filled(net, name)
        for node in graph.nodes:  # what writes to a tensor gives that tensor
            chain, whole = [node], node.args[0] if node.args else None
            while isinstance(whole, fx.Node) and name_of(whole) in _ALIASES:
                chain, whole = [*chain, whole], whole.args[0]
            if whole is copied and changes_in_place(net, node):
                for alias in chain:
                    alias.replace_all_uses_with(copied)
        plainly = [user for user in copied.users if user.meta.get(WITHOUT_GRADIENTS)]
        with graph.inserting_after(copied):
            numbers = graph.call_method("detach", (copied,))
        for user in [user for user in copied.users if user is not numbers]:
            if user.target is getattr and user.args[1] == "data":
                user.replace_all_uses_with(numbers)
                graph.erase_node(user)
            elif user in plainly:
                user.replace_input_with(copied, numbers)


def drop_numbers(net: nn.Module, graph: fx.Graph, nodes: Mapping[str, fx.Node]) -> None:
    """Removes the reading of numbers that a forward pass changes.

    Args:
        net: the network.
        graph: its graph.
        nodes: what reads each of them.

    Raises:
        StateChanged: the outputs, or tensors that the network keeps, depend on one.
    """
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node.target is changes or node in needed:
            needed |= {node, *node.all_input_nodes}
    for name, node in nodes.items():
        reader = next((user for user in node.users if user in needed), None)
        if reader is not None:
            raise StateChanged.read(net, name, place(reader))
    idle = set(nodes.values())
    for node in graph.nodes:
        if any(source in idle for source in node.all_input_nodes):
            idle.add(node)
    for node in reversed(graph.nodes):
        if node in idle and not node.users:
            graph.erase_node(node)


def changes(kept: Any, value: Any) -> Any:
    """Stands for the change of a tensor of the network until the graph has a module for it (``put_keeping``)."""
    raise AssertionError("netdial: a graph was run before it was complete")


def put_keeping(traced: fx.GraphModule, *, training: bool) -> None:
    """Makes modules (``Keeping``) of the changes noted in a graph, for the mode in which it was recorded."""
    for node in [node for node in traced.graph.nodes if node.target is changes]:
        name = "keeps_" + str(node.args[0].target).replace(".", "_")
        while name in traced._modules:
            name += "_"
        traced.add_submodule(name, Keeping(training).train(traced.training))
        node.op, node.target = "call_module", name


def alone(net: nn.Module, owner: str) -> type[nn.Module] | None:
    """Returns the class of a part of a network if it has no parameters; None for others, and for the network."""
    part = net.get_submodule(owner)
    return None if part is net or any(True for _ in part.parameters()) else type(part)


def failing(net: nn.Module, error: TraceError) -> type[nn.Module] | None:
    """Returns the class of the innermost module, without parameters, in whose forward pass tracing failed; None for others.

    Of one whose buffer is changed, it is taken to be that which holds the buffer.
    """
    held = {id(module) for module in net.modules() if module is not net}
    inside: nn.Module | None = None
    frames = None if error.__cause__ is None else error.__cause__.__traceback__
    while frames is not None:
        owner = frames.tb_frame.f_locals.get("self")
        if id(owner) in held and frames.tb_frame.f_code.co_name == "forward":
            inside = owner
        frames = frames.tb_next
    if isinstance(error, StateChanged) and error.owner:
        return alone(net, error.owner)
    return None if inside is None or any(True for _ in inside.parameters()) else type(inside)


__all__ = [
    "Remembered",
    "StateChanged",
    "Touched",
    "alone",
    "attribute",
    "changes",
    "drop_numbers",
    "failing",
    "owners",
    "parameters_kept",
    "proxied",
    "put_keeping",
    "set_aside",
    "settled",
    "state_kept",
    "tensors_held",
]
