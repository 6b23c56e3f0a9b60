"""Running a network of many zeros faster: each linear layer in the form that was measured to be the fastest here.

Forms: ``dense``; ``sparse``, its numbers that are not 0 in compressed rows (CSR); ``packed``, a dense layer of the rows and
columns that are not empty. Which one is fastest depends on the machine, the batch and where the zeros are, so it is
measured on the inputs given, and the whole network once more: one that is not faster as a whole stays as it is.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import linear

from netdial.core.arguments import checked
from netdial.core.errors import ShapeError
from netdial.core.outputs import evaluated, evaluating, same_outputs
from netdial.measure.latency import in_turns, until

_SECONDS, _WINDOW_S, _TURNS = 0.1, 0.004, 5
_TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest: sums are taken in another order."""
_DENSE_ENOUGH = 0.5
"""Density from which a layer is left as it is."""


class SparseLinear(nn.Module):
    """A linear layer in compressed rows."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            rows = layer.weight.detach().to_sparse_csr()
        self.bias: Tensor | None
        self.register_buffer("weight", rows)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach()[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """Returns W x + b for inputs ``[..., I]``."""
        weight, bias = self.get_buffer("weight"), self.bias
        found = weight @ x.reshape(-1, x.shape[-1]).T
        found = found if bias is None else found + bias
        return found.T.reshape(*x.shape[:-1], len(found))


class PackedLinear(nn.Module):
    """A linear layer of which empty rows and columns are left out."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach()
        rows, columns = (weight != 0).any(dim=1), (weight != 0).any(dim=0)
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        self.register_buffer("rows", rows.nonzero().flatten())
        self.register_buffer("columns", columns.nonzero().flatten())
        self.register_buffer("weight", weight[rows][:, columns].contiguous())
        self.register_buffer("bias", bias.clone())
        self._every = bool(rows.all())

    def forward(self, x: Tensor) -> Tensor:
        """Returns W x + b for inputs ``[..., I]``."""
        rows, weight, bias = (self.get_buffer(n) for n in ("rows", "weight", "bias"))
        inside = x.index_select(-1, self.get_buffer("columns"))
        if self._every:
            return linear(inside, weight, bias)
        found = bias.expand(*x.shape[:-1], len(bias)).contiguous()
        return found.index_add(-1, rows, linear(inside, weight))


FORMS: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "sparse": SparseLinear,
    "packed": PackedLinear,
}
"""Forms beside ``dense``, by name."""


@dataclass(frozen=True)
class LayerForm:
    """What was measured of one layer.

    Attributes:
        name: of the layer.
        density: part of its weights that are not 0.
        ms: form -> milliseconds of one call.
        form: the one that was taken.
    """

    name: str
    density: float
    ms: dict[str, float]
    form: str


@dataclass(frozen=True, eq=False)
class MeasuredForm:
    """A network in the forms that are fastest.

    Attributes:
        net: the network; where ``speedup`` is 1, a copy of the one given.
        layers: its linear layers.
        dense_ms: milliseconds of one call of the network given.
        ms: of the one in ``net``.
    """

    net: nn.Module
    layers: tuple[LayerForm, ...]
    dense_ms: float
    ms: float

    @property
    def speedup(self) -> float:
        """Times as fast as the network given."""
        return self.dense_ms / self.ms


@checked
def run_sparse(net: nn.Module, x: Tensor) -> MeasuredForm:
    """Returns a network in evaluation mode whose linear layers have the fastest form for such inputs.

    Args:
        net: a network of many zeros, as ``load_model`` returns it from a compressed file; it is left as it is.
        x: inputs ``[B, ...]``; their number is the batch size that times are of.

    Raises:
        ShapeError: there are no inputs.
    """
    if len(x) < 1:
        raise ShapeError("run_sparse: no inputs; give at least one, as the network takes them")
    found = copy.deepcopy(net).eval()
    layers = {n: m for n, m in found.named_modules() if type(m) is nn.Linear}
    inputs = _inputs(found, layers, x)
    rows = []
    for name, layer in layers.items():
        density = float((layer.weight != 0).float().mean()) if layer.weight.numel() else 1.0
        if name not in inputs or density > _DENSE_ENOUGH:
            continue
        forms = {"dense": layer, **{form: make(layer) for form, make in FORMS.items()}}
        times = _times(list(forms.values()), inputs[name])
        ms = dict(zip(forms, times, strict=True))
        form = min(ms, key=lambda one: ms[one])
        rows.append(LayerForm(name, density, ms, form))
        if form != "dense":
            parent, _, last = name.rpartition(".")
            setattr(found.get_submodule(parent), last, forms[form])
    before, after = _times([net, found], x)
    same = same_outputs(evaluated(net, x), evaluated(found, x), tolerance=_TOLERANCE)
    if after >= before or not same:
        return MeasuredForm(copy.deepcopy(net).eval(), tuple(rows), before, before)
    return MeasuredForm(found, tuple(rows), before, after)


def _inputs(net: nn.Module, layers: dict[str, nn.Linear], x: Tensor) -> dict[str, Tensor]:
    """Returns what each layer gets when the network runs."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[name] = given[0].detach()

    hooks = [m.register_forward_pre_hook(partial(keep, n)) for n, m in layers.items()]
    try:
        evaluated(net, x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _times(nets: list[nn.Module], x: Tensor) -> list[float]:
    """Returns milliseconds of one call of each, the lowest reading of several turns."""
    with evaluating(*nets):
        calls = [partial(net, x) for net in nets]
        found = in_turns(calls, more=until(_SECONDS, _TURNS), window_s=_WINDOW_S)
    return [1e3 * min(readings) for readings in found]
