"""Code that asks whether there are any (``if mask.any():``): followed if that changes nothing where there are none."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.core.errors import TraceError

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

Asks = Callable[[Tensor], Tensor | bool]


class Routed(nn.Module):
    """Each input goes through the expert that a router likes best; experts without inputs are left out."""

    def __init__(self, asks: Asks, *, least: int = 0, none: float = 0.0) -> None:
        super().__init__()
        self.router = nn.Linear(4, 3)
        self.up = nn.ModuleList(nn.Linear(4, 6) for _ in range(3))
        self.down = nn.ModuleList(nn.Linear(6, 2) for _ in range(3))
        self.asks, self.least, self.none = asks, least, none

    def forward(self, x: Tensor) -> Tensor:
        best = self.router(x).argmax(-1)
        out = torch.zeros(x.shape[0], 2, dtype=x.dtype)
        for i in range(3):
            chosen = best >= self.least if self.least < 0 else best == i
            if self.asks(chosen):
                out[chosen] += self.down[i](F.relu(self.up[i](x[chosen])))
            else:
                out = out + self.none
        return out


@pytest.mark.parametrize(
    "asks",
    [
        lambda chosen: chosen.any(),
        lambda chosen: torch.any(chosen).item(),
        lambda chosen: chosen.sum() > 0,
        lambda chosen: torch.count_nonzero(chosen) != 0,
    ],
)
def test_experts_without_inputs_may_be_left_out(asks: Asks) -> None:
    torch.manual_seed(0)
    net = Routed(asks).double().eval()
    before = copy.deepcopy(net.state_dict())
    graph = Graph.of(net, X)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert graph.widths == {"router": 3} | {f"up.{i}": 6 for i in range(3)}
    apply(graph.plan({f"up.{i}": [1, 4] for i in range(3)}), graph.traced)
    left = [0, 2, 3, 5]
    for x in (X, X[:1]):  # of one input two experts get nothing
        best = F.linear(x, before["router.weight"], before["router.bias"]).argmax(-1).tolist()
        rows = []
        for row, i in zip(x, best, strict=True):
            up = F.linear(row, before[f"up.{i}.weight"][left], before[f"up.{i}.bias"][left])
            down = before[f"down.{i}.weight"][:, left]
            rows.append(F.linear(F.relu(up), down, before[f"down.{i}.bias"]))
        torch.testing.assert_close(graph.traced(x), torch.stack(rows))


@pytest.mark.slow
def test_what_does_something_where_there_are_none_is_refused() -> None:
    torch.manual_seed(0)
    net = Routed(lambda chosen: chosen.any(), none=1.0).double().eval()
    with pytest.raises(TraceError, match=r"cannot be traced at test_answers.py:\d+ in forward"):
        Graph.of(net, X)


@pytest.mark.slow
def test_a_question_with_one_answer_is_refused() -> None:
    net = Routed(lambda chosen: chosen.any(), least=-1).double().eval()
    with pytest.raises(TraceError, match=r"cannot be traced at test_answers.py:\d+ in forward"):
        Graph.of(net, X)
