"""Whole rows: those of the layers that make the outputs of a network stay, in whatever order it holds its layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.pruning.weights import Policy, prune
from netdial.pruning.weights.output_leaves import output_leaves

G = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=G)
Y = torch.arange(60) % 3


class Net(nn.Module):
    """Holds its output layers first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last, self.other = nn.Linear(8, 3), nn.Linear(5, 3)
        self.weight = nn.Parameter(torch.randn(3, 8) / 3)
        self.first = nn.Linear(5, 8)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.relu(self.first(x))


class Turned(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x)).log_softmax(1)  # type: ignore[no-any-return]


class Added(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x)) + self.other(x)  # type: ignore[no-any-return]


class Functional(Net):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.hidden(x), self.weight)


class Straying(Net):
    """Cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x) if float(x.sum()) > 0 else x.new_ones(len(x), 8))  # type: ignore[no-any-return]


OUTPUTS = {
    Turned: {"last.weight"},
    Added: {"last.weight", "other.weight"},
    Functional: {"weight"},
}


@pytest.mark.parametrize("kind", list(OUTPUTS))
def test_leaves_that_make_outputs_are_found(kind: type[Net]) -> None:
    assert output_leaves(kind()) == OUTPUTS[kind]
    assert output_leaves(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))) == {"0.weight"}
    assert output_leaves(Straying()) is None


@pytest.mark.slow
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", list(OUTPUTS))
def test_no_output_is_lost_with_whole_rows(kind: type[Net], given: bool) -> None:
    family = nd.fit(kind(), (X, Y), epochs=1, batch_size=12)
    data = (X, Y) if given else None
    net = prune(family, 1.0, 0.5, policy=Policy(rows=True), data=data).export(1.0)
    gone = {n: int((p == 0).all(1).sum()) for n, p in net.named_parameters() if p.ndim == 2}
    assert gone["first.weight"] >= 4
    assert all(gone[name] == 0 for name in OUTPUTS[kind])
    assert bool((net(X).std(0) > 0).all())
