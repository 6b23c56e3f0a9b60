"""Finds the numbers inside a network that are the same for every input, so that channels can be removed exactly.

The network is run on an unknown input. An unknown number is NaN and propagates; what comes out as a number has that value for
every input: a channel behind a switch at 0, and the result of BatchNorm and an activation on it. Products with 0 are
0, sums over channels are known where every unknown one has weight 0.

A channel can go without a trace if every node that sums over it finds it known, and can take up what it contributes in its
bias. That contribution has to be the same at every position: with a zero-padded border it is not, unless the channel is 0. So
the padding rule is not written down here; it is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase

from netdial.channels.layers.gated import Gated
from netdial.channels.layers.mode import ByMode
from netdial.channels.layers.switch import Switch
from netdial.channels.rules import FUNCTIONS, METHODS, MODULES
from netdial.channels.rules.elementwise import DROPOUTS, elementwise
from netdial.channels.trace.running import Recording, execute
from netdial.core.inputs import PartedInputs
from netdial.core.outputs import evaluating

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WEIGHTED += (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)  # type: ignore[assignment]
_PRODUCTS = ("mul", "mul_", "imul")
_QUOTIENTS = ("truediv", "itruediv", "div", "div_", "true_divide")
_PICKS = ("getitem", "gather", "index_select")
_PUTS = tuple(
    f"{name}{end}"
    for name in ("index_add", "index_copy", "scatter", "scatter_add")
    for end in ("", "_")
)
_SUMS = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "matmul",
    "bmm",
    "mm",
    "__matmul__",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)


def known(traced: fx.GraphModule, example: Tensor, *, continues: bool) -> dict[fx.Node, Any]:
    """Returns for every node its result with NaN where it depends on the input.

    Args:
        traced: the network.
        example: inputs ``[b, ...]``; only their shape matters.
        continues: training goes on, so a constant has to be the same in training as in evaluation (BatchNorm, dropout).
    """
    results = execute(traced, example)
    runner = _Known(traced, results, continues=continues)
    with evaluating(traced):
        runner.run(_unknown(results[next(iter(traced.graph.nodes))]))
    return runner.results


class _Known(Recording):
    """Runs a graph on unknown inputs."""

    def __init__(
        self, traced: fx.GraphModule, results: dict[fx.Node, Any], *, continues: bool
    ) -> None:
        super().__init__(traced)
        self._traced, self._shapes, self._continues = traced, results, continues

    def run_node(self, n: fx.Node) -> Any:
        try:
            out = self._call(n) if n.op.startswith("call") else super().run_node(n)
        except (RuntimeError, TypeError, ValueError, IndexError):
            out = _unknown(self._shapes[n])
        self.results[n] = out
        return out

    def _call(self, node: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if node.op == "call_module":
            module = self._traced.get_submodule(str(node.target))
            if isinstance(module, ByMode):
                return self._by_mode(node, *args)
            if MODULES.get(type(module)) is None or isinstance(module, PartedInputs):
                return _unknown(self._shapes[node])
            special = self._module(module, node, *args)
            return self._plain(node, args, kwargs) if special is None else special
        name = getattr(node.target, "__name__", node.target)
        if name in (*_PICKS, *_PUTS) and not kwargs and _places_unknown(args):
            return self._at_places(node, str(name), args)
        if _rule(node) is None:
            return _unknown(self._shapes[node])
        if name in _SUMS and len(args) > 1:
            return _sum(self._bind(node), args, kwargs)
        if name == "einsum" and len(args) == 3:
            call = self._bind(node)
            return _sum(lambda *parts: call(args[0], *parts), args[1:], {})
        if name in _PRODUCTS and len(args) == 2:
            return _product(*args)
        if node.target is F.scaled_dot_product_attention:
            return self._attended(node, args, kwargs)
        if str(name).startswith("fft_"):
            return _twice(self._bind(node), args, kwargs)
        out = self._plain(node, args, kwargs)
        return _over(out, args) if name in _QUOTIENTS or name == "normalize" else out

    def _attended(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Returns what attention gives, 0 where values are 0 at all positions, whatever their weights and its mask are."""
        out = _unknown(self._shapes[node])
        with suppress(RuntimeError):  # an unknown mask is of no type that it takes
            out = self._plain(node, args, kwargs)
        silent = (args[2] == 0).all(-2, keepdim=True)
        if silent.ndim > 2 and silent.shape[-3] not in (1, out.shape[-3]):  # shared by queries
            silent = silent.repeat_interleave(out.shape[-3] // silent.shape[-3], -3)
        return out.masked_fill(silent, 0)

    def _at_places(self, node: fx.Node, name: str, args: tuple[Any, ...]) -> Any:
        """Returns what is picked from or put at unknown places: a line of one number picked from, or zeros put into zeros."""
        (x, *given), result = args, self._shapes[node]
        dims = given[:1]
        if name in _PUTS:
            parts = [x, *(part for part in given[2:] if isinstance(part, Tensor))]
            zero = [(part == 0).all(dims[0], keepdim=True) for part in parts]
            alike = len(parts) == 2 and zero[0].shape == zero[1].shape
            out = _unknown(result)
            return out.masked_fill(zero[0] & zero[1], 0) if alike else out
        _, *real = fx.node.map_arg(node.args, self._shapes.__getitem__)
        if name == "getitem":
            asked = given[0] if isinstance(given[0], tuple) else (given[0],)
            wanted: Any = real[0] if isinstance(real[0], tuple) else (real[0],)
            if any(part is None or part is Ellipsis for part in asked):
                return _unknown(result)
            dims, at = [], 0
            for part in wanted:
                is_mask = isinstance(part, Tensor) and part.dtype == torch.bool
                over = range(at, at + (part.ndim if is_mask else 1))
                dims, at = dims + list(over) * isinstance(part, Tensor), over.stop
        even = x.amax(dims, keepdim=True) == x.amin(
            dims, keepdim=True
        )  # False where anything is NaN
        return getattr(self, node.op)(node.target, (x.masked_fill(~even, torch.nan), *real), {})

    def _by_mode(self, node: fx.Node, training: Any, evaluating: Any) -> Any:
        """Returns what is known of what depends on the mode; where training goes on, only what is the same in both."""
        if not self._continues or not isinstance(evaluating, Tensor):
            return evaluating if not self._continues else _unknown(self._shapes[node])
        if not isinstance(training, Tensor) or training.shape != evaluating.shape:
            return _unknown(self._shapes[node])
        if not evaluating.is_floating_point():
            return evaluating if torch.equal(training, evaluating) else _unknown(evaluating)
        return torch.where(training == evaluating, evaluating, torch.nan)

    def _bind(self, node: fx.Node) -> Callable[..., Any]:
        return lambda *args, **kwargs: getattr(self, node.op)(node.target, args, kwargs)

    def _plain(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """Returns what an operation makes of NaN, which most of them pass on."""
        out = getattr(self, node.op)(node.target, args, kwargs)
        parts = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)]
        if isinstance(out, Tensor) and any(_has_nan(part) for part in parts):
            if not _may_be_nan(out):
                return _unknown(out)
            rule = (
                MODULES.get(type(self.fetch_attr(str(node.target))))
                if node.op == "call_module"
                else _rule(node)
            )
            return _spread(out, parts) if rule is elementwise else out
        return out

    def _module(self, module: nn.Module, node: fx.Node, x: Tensor, *rest: Any) -> Any:
        """Returns the outputs of layers that know better than NaN; None for others."""
        if isinstance(module, _WEIGHTED):
            return _weighted(module, x)
        if isinstance(module, Switch):
            return _product(x, module.numbers(x))
        if isinstance(module, _NormBase):
            return self._by_channel(module, x)
        if isinstance(module, nn.RMSNorm):
            out = _scaled_by_0(module, module(x), -1 if x.ndim else 0)
            return out.masked_fill(x == 0, 0)
        if isinstance(module, nn.LayerNorm):
            return _scaled_by_0(module, module(x), -1 if x.ndim else 0)
        if isinstance(module, nn.GroupNorm):
            return _scaled_by_0(module, module(x), 1)
        if isinstance(module, DROPOUTS):
            return self._dropout(module, x)
        if isinstance(module, nn.Embedding) and module.max_norm is None:
            lowest, highest = module.weight.amin(0), module.weight.amax(0)
            row = torch.where(lowest == highest, lowest, torch.nan)
            return row.expand(self._shapes[node].shape).clone()
        if isinstance(module, Gated):  # who reads a unit is told by the switches behind it
            return _unknown(self._shapes[node])
        if isinstance(module, nn.RNNBase):
            # from a start state a unit goes on though its weights are 0
            if rest and rest[0] is not None:
                return _unknown(self._shapes[node])
            return _recurrent(module, self._shapes[node])
        return None

    def _by_channel(self, module: _NormBase, x: Tensor) -> Tensor:
        """Returns a channel's output if it is known; where training goes on, only if training gives the same."""
        out = _scaled_by_0(module, module(x), 1)
        if not self._continues or module.running_mean is None:
            return out
        others = [d for d in range(x.ndim) if d != 1]
        constant = x.amax(others) == x.amin(others)  # False where anything is NaN
        trained = torch.zeros_like(module.running_mean) if module.bias is None else module.bias
        off = torch.zeros_like(constant) if module.weight is None else module.weight == 0
        value = out.transpose(0, 1).flatten(1)[:, 0]
        same = off | (constant & torch.isclose(value, trained, rtol=1e-12, atol=0))
        return torch.where(same.view(1, -1, *[1] * (x.ndim - 2)), out, torch.nan)

    def _dropout(self, module: nn.Module, x: Tensor) -> Tensor:
        if not self._continues or getattr(module, "p", 0.0) == 0:
            return x
        if isinstance(module, nn.AlphaDropout):
            return torch.full_like(x, torch.nan)
        return torch.where(x == 0, x, torch.nan)


