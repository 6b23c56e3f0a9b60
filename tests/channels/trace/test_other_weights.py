"""Layers that ``torch.func.functional_call`` gives other weights than their own: computed ones, followed and cut exactly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class Low(nn.Module):
    """A block to whose first weights a product of low rank is added; its own are used besides."""

    def __init__(self, *, asks: bool, again: bool) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        self.a, self.b = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(6, 2))
        self.asks, self.again = asks, again

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.dim() == 0:
            raise ValueError("a number has no channels")
        given = dict(self.base.named_parameters())
        given["0.weight"] = given["0.weight"] + self.b @ self.a
        made = functional_call(self.base, given, (x,))
        return made + self.base(x) if self.again else made


@pytest.mark.slow
@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_computed_weights_are_followed(asks: bool, again: bool) -> None:
    torch.manual_seed(0)
    net = Low(asks=asks, again=again).double().eval()
    graph = Graph.of(net, X)
    assert is_exported(graph.traced) == asks
    left = [0, 2, 3, 5]
    (group,) = (name for name in graph.widths if graph.widths[name] == 6)
    with torch.no_grad():
        first, last = net.base[0], net.base[2]
        weights = [first.weight + net.b @ net.a] + [first.weight] * again
        hidden = [F.relu(F.linear(X, w[left], first.bias[left])) for w in weights]
        wanted = sum(F.linear(h, last.weight[:, left], last.bias) for h in hidden)
    apply(graph.plan({group: [1, 4]}), graph.traced)
    torch.testing.assert_close(graph.traced(X), wanted)
    assert net.base[0].weight.shape == (4, 4) and net.b.shape == (4, 2)


class Both(nn.Module):
    """A pair of layers that may share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(F.relu(self.one(x)))


class Doubled(nn.Module):
    """Calls a pair of tied layers with the weight of one doubled, which doubles that of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.head = Both(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional_call(self.both, {"one.weight": self.both.one.weight * 2}, (x,)))


def test_a_tied_weight_is_replaced_wherever_it_is() -> None:
    torch.manual_seed(0)
    net = Doubled().double().eval()
    graph = Graph.of(net, X)
    torch.testing.assert_close(graph.traced(X), net(X))
    doubled = F.linear(X, 2 * net.both.one.weight, net.both.one.bias).relu()
    wanted = net.head(F.linear(doubled, 2 * net.both.one.weight, net.both.two.bias))
    torch.testing.assert_close(graph.traced(X), wanted)
