"""Forward passes that read parameters otherwise than by their names: graphs read them anew each time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.core.outputs import evaluated, same_outputs

X = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A hidden layer, and what a function of the test makes of it and of the parameters."""

    def __init__(self, reads: Callable[[Net, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.reads = nn.Linear(4, 6), nn.Linear(6, 2), reads

    def forward(self, x: Tensor) -> Any:
        return self.reads(self, torch.relu(self.a(x)))


WAYS: dict[str, Callable[[Net, Tensor], Any]] = {
    "a penalty as an output": lambda net, h: (
        net.b(h),
        0.01 * sum((1 - p).pow(2).sum() for p in net.parameters()),
    ),
    "of a state dict": lambda net, h: net.b(h * net.a.state_dict()["weight"].norm()),
    "by its name": lambda net, h: net.b(h) * dict(net.named_parameters())["a.bias"].exp().mean(),
    "all in one vector": lambda net, h: net.b(
        h * nn.utils.parameters_to_vector(net.a.parameters()).std()
    ),
    "through data": lambda net, h: net.b(h) + next(net.b.parameters()).data.T.sum(),
    "times a constant": lambda net, h: (
        net.b(h) * (torch.ones(2, dtype=h.dtype) * list(net.parameters())[-1]).sum()
    ),
    "numbers of its type": lambda net, h: net.b(h + next(net.parameters()).new_ones(6)),
    "its shape": lambda net, h: net.b(h) / next(net.parameters()).numel(),
    "a layer's own": lambda net, h: F.linear(h, next(net.b.parameters())),
}


@pytest.mark.parametrize("way", WAYS)
def test_parameters_are_read_anew_each_time(way: str) -> None:
    net = Net(WAYS[way]).double()
    graph = Graph.of(copy.deepcopy(net), X)
    for one in (net.train(), graph.traced.train()):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.02)
        for _ in range(3):
            optimizer.zero_grad()
            found = one(X)
            sum(
                p.square().mean() for p in (found if isinstance(found, tuple) else [found])
            ).backward()
            optimizer.step()
    assert same_outputs(evaluated(net, X), evaluated(graph.traced, X))
