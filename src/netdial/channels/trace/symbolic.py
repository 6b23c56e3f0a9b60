"""From a module to its graph of operations by ``torch.fx``, in one mode: what ``trace.py`` tries first.

Layers stay whole; everything else is recorded as Python runs it on proxies, which know nothing about shapes. Optional arguments
of ``forward`` have their defaults.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from netdial.channels.layers.frozen import FROZEN
from netdial.channels.layers.packed import (
    PACKABLE,
    PackedLayer,
    Padded,
    packing_padded,
    run_packed,
)
from netdial.channels.nodes import OWN, WITHOUT_GRADIENTS, detached, user_line
from netdial.channels.trace.answers.functions import functions_kept
from netdial.channels.trace.answers.questions import asks_for_any, if_finite
from netdial.channels.trace.answers.sizes import sizes_kept
from netdial.channels.trace.answers.weights import WeightsRecorded, weights_copied
from netdial.channels.trace.answers.whole import is_layer, made_by_hook
from netdial.channels.trace.inplace import changed, keep_changes
from netdial.channels.trace.lower import InEvaluation
from netdial.channels.trace.ready import (
    drop_checks,
    drop_wishes,
    hooks_kept,
    made_by_size,
    other_weights,
    tell_hooks,
    unchecked,
)
from netdial.channels.trace.state import (
    StateChanged,
    Touched,
    attribute,
    drop_numbers,
    proxied,
    set_aside,
    state_kept,
)
from netdial.core.errors import TraceError, first_line, line_of
from netdial.core.inputs import OneTensor
from netdial.core.outputs import touched

BY_GENERATOR = (
    "draws numbers by a generator of its own, which no graph can hold; draw without generator="
)
ADVICE = "; move what depends on values (if, for, len of a tensor) out of forward, or write it without branches (torch.where)"

_AT = "file and line"
ASKED = "asked whether there are any"
"""What is noted at the output: files and lines of code that goes by that."""

_ANSWERS = ContextVar("whether there are some, where code asks", default=False)

Taken = tuple[fx.Graph, dict[str, Tensor]]
"""A graph, and the tensors that its network does not hold but makes while it runs, by the names that the graph has for them."""


_ASKED_OF = ("size", "shape", "numel", "dim", "ndim", "dtype", "device")


class Cured(TraceError):
    """Code cannot be followed, for a reason that says how it is mended."""


class Unanswered(TraceError):
    """Code asks whether there are any, and does something else where there are none."""


@contextmanager
def answering() -> Iterator[None]:
    """Lets there be some where code asks whether there are any; what comes of it has to be checked (``check_answers``)."""
    token = _ANSWERS.set(True)
    try:
        yield
    finally:
        _ANSWERS.reset(token)


class _Proxy(fx.Proxy):
    """Stands for a tensor, a piece of which may be written, and whose numbers may be set."""

    @property
    def data(self) -> Any:
        """Its numbers without gradients; those that are set are written."""
        return self.tracer.create_proxy("call_function", getattr, (self, "data"), {})

    @data.setter
    def data(self, value: Any) -> None:
        self.data.copy_(value)

    def __getattr__(self, key: str) -> Any:
        whole = self.node.op == "get_attr"  # what is laid out by its sizes follows when channels go
        root = cast(fx.Tracer, self.tracer).root
        held = _held(root, self.node) if key in _ASKED_OF and not whole else None
        return super().__getattr__(key) if held is None else getattr(held, key)

    def __setitem__(self, at: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, at, value), {})


def _held(net: nn.Module, node: fx.Node) -> Tensor | None:
    """Returns what a node stands for: a parameter, its numbers or a piece of it; None for other nodes."""
    if node.op == "get_attr":
        return dict(net.named_parameters()).get(str(node.target))
    alike = node.target == "detach" or (node.target is getattr and node.args[1] == "data")
    if len(node.all_input_nodes) != 1 or not (alike or node.target is operator.getitem):
        return None
    found = _held(net, node.all_input_nodes[0])
    if found is None or alike:
        return found
    place: Any = node.args[1]
    with torch._C.DisableTorchFunction():  # else that is recorded
        return found[place]


class _Tracer(fx.Tracer):
    """Records layers as single operations.

    Args:
        whole: classes of the user's own modules that are single operations, too.
        changing: names of tensors and numbers of the network that its forward pass changes.

    Attributes:
        held: nodes that read these.
        copied: makes copies of those that are parameters.
        others: ids of modules that have other weights than their own at the moment.
        asked: where code asks whether there are any: files and lines.
        still: names of layers that are called in evaluation while the network is in training.
    """

    def __init__(
        self, whole: Collection[type[nn.Module]] = (), changing: Collection[str] = ()
    ) -> None:
        super().__init__()
        self._whole, self._changing = tuple(whole), sorted(changing)
        self._grad = torch.is_grad_enabled()
        self.held: dict[str, fx.Node] = {}
        self.copied: Callable[[Callable[[str, Tensor], Any]], dict[str, Any]] = lambda _: {}
        self.others: set[int] = set()
        self.asked: set[tuple[str, int]] = set()
        self.still: set[str] = set()

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> Any:
        found = super().create_args_for_root(*args, **kwargs)
        copies = self.copied(lambda name, _: self.create_proxy("get_attr", name, (), {}).clone())
        self.held = proxied(self, self._changing)
        self.held |= {name: proxy.node for name, proxy in copies.items()}
        return found

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, torch.Generator):
            raise Cured(BY_GENERATOR)
        return super().create_arg(a)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (is_layer(m) or type(m) in self._whole) and id(m) not in self.others

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        if type(m) in (*PACKABLE, PackedLayer) and any(isinstance(part, Padded) for part in args):
            return run_packed(self, self.path_of_module(m), *args, *kwargs.values())
        if type(m) in FROZEN and self.root.training and not m.training:
            self.still.add(self.path_of_module(m))
        made = super().call_module(m, forward, args, kwargs)
        if m._forward_hooks and self.is_leaf_module(m, ""):
            tell_hooks(m, m._forward_hooks, args, kwargs, made)
        return made

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Says that numbers are finite, and that there are some, where code asks whether they are and whether there are any."""
        if (found := if_finite(obj.node)) is not None:
            return found
        at = user_line()
        if at is None or not _ANSWERS.get() or not asks_for_any(obj.node):
            return super().to_bool(obj)
        self.asked.add(obj.node.meta[_AT] if obj.node.target == "item" else at)
        return True

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        if isinstance(node.type, str):  # an annotation as text: torch cannot say where it is from
            node.type = None
        at = user_line()
        if at is not None and node.op.startswith("call"):
            node.stack_trace, node.meta[_AT] = 'File "{}", line {}'.format(*at), at
            node.meta[WITHOUT_GRADIENTS] = self._grad and not torch.is_grad_enabled()
        return node


