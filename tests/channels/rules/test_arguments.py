"""Arguments of operations: orders, names and defaults that differ between a function, a method, a layer and ``aten``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan

from ..networks import mask

X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Made = Callable[[Any, Tensor], Tensor]


class Between(nn.Module):
    """Two layers and what is done between them; a question about shapes stops ``torch.fx`` if told so."""

    def __init__(self, run: Made, *, asks: bool) -> None:
        super().__init__()
        self.run, self.asks = run, asks
        self.one, self.mid, self.two = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.v, self.w = nn.Parameter(torch.linspace(0.5, 2, 6)), nn.Parameter(torch.randn(6, 6))
        self.cosine, self.far = nn.CosineSimilarity(dim=1), nn.PairwiseDistance()
        self.mse, self.kl = nn.MSELoss(), nn.KLDivLoss(reduction="batchmean")
        self.triplet = nn.TripletMarginLoss(margin=9.0)
        self.entropy = nn.CrossEntropyLoss(label_smoothing=0.1)

    def forward(self, x: Tensor) -> Any:
        if self.asks and x.shape[1] != 4:
            raise ValueError("four numbers")
        return self.run(self, self.one(x))


def checked(run: Made, *, asks: bool) -> Graph:
    """Returns the graph of such a network, whose cut gives what zeros in these places give."""
    torch.manual_seed(0)
    net = Between(run, asks=asks).double()
    graph = Graph.of(copy.deepcopy(net), X)
    assert is_exported(graph.traced) is asks
    assert same_outputs(evaluated(net, X), evaluated(graph.traced, X), tolerance=1e-12)
    free = [group for group in graph.groups if not group.mixed and group.size > 1]
    plan = Plan.remove(free, {g.name: range(0, g.size - 1, 2) for g in free}, graph.shapes)
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    before = copy.deepcopy(graph)
    apply(plan, graph.traced)
    assert same_outputs(evaluated(masked, X), evaluated(graph.traced, X), tolerance=1e-12)
    return before


def spreads(s: Any, y: Tensor) -> Tensor:
    steps = y[:, :, None] * torch.arange(1.0, 5).to(y)
    made = steps.std(2, False) + torch.var(steps, -1, True) + steps.var(2, False, True)[..., 0]
    mean, spread = torch.var_mean(steps, 2, False, True)[1], torch.std_mean(steps, -1)[0]
    return s.two(made + mean[..., 0] + spread + torch.std(steps, dim=(2,), unbiased=False))


def moved(s: Any, y: Tensor) -> Tensor:
    wide = y[:, None, :, None]
    there = wide.movedim((1, 2), (2, 1)).permute(dims=(0, 2, 1, 3))
    back = torch.movedim(there, (1, 3), (3, 1)).swapdims(1, 3)
    return s.two(torch.swapdims(back, 2, 3)[:, 0, 0])


def bent(s: Any, y: Tensor) -> Tensor:
    squares = y[:, :, None, None].expand(-1, -1, 4, 4).abs()
    pooled = F.lp_pool2d(squares, 2.0, 2).mean((2, 3)) + F.lp_pool1d(squares[..., 0], 2.0, 2).sum(2)
    return s.two(F.prelu(pooled - 1, s.v) + F.prelu(y, s.w[0, :1]))


def named(s: Any, y: Tensor) -> Tensor:
    wide, steps = y.unsqueeze(dim=1), y[:, :, None].expand(-1, -1, 4)
    made = wide.squeeze(dim=1) + torch.squeeze(input=wide, dim=1)
    made = made + wide.select(dim=1, index=0) + torch.select(wide, -2, 0)
    made = made + wide.movedim(source=1, destination=2).squeeze(dim=-1)
    pairs = torch.flip(steps, dims=(2,)).flip(dims=[2]).unfold(dimension=-1, size=2, step=2)
    return s.two(made + pairs.sum(dim=(2, 3)))


@pytest.mark.parametrize("run", [spreads, moved, bent, named])
@pytest.mark.parametrize("asks", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_channels_pass_whatever_the_arguments_are_called(run: Made, asks: bool) -> None:
    assert 6 in checked(run, asks=asks).widths.values()


def layers(s: Any, y: Tensor) -> Any:
    z = s.mid(y)
    told = (
        s.mse(y, z) + s.kl(torch.log_softmax(y, -1), torch.softmax(z, -1)) + s.triplet(y, z, 2 * y)
    )
    alike = s.cosine(y, z)[:, None] + s.far(y, z)[:, None]
    return s.two(y * alike), told + s.entropy(s.two(y), torch.zeros(y.size(0), dtype=torch.long))


def test_losses_and_distances_may_be_layers_inside_of_a_network() -> None:
    graph = checked(layers, asks=False)
    assert {group.size for group in graph.groups if group.mixed} == {6}  # they see all channels


def products(s: Any, y: Tensor) -> Tensor:
    blocks = torch.block_diag(s.w[:3, :3], s.w[3:, 3:])
    pairs = torch.cartesian_prod(s.v[:2], s.v[:3])[:, 0]
    made = torch.tensordot(y, s.w, dims=([1], [1])) + torch.tensordot(y, s.w, dims=1)
    return s.two(made @ blocks + pairs)


def losses(s: Any, y: Tensor) -> Any:
    z, none = s.mid(y), torch.zeros(len(y), dtype=torch.long)
    p, q = torch.sigmoid(y), torch.sigmoid(z)
    each = F.binary_cross_entropy(p, q, reduction="none")
    each = each + F.kl_div(p.log(), q, reduction="none")
    told = F.binary_cross_entropy_with_logits(y, q, reduction="sum")
    told = told + F.kl_div(p.log(), q, reduction="batchmean") + F.mse_loss(p, q)
    told = told + F.cross_entropy(z, none, reduction="sum", label_smoothing=0.2)
    told = told + F.nll_loss(torch.log_softmax(z, -1), none, ignore_index=5)
    told = told + F.triplet_margin_loss(y, z, 2 * y, margin=9.0)
    return s.two(y + each), told + F.soft_margin_loss(y, z.sign(), reduction="sum")


def spectra(s: Any, y: Tensor) -> Tensor:
    window = torch.hann_window(8, dtype=y.dtype)
    waves = y.repeat(1, 4)
    made = torch.stft(waves, 8, 4, window=window, return_complex=True, normalized=True).abs()
    plain = torch.stft(waves, 8, window=window, return_complex=True, center=False).abs()
    return s.two(y) + made.mean((1, 2))[:, None] + plain.mean((1, 2))[:, None]


def signals(s: Any, y: Tensor) -> Tensor:
    size, angle = s.mid(y).exp().chunk(2, 1)  # three frequencies
    parts = torch.complex(size * torch.cos(angle), size * torch.sin(angle))
    spectra = parts[:, :, None].expand(-1, -1, 4)
    return torch.istft(spectra, 4, 2, window=torch.ones(4, dtype=y.dtype), center=True)


def test_frequencies_that_make_a_signal_stay_and_what_is_before_them_goes() -> None:
    graph = checked(signals, asks=False)
    assert graph.widths == {"one": 6}
    assert "counts frequencies" in graph.kept["mid.weight"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "run", [products, *(pytest.param(run, marks=pytest.mark.slow) for run in (losses, spectra))]
)
def test_operations_of_exported_graphs_are_called_as_torch_calls_them(run: Made) -> None:
    """``aten`` has other orders and defaults: pairs of dimensions, lists, reductions by number, windows padded before."""
    checked(run, asks=True)
