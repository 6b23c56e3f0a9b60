"""From a module to its graph of operations, by ``torch.fx``.

The graph keeps the user's submodules and parameters, the same objects under the same names. Composite modules that cannot be
traced are lowered first (``lower.py``). Control flow that depends on values cannot be traced; the message says where it is.

Functional dropout is recorded with the mode of the moment. The graph is taken in both modes: where they differ only there, a
``Dropout`` module takes its place; any other difference is refused.
"""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from netdial.core.errors import ConfigError, TraceError
from netdial.shrink.attention import Attention
from netdial.shrink.lower import lower
from netdial.shrink.switch import Switch

_DROPOUT: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    torch.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
}


class _Tracer(fx.Tracer):
    """Records the modules that torch and netdial define as single operations."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, Attention | Switch):
            return True
        if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return False
        return type(m).__module__.startswith("torch.nn.modules")


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
    lowered, training = lower(net), net.training
    try:
        graphs = [_graph(lowered.train(mode)) for mode in (True, False)]
    finally:
        lowered.train(training)
        net.train(training)
    traced = fx.GraphModule(lowered, graphs[0], class_name=type(net).__name__)
    _settle_modes(traced, *graphs)
    return traced.train(training)


def execute(traced: fx.GraphModule, example: Tensor) -> dict[fx.Node, Any]:
    """Returns the result of every node on the example, in evaluation mode without gradients."""
    was = [(module, module.training) for module in traced.modules()]
    runner = _Recording(traced.eval())
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            runner.run(example)
    except TraceError:
        raise
    except Exception as error:
        raise TraceError(
            f"network: fails on inputs of shape {list(example.shape)} ({str(error).splitlines()[0]})"
        ) from error
    finally:
        for module, training in was:
            module.training = training
    return runner.results


def place(node: fx.Node) -> str:
    """Returns where a node comes from, for messages: its name, what it calls and the line of code, if known."""
    what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    line = next(
        (part.strip() for part in reversed((node.stack_trace or "").splitlines()) if part.strip()),
        "",
    )
    return f"node {node.name!r} ({what}{f', {line}' if line else ''})"


class _Recording(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.results[n] = super().run_node(n)
        return self.results[n]


def _graph(net: nn.Module) -> fx.Graph:
    tracer = _Tracer()
    tracer.record_stack_traces = True
    try:
        return tracer.trace(net)
    except Exception as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TraceError(
            f"network {type(net).__name__}: cannot be traced {_where(error)}: {what}; "
            "move what depends on values (if, for, len of a tensor) out of forward, or into a module of its own"
        ) from error


def _where(error: Exception) -> str:
    """Returns the innermost line that belongs neither to torch nor to netdial."""
    ours, torchs = str(Path(__file__).parent), str(Path(torch.__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not f.filename.startswith((ours, torchs))]
    if not theirs or theirs[-1].filename.endswith(inspect.getfile(traceback)):
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
    for node, (first, second) in zip(list(traced.graph.nodes), pairs, strict=True):
        same = (first.op, first.target) == (second.op, second.target)
        plain = str((first.args, first.kwargs)) == str((second.args, second.kwargs))
        if same and node.op == "call_function" and node.target in _DROPOUT and not plain:
            _dropout_module(traced, node)
        elif not (same and plain):
            raise TraceError(
                f"network: {place(first)} differs between training and evaluation; "
                "move what depends on self.training into a module"
            )
    traced.graph.eliminate_dead_code()
    traced.recompile()


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