def symbolic(
    net: nn.Module, whole: Collection[type[nn.Module]] = (), changing: Collection[str] = ()
) -> Taken:
    """Returns the graph of a network in its present mode by ``torch.fx``.

    Args:
        net: the network; what it holds stays as it is.
        whole: classes of the user's own modules that are recorded as single operations.
        changing: names of tensors and numbers of the network that its forward pass changes.

    Raises:
        TraceError: it cannot be traced, changes what it holds in a way that a graph cannot keep (``StateChanged``), or
            changes what ``changing`` does not name (``Touched``).
        InEvaluation: it calls layers in evaluation.
    """
    weights = [name for name in changing if isinstance(attribute(net, name), nn.Parameter)]
    tracer = _Tracer(whole, set(changing).difference(weights))
    tracer.traced_func_name = (
        OneTensor.of_packed.__name__ if isinstance(net, OneTensor) else "forward"
    )
    numbers = [name for name in changing if not isinstance(attribute(net, name), Tensor)]
    constants: dict[str, Tensor] = {}
    try:
        with (
            functions_kept(),
            sizes_kept(net),
            made_by_size(),
            packing_padded(net),
            unchecked(),
            hooks_kept(net),
            other_weights() as tracer.others,
            touched(net) as names,
            state_kept(net) as replaced,
            weights_copied(net, weights, tracer.others) as tracer.copied,
            WeightsRecorded(net, tracer, lambda: tracer.held) as recorded,
        ):
            try:
                graph = tracer.trace(net, concrete_args=_defaults(net))
            finally:
                constants = _forget_constants(net)
    except Exception as error:
        if numbers:
            raise StateChanged.read(net, numbers[0], where(error)) from error
        raise TraceError(
            f"network {type(net).__name__}: cannot be traced {where(error)}: {first_line(error)}{advice(error)}"
        ) from error
    if tracer.still:
        raise InEvaluation(tracer.still)
    written = {leaf for leaf, _ in changed(net, graph)} | recorded.set
    names |= dict(net.named_parameters()).keys() & written
    if names - set(changing):
        raise Touched(type(net).__name__, sorted(names - set(changing)))
    drop_wishes(graph)
    nodes = {leaf: p.node for leaf, p in replaced.items() if not made_by_hook(net, leaf)}
    nodes = {leaf: node for leaf, node in nodes.items() if node is not tracer.held.get(leaf)}
    set_aside(net, graph, {name: tracer.held[name] for name in weights})
    if net.training:  # in evaluation they would be set to the same again
        nodes |= {name: tracer.held[name] for name in weights}
    try:
        names |= keep_changes(net, graph, constants, nodes)
    except StateChanged as error:  # once it is read by a node, there may be a form for it
        if error.leaf in changing or not isinstance(attribute(net, error.leaf), Tensor):
            raise
        raise Touched(type(net).__name__, [error.leaf]) from error
    if names - set(changing):
        raise Touched(type(net).__name__, sorted(names - set(changing)))
    drop_numbers(net, graph, {name: tracer.held[name] for name in numbers})
    drop_checks(graph)
    detach(graph)
    graph.output_node().meta[ASKED] = frozenset(tracer.asked)
    return graph, constants


