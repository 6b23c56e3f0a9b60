"""Which numbers inside a network are the same for every input: what makes an exact removal possible.

The network is run on an input of which nothing is known. An unknown number is NaN and spreads; what comes out as a number is
that number for every input: a channel behind a switch at 0, what BatchNorm and an activation make of it. Products with 0 are
0, sums over channels are known where every unknown one has weight 0.

A channel can go without a trace if every node that sums over it finds it known, and can take up what it contributes in its
bias. That contribution has to be the same at every position: with a zero-padded border it is not, unless the channel is 0. So
the padding rule is not written down here; it is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netdial.shrink.attention import Attention
from netdial.shrink.rules import FUNCTIONS, METHODS, MODULES
from netdial.shrink.rules.elementwise import DROPOUTS, elementwise
from netdial.shrink.switch import Switch
from netdial.shrink.trace import execute

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WEIGHTED += (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)  # type: ignore[assignment]
_PRODUCTS = ("mul", "mul_", "imul")


def known(traced: fx.GraphModule, example: Tensor, *, continues: bool) -> dict[fx.Node, Any]:
    """Returns for every node its result with NaN where it depends on the input.

    Args:
        traced: the network.
        example: inputs ``[b, ...]``; only their shape matters.
        continues: training goes on, so a constant has to be the same in training as in evaluation (BatchNorm, dropout).
    """
    results = execute(traced, example)
    modes = [(module, module.training) for module in traced.modules()]
    runner = _Known(traced.eval(), results, continues=continues)
    try:
        with torch.no_grad():
            runner.run(torch.full_like(results[next(iter(traced.graph.nodes))], torch.nan))
    finally:
        for module, training in modes:
            module.training = training
    return runner.found


def respond(traced: fx.GraphModule, node: fx.Node, x: Tensor, found: dict[fx.Node, Any]) -> Tensor:
    """Returns what a linear or convolution node makes of an input, without its bias."""

    def call(x: Tensor) -> Tensor:
        if node.op == "call_module":
            out: Tensor = traced.get_submodule(str(node.target))(x)
            return out
        args = fx.node.map_arg(node.args[1:], found.__getitem__)
        assert callable(node.target)
        result: Tensor = node.target(x, *args, **fx.node.map_arg(node.kwargs, found.__getitem__))
        return result

    with torch.no_grad():
        return call(x) - call(torch.zeros_like(x))


class _Known(fx.Interpreter):
    """Runs a graph on unknown inputs."""

    def __init__(
        self, traced: fx.GraphModule, results: dict[fx.Node, Any], *, continues: bool
    ) -> None:
        super().__init__(traced)
        self.found: dict[fx.Node, Any] = {}
        self._results, self._continues = results, continues

    def run_node(self, n: fx.Node) -> Any:
        try:
            out = self._special(n) if n.op.startswith("call") else super().run_node(n)
        except (RuntimeError, TypeError, ValueError, IndexError):
            out = _unknown(self._results[n])
        self.found[n] = out
        return out

    def _special(self, node: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, _WEIGHTED):
            return _weighted(module, args[0])
        if isinstance(module, Switch):
            shape = [1] * args[0].ndim
            shape[module.dim] = -1
            return _product(args[0], module.theta.view(shape))
        if isinstance(module, _BatchNorm):
            return self._batch_norm(module, args[0])
        if isinstance(module, DROPOUTS):
            return self._dropout(module, args[0])
        if isinstance(module, Attention | nn.RNNBase) or self._rule(node, module) is None:
            return _unknown(self._results[node])
        if node.target is F.linear and not _has_nan(args[1:]):
            return _weighted_function(node.target, args, kwargs)
        if getattr(node.target, "__name__", node.target) in _PRODUCTS and len(args) == 2:
            return _product(*args)
        out = getattr(self, node.op)(node.target, args, kwargs)
        parts = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)]
        if isinstance(out, Tensor) and any(_has_nan([part]) for part in parts):
            if not out.is_floating_point():
                return _unknown(out)
            if self._rule(node, module) is elementwise:
                return _spread(out, parts)
        return out

    def _rule(self, node: fx.Node, module: Any) -> Callable[..., Any] | None:
        if module is not None:
            return MODULES.get(type(module))
        if node.op == "call_method":
            return METHODS.get(str(node.target))
        return FUNCTIONS.get(node.target)

    def _batch_norm(self, module: _BatchNorm, x: Tensor) -> Tensor:
        out: Tensor = module(x)
        if not self._continues:
            return out
        others = [d for d in range(x.ndim) if d != 1]
        constant = x.amax(others) == x.amin(others)  # False where anything is NaN
        trained = (
            module.bias if module.bias is not None else torch.zeros_like(constant, dtype=x.dtype)
        )
        value = out.transpose(0, 1).flatten(1)[:, 0]
        same = constant & torch.isclose(value, trained, rtol=1e-12, atol=0)
        shape = [1, -1, *[1] * (x.ndim - 2)]
        return torch.where(same.view(shape), out, torch.nan)

    def _dropout(self, module: nn.Module, x: Tensor) -> Tensor:
        if not self._continues or getattr(module, "p", 0.0) == 0:
            return x
        if isinstance(module, nn.AlphaDropout):
            return torch.full_like(x, torch.nan)
        return torch.where(x == 0, x, torch.nan)


def _weighted(module: nn.Module, x: Tensor) -> Tensor:
    """Returns a linear or convolution layer's outputs, known where every unknown input has weight 0."""
    out: Tensor = module(x.nan_to_num())
    touched = {name: (p != 0).to(p.dtype) for name, p in module.named_parameters()}
    if "bias" in touched:
        touched["bias"] = torch.zeros_like(touched["bias"])
    reach = torch.func.functional_call(module, touched, (x.isnan().to(x.dtype),))
    return out.masked_fill(reach > 0, torch.nan)


def _weighted_function(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    x, weight, *rest = args
    out: Tensor = target(x.nan_to_num(), weight, *rest, **kwargs)
    reach = target(x.isnan().to(x.dtype), (weight != 0).to(x.dtype))
    return out.masked_fill(reach > 0, torch.nan)


def _product(one: Any, other: Any) -> Any:
    """Returns the product, 0 wherever either side is 0."""
    out = one * other
    if not isinstance(out, Tensor):
        return out
    zeros = [part == 0 for part in (one, other) if isinstance(part, Tensor)]
    zeros += [torch.tensor(part == 0) for part in (one, other) if not isinstance(part, Tensor)]
    return out.masked_fill(zeros[0] | zeros[1], 0)


def _spread(out: Tensor, parts: list[Tensor]) -> Tensor:
    """Returns the result, unknown wherever any input is: an activation may make a number of NaN."""
    for part in parts:
        if part.is_floating_point():
            out = out.masked_fill(part.isnan().expand_as(out), torch.nan)
    return out


def _has_nan(parts: Any) -> bool:
    return any(
        isinstance(part, Tensor) and part.is_floating_point() and bool(part.isnan().any())
        for part in parts
    )


def _unknown(result: Any) -> Any:
    """Returns a result of the same shapes of which nothing is known."""
    if isinstance(result, Tensor):
        kind = result.dtype if result.is_floating_point() else torch.get_default_dtype()
        return torch.full(result.shape, torch.nan, dtype=kind)
    if isinstance(result, tuple | list):
        return tuple(_unknown(part) for part in result)
    return result
