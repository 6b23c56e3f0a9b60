"""From a module to its graph of operations, by ``torch.fx``.

The graph keeps the user's submodules and parameters, the same objects under the same names. Composite modules that cannot be
traced are lowered first (``lower.py``). Control flow that depends on values cannot be traced; the message says where it is.

Functional dropout is recorded with the mode of the moment. The graph is taken in both modes: where they differ only there, a
``Dropout`` module takes its place; any other difference is refused. Optional arguments of ``forward`` have their defaults.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx._symbolic_trace import _assert_is_none
from torch.utils._pytree import tree_leaves, tree_map_only

from netdial.core.errors import ConfigError, TraceError
from netdial.shrinking.attention import Attention
from netdial.shrinking.inplace import changes_in_place, make_explicit
from netdial.shrinking.lower import lower
from netdial.shrinking.pick import Pick
from netdial.shrinking.shift import Shift
from netdial.shrinking.switch import Switch

_DROPOUT: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    torch.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
}
_OWN = (str(Path(__file__).parent), str(Path(torch.__file__).parent), traceback.__file__)
_CHECKS = (torch._assert, _assert_is_none)


class _Tracer(fx.Tracer):
    """Records the modules that torch and netdial define as single operations."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, Attention | Pick | Shift | Switch):
            return True
        if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return False
        return type(m).__module__.startswith("torch.nn.modules")

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_filename.startswith(_OWN):
            frame = frame.f_back
        if frame is not None and node.op.startswith("call"):
            node.stack_trace = f'File "{frame.f_code.co_filename}", line {frame.f_lineno}'
        return node


def trace(net: nn.Module) -> fx.GraphModule:
    """Returns the network as a graph module that shares its parameters, buffers and layers.

    Raises:
        TraceError: the network cannot be traced; the message names the line.
        ConfigError: it has no parameters.
    """
    if not any(True for _ in net.parameters()):
        raise ConfigError(f"network {type(net).__name__}: has no parameters, so nothing can be cut")
    if isinstance(net, fx.GraphModule):
        return net
    lowered = lower(net)
    with modes_kept(net), modes_kept(lowered):
        training = _graph(lowered.train())
        traced = fx.GraphModule(lowered, training, class_name=type(net).__name__)
        constants = _forget_constants(lowered)
        evaluating = _graph(lowered.eval())
        others = _forget_constants(lowered)
    traced.training = net.training
    _settle_modes(traced, training, evaluating)
    if not all(map(torch.equal, constants, others)):
        raise TraceError("network: makes other constants in training than in evaluation")
    make_explicit(traced, place)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


@contextmanager
def modes_kept(net: nn.Module) -> Iterator[None]:
    """Gives every module back the mode, training or evaluation, that it had."""
    was = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, training in was:
            module.training = training


def execute(traced: fx.GraphModule, example: Tensor) -> dict[fx.Node, Any]:
    """Returns the result of every node on the example, in evaluation mode without gradients."""
    runner = Recording(traced)
    try:
        with modes_kept(traced), torch.no_grad(), torch.random.fork_rng(devices=[]):
            traced.eval()
            runner.run(example.clone())
    except Exception as error:
        raise TraceError(
            f"network: fails on inputs of shape {list(example.shape)} ({_first_line(error)})"
        ) from error
    return runner.results


def place(node: fx.Node) -> str:
    """Returns where a node comes from, for messages: its name, what it calls and the line of code, if known."""
    what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    found = re.search(r'File "(.+)", line (\d+)', node.stack_trace or "")
    line = [f"{Path(found[1]).name}:{found[2]}"] if found else []
    return f"node {node.name!r} ({', '.join([what, *line])})"


def operations(net: fx.GraphModule) -> list[str]:
    """Returns the operations of a network as text, one in a line."""
    lines = []
    for node in net.graph.nodes:
        what = getattr(node.target, "__name__", str(node.target))
        if node.op == "call_module":
            what += f":{type(net.get_submodule(what)).__name__}"
        given = [*map(str, node.args), *(f"{k}={v}" for k, v in node.kwargs.items())]
        lines.append(f"{node.name} = {what}({', '.join(given)})")
    return lines