def _rule(node: fx.Node) -> Callable[..., Any] | None:
    return METHODS.get(str(node.target)) if node.op == "call_method" else FUNCTIONS.get(node.target)


def _scaled_by_0(module: Any, out: Tensor, dim: int) -> Tensor:
    """Returns what a normalisation gives, its bias wherever its scale is 0."""
    if module.weight is None:
        return out
    shape = module.weight.shape if dim < 0 else (-1, *[1] * (out.ndim - 2))
    bias = getattr(module, "bias", None)
    shift = torch.zeros_like(module.weight) if bias is None else bias
    return torch.where((module.weight == 0).view(shape), shift.view(shape), out)


def _weighted(module: nn.Module, x: Tensor) -> Tensor:
    """Returns a linear or convolution layer's outputs, known where every unknown input has weight 0."""
    out: Tensor = module(_without_nan(x))
    touched = {name: (p != 0).to(p.dtype) for name, p in module.named_parameters()}
    if "bias" in touched:
        touched["bias"] = torch.zeros_like(touched["bias"])
    reach = torch.func.functional_call(module, touched, (x.isnan().to(x.dtype),))
    return out.masked_fill(reach > 0, torch.nan)


def _sum(call: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Returns sums of products of two tensors, known where every unknown number meets a 0."""
    x, y, *rest = args
    out = call(_without_nan(x), _without_nan(y), *rest, **kwargs)
    plain = {name: value for name, value in kwargs.items() if name != "bias"}
    rest = [None, *rest[1:]] if rest else []
    reach = call(x.isnan().to(x.dtype), (y != 0).to(y.dtype), *rest, **plain)
    reach = reach + call((x != 0).to(x.dtype), y.isnan().to(y.dtype), *rest, **plain)
    return out.masked_fill(reach > 0, torch.nan)


def _twice(call: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Returns a transform, known where other numbers give the same: NaN spreads to signals that are computed together."""
    x, *rest = args
    others = torch.linspace(1, 2, x.numel()).square().view(x.shape).to(x)
    found = call(_without_nan(x), *rest, **kwargs)
    again = call(x.where(~x.isnan(), others), *rest, **kwargs)
    return found.masked_fill(found != again, torch.nan)


def _recurrent(module: nn.RNNBase, result: Any) -> Any:
    """Returns the outputs of a recurrence: 0 for units of which all weights and biases are 0, the others unknown."""
    out, state = _unknown(result)
    sides = 1 + module.bidirectional
    for number in range(module.num_layers * sides):
        suffix = f"_l{number // sides}" + ("_reverse" if number % sides else "")
        held = {name: p for name, p in module.named_parameters() if name.endswith(suffix)}
        projection = held.pop(f"weight_hr{suffix}", None)
        rows = [p.unflatten(0, (-1, module.hidden_size)) for p in held.values()]
        flat = torch.cat([p.movedim(1, 0).flatten(1) for p in rows], 1)
        cells = (flat == 0).all(1).nonzero().flatten()
        silent = cells if projection is None else (projection == 0).all(1).nonzero().flatten()
        parts = state if isinstance(state, tuple) else (state,)
        for part, off in zip(parts, (silent, cells), strict=False):
            part[number].index_fill_(-1, off, 0)
        if number // sides == module.num_layers - 1:
            width = module.proj_size or module.hidden_size
            out.index_fill_(-1, silent + width * (number % sides), 0)
    return out, state


def _product(one: Any, other: Any) -> Any:
    """Returns the product, 0 wherever either side is 0."""
    out = one * other
    if not isinstance(out, Tensor):
        return out
    zeros = [torch.as_tensor(part == 0) for part in (one, other)]
    return out.masked_fill(zeros[0] | zeros[1], 0)


def _over(out: Any, args: tuple[Any, ...]) -> Any:
    """Returns a quotient, 0 where 0 is divided by what is unknown."""
    one = args[0]
    if not isinstance(out, Tensor) or not isinstance(one, Tensor) or not out.is_floating_point():
        return out
    return out.masked_fill((one == 0) & out.isnan(), 0)


def _spread(out: Tensor, parts: list[Tensor]) -> Tensor:
    """Returns the result, unknown wherever any input is: an activation may make a number of NaN."""
    for part in parts:
        if _may_be_nan(part):
            out = out.masked_fill(part.isnan().expand_as(out), torch.nan)
    return out


def _without_nan(x: Tensor) -> Tensor:
    return x.masked_fill(x.isnan(), 0)


def _places_unknown(args: tuple[Any, ...]) -> bool:
    """Whether a tensor of floating numbers is indexed by what is not known."""
    x, *given = args
    places = given[0] if given and isinstance(given[0], tuple) else given[:2]
    known = isinstance(x, Tensor) and x.is_floating_point()
    return known and any(isinstance(part, Tensor) and _has_nan(part) for part in places)


def _may_be_nan(part: Tensor) -> bool:
    return part.is_floating_point() or part.is_complex()


def _has_nan(part: Tensor) -> bool:
    return _may_be_nan(part) and bool(part.isnan().any())


def _unknown(result: Any) -> Any:
    """Returns a result of the same shapes of which nothing is known."""
    if isinstance(result, Tensor):
        kind = result.dtype if _may_be_nan(result) else torch.get_default_dtype()
        return torch.full(result.shape, torch.nan, dtype=kind, device=result.device)
    if isinstance(result, tuple | list):
        return tuple(_unknown(part) for part in result)
    return result
