"""Graphs run operation by operation: nothing that one gave is changed in place later, and what each gave can be kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_map_only

from netdial.channels.layers.keeping import Keeping
from netdial.channels.nodes import changes_in_place, module_of
from netdial.core.errors import failed
from netdial.core.outputs import evaluating, made_in


class Running(fx.Interpreter):
    """Runs a graph so that nothing a node gave is changed in place later."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        """Returns what a node reads, copied if it would change it."""
        found, net = super().fetch_args_kwargs_from_env(n), self.module
        if isinstance(net, fx.GraphModule) and (
            changes_in_place(net, n) or isinstance(module_of(net, n), Keeping)
        ):
            found = tree_map_only(Tensor, Tensor.clone, found)
        return found


_CONVERSIONS = ("float", "half", "bfloat16")


class Recording(Running):
    """Runs a graph and keeps what every node gave."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Returns what a node gives, and keeps it."""
        self.results[n] = super().run_node(n)
        return self.results[n]


class InDouble(Recording):
    """Runs a graph in double precision, past conversions to less exact numbers."""

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        """Returns what a node reads, floating number types replaced."""
        found = super().fetch_args_kwargs_from_env(n)
        return tree_map_only(torch.dtype, _at_least_double, found)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Returns what a method gives; those that convert give double precision."""
        return super().call_method("double" if target in _CONVERSIONS else target, args, kwargs)


def _at_least_double(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else dtype


def execute(traced: fx.GraphModule, example: Tensor, *, double: bool = False) -> dict[fx.Node, Any]:
    """Returns the result of every node on the example, in evaluation mode without gradients.

    Args:
        traced: the network.
        example: inputs ``[b, ...]``.
        double: stay in double precision where the code converts to a less exact type, as networks with normalisation in
            float32 do; the network and the example are in double precision already.
    """
    runner = InDouble(traced) if double else Recording(traced)
    made = torch.float64 if double else torch.get_default_dtype()
    try:
        with made_in(made), evaluating(traced), torch.random.fork_rng(devices=[]):
            runner.run(example.clone())
    except Exception as error:
        raise failed(traced, example.shape, error) from error
    return runner.results
