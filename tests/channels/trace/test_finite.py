"""Code that asks whether its numbers are finite: its graph goes by finite ones, and the user is told so."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported
from netdial.core.errors import TraceError, TraceWarning

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

Asks = Callable[[Tensor], Any]


class Clamped(nn.Module):
    """Brings numbers back that are not finite, where its code finds some."""

    def __init__(self, asks: Asks, *, by_shape: bool = False) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 2)
        self.asks, self.by_shape = asks, by_shape

    def forward(self, x: Tensor) -> Tensor:
        if self.by_shape and x.shape[1] != 4:
            raise ValueError("four columns")
        h = torch.relu(self.up(x))
        if self.asks(h):
            h = torch.clamp(h, min=-1e3, max=1e3) * 2
        return self.down(h)


ASKS: dict[str, Asks] = {
    "isinf any": lambda h: torch.isinf(h).any(),
    "isnan, a method": lambda h: h.isnan().any(),
    "not all finite": lambda h: not torch.isfinite(h).all(),
    "turned": lambda h: (~torch.isfinite(h)).any().item(),
    "either": lambda h: (torch.isinf(h) | torch.isnan(h)).any(),
    "both": lambda h: torch.isinf(h).any() or torch.isnan(h).any(),
    "counted": lambda h: torch.isnan(h).sum() > 0,
    "counted, by item": lambda h: torch.count_nonzero(h.isnan()).item() != 0,
    "a share": lambda h: torch.isnan(h).float().mean() > 0,
    "unlike itself": lambda h: (h != h).any(),
    "of a sum": lambda h: torch.isnan(h.sum()),
    "none of them": lambda h: bool((torch.isnan(h).sum() == 0).logical_not()),
}


@pytest.mark.parametrize("by_shape", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("asks", ASKS.values(), ids=list(ASKS))
def test_what_protects_numbers_is_left_out_and_said(asks: Asks, *, by_shape: bool) -> None:
    torch.manual_seed(0)
    net = Clamped(asks, by_shape=by_shape).double()
    with pytest.warns(
        TraceWarning,
        match=r"^network Clamped: asks whether its numbers are finite \(test_finite.py:\d+(, test_finite.py:\d+)?\); "
        "what is made of it goes by finite ones, and does not do what the code does with others$",
    ) as told:
        graph = Graph.of(net, X)
    assert len(told) == 1
    assert is_exported(graph.traced) is by_shape
    assert graph.widths == {"up": 6}
    before = copy.deepcopy(net)
    apply(graph.plan({"up": [1, 4]}), graph.traced)
    left = [0, 2, 3, 5]
    for training in (True, False):
        h = torch.relu(X @ before.up.weight[left].T + before.up.bias[left])
        wanted = h @ before.down.weight[:, left].T + before.down.bias
        torch.testing.assert_close(graph.traced.train(training)(X), wanted)


@pytest.mark.parametrize("by_shape", [False, True])
def test_a_network_whose_numbers_are_not_finite_is_refused(*, by_shape: bool) -> None:
    net = Clamped(lambda h: torch.isinf(h / 0).any(), by_shape=by_shape).double()
    with pytest.raises(TraceError, match="computes something else once traced"):
        Graph.of(net, X)


@pytest.mark.parametrize(
    "asks",
    [
        lambda h: torch.isfinite(h).sum() > 3,
        lambda h: (torch.isinf(h) | (h > 1)).any(),
        lambda h: torch.isinf(h).sum() > h.sum(),
    ],
)
def test_what_finite_numbers_do_not_answer_is_refused(asks: Asks) -> None:
    with pytest.raises(TraceError, match=r"cannot be traced at test_finite.py:\d+"):
        Graph.of(Clamped(asks).double(), X)


def test_what_asks_nothing_of_numbers_is_not_told_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Graph.of(Clamped(lambda h: h.dtype == torch.float16 and torch.isinf(h).any()).double(), X)