def check_same(net: nn.Module, traced: fx.GraphModule, example: Tensor) -> None:
    """Refuses a graph that computes something else than its network.

    Raises:
        TraceError: outputs differ, as when a tensor is changed in place (``x += y``) and read under another name.
    """
    with modes_kept(net), torch.no_grad(), torch.random.fork_rng(devices=[]):
        before = outputs(net.eval(), example)
    with modes_kept(traced), torch.no_grad(), torch.random.fork_rng(devices=[]):
        after = outputs(traced.eval(), example)
    for one, other in zip(before, after, strict=True):
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise TraceError(
                f"network {type(net).__name__}: computes something else once traced; look for tensors that are changed in "
                "place (x += y) and read under another name, and for values remembered between calls"
            )


def outputs(net: nn.Module, example: Tensor) -> list[Tensor]:
    """Returns all tensors that a network gives, whatever they are packed in."""
    found = tree_leaves(net(example.clone()))
    return [part for part in found if isinstance(part, Tensor)]


class Recording(fx.Interpreter):
    """Runs a graph and keeps what every node gave; nothing of it is changed in place later."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False
        self.results: dict[fx.Node, Any] = {}

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        """Returns what a node reads, copied if it would change it."""
        found = super().fetch_args_kwargs_from_env(n)
        copied = isinstance(self.module, fx.GraphModule) and changes_in_place(self.module, n)
        return tree_map_only(Tensor, Tensor.clone, found) if copied else found

    def run_node(self, n: fx.Node) -> Any:
        """Returns what a node gives, and keeps it."""
        self.results[n] = super().run_node(n)
        return self.results[n]


def _graph(net: nn.Module) -> fx.Graph:
    tracer = _Tracer()
    try:
        graph = tracer.trace(net, concrete_args=_defaults(net))
    except Exception as error:
        raise TraceError(
            f"network {type(net).__name__}: cannot be traced {_where(error)}: {_first_line(error)}; "
            "move what depends on values (if, for, len of a tensor) out of forward, or into a module of its own"
        ) from error
    _drop_checks(graph)
    return graph


def _drop_checks(graph: fx.Graph) -> None:
    """Removes assertions, among them those that optional arguments have their defaults, and those arguments."""
    for check in [node for node in graph.nodes if node.target in _CHECKS]:
        asked = check.all_input_nodes
        graph.erase_node(check)
        for node in asked:
            if node.op == "call_function" and not node.users:
                graph.erase_node(node)
    for node in [node for node in graph.nodes if node.op == "placeholder" and node.args]:
        graph.erase_node(node)


def _defaults(net: nn.Module) -> dict[str, Any]:
    """Returns the optional arguments of a network's forward pass."""
    given = inspect.signature(net.forward).parameters.values()
    return {p.name: p.default for p in given if p.default is not p.empty}


def _forget_constants(net: nn.Module) -> list[Tensor]:
    """Takes back the tensors that tracing noted at a network because its forward pass makes them; returns them."""
    names = [name for name in vars(net) if name.startswith("_tensor_constant")]
    names += [name for name in net._buffers if name.startswith("_tensor_constant")]
    found = [getattr(net, name) for name in names]
    for name in names:
        delattr(net, name)
    return found


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _where(error: Exception) -> str:
    """Returns the innermost line that belongs neither to torch nor to netdial."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith(_OWN)]
    if not theirs:
        return "(no line known)"
    last = theirs[-1]
    return f"at {Path(last.filename).name}:{last.lineno} in {last.name} ({last.line})"


def _settle_modes(traced: fx.GraphModule, training: fx.Graph, evaluating: fx.Graph) -> None:
    """Makes one graph serve both modes, or refuses."""
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
                f"network: {place(first)} differs between training and evaluation; "
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