def detach(graph: fx.Graph) -> None:
    """Sets gradients aside where what was computed without them is read by what has them."""
    for node in list(graph.nodes):
        if not node.meta.get(WITHOUT_GRADIENTS):
            continue
        readers = [user for user in node.users if not user.meta.get(WITHOUT_GRADIENTS)]
        if readers and not _asks(node):
            with graph.inserting_after(node):
                made = graph.call_function(detached, (node,))
            made.stack_trace = node.stack_trace
            node.replace_all_uses_with(made, delete_user_cb=readers.__contains__)


def _asks(node: fx.Node) -> bool:
    """Whether a node asks a tensor for its shape or type, and computes no numbers that could have gradients."""
    return node.target is getattr or node.target in ("size", "dim", "numel")


def _defaults(net: nn.Module) -> dict[str, Any]:
    """Returns the optional arguments of a network's forward pass."""
    run = net.of_packed if isinstance(net, OneTensor) else net.forward
    given = inspect.signature(run).parameters.values()
    return {p.name: p.default for p in given if p.default is not p.empty}


def _forget_constants(net: nn.Module) -> dict[str, Tensor]:
    """Takes back the tensors that tracing noted at a network because its forward pass makes them; returns them."""
    names = [name for name in vars(net) if name.startswith("_tensor_constant")]
    names += [name for name in net._buffers if name.startswith("_tensor_constant")]
    found = {name: getattr(net, name) for name in names}
    for name in names:
        delattr(net, name)
    return found


def advice(error: BaseException | None) -> str:
    """Returns how code is mended that fails with an error, unless that says so itself."""
    return "" if isinstance(error, Cured) else ADVICE


def neither(error: TraceError, other: Exception) -> str:
    """Returns why a network is refused that ``torch.fx`` cannot trace, with an error, nor ``torch.export``, with another."""
    first, then = str(error).removesuffix(ADVICE), first_line(other)
    line = "" if isinstance(other, TraceError) or where(other) in first else f" {where(other)}"
    if "Constraints violated" in str(other):
        line, then = "", "the code asks for the size of the batch as a number, as range does"
    if then not in first:
        first += f"; torch.export cannot follow it either{line}: {then}"
    return first + (advice(error.__cause__) and advice(other))


def where(error: Exception) -> str:
    """Returns the innermost line that belongs neither to torch nor to netdial."""
    return line_of(error, OWN) or "(no line known)"
