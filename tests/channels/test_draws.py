"""Numbers that code draws while it runs: operations of the graph, or refused with their line, never kept as they fell once."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported, trace
from netdial.core.errors import TraceError

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A block that is there or not, as the function says, and a head."""

    def __init__(self, between: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.block, self.two = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self, torch.relu(self.one(x))))


def by_python(self: Net, y: Tensor) -> Tensor:
    return y if self.training and random.random() < 0.5 else y + self.block(y)


def by_numpy(self: Net, y: Tensor) -> Tensor:
    return y * np.random.rand() if self.training else y


def by_torch(self: Net, y: Tensor) -> Tensor:
    return y if self.training and torch.rand(1).item() < 0.5 else y + self.block(y)


def by_tensor(self: Net, y: Tensor) -> Tensor:
    return y if self.training and torch.rand([]) < 0.5 else y + self.block(y)


@pytest.mark.parametrize("between", [by_python, by_numpy, by_torch, by_tensor])
@pytest.mark.parametrize("start", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_blocks_that_fall_out_at_random_are_refused_with_their_line(
    between: Callable[[Any, Tensor], Tensor], start: int
) -> None:
    """Blocks were there or not ever after, as the number fell while the network was traced."""
    net = Net(between)
    random.seed(start)
    np.random.seed(start)
    torch.manual_seed(start)
    was = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with pytest.raises(
        TraceError,
        match=rf"test_draws.py:\d+ in {between.__name__} .*draws a random number, and a graph would go by that one ever after"
        r".*in training alone: turn off what it does at random there, or draw it for each input",
    ):
        Graph.of(net, X)
    assert random.getstate() == was[0]
    assert np.random.get_state()[1].tolist() == was[1]
    assert torch.equal(torch.get_rng_state(), was[2])


class Dropped(nn.Module):
    """Nothing at random, in a module of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0 if self.training and random.random() < 0.5 else x


def test_a_module_without_parameters_that_draws_stays_one_operation() -> None:
    net = nn.Sequential(nn.Linear(3, 8), Dropped(), nn.Linear(8, 2)).train()
    traced = trace(net, X)
    assert {str(node.target) for node in traced.graph.nodes} >= {"0", "1", "2"}
    traced.train()
    assert {bool((traced(X) == net[2].bias).all()) for _ in range(40)} == {True, False}


def scaled(self: Net, y: Tensor) -> Tensor:
    return y * torch.rand(1).item() if self.training else y


def test_a_number_that_is_drawn_is_drawn_each_time() -> None:
    graph = Graph.of(Net(scaled), X)
    assert is_exported(graph.traced)
    assert graph.widths == {"one": 8}
    graph.traced.train()
    assert not torch.equal(graph.traced(X), graph.traced(X))


def test_settings_by_which_models_train_at_random_are_named() -> None:
    net = Net(by_tensor)
    net.config = SimpleNamespace(layerdrop=0.1, hidden_dropout=0.1, mask_time_prob=0.0)
    with pytest.raises(TraceError, match=r"set to 0 in its configuration: layerdrop=0.1\)"):
        Graph.of(net, X)


def policy(self: Net, y: Tensor) -> Tensor:
    normal = torch.distributions.Normal(self.block(y), torch.ones(1, 1), validate_args=False)
    return y + normal.log_prob(torch.tanh(normal.mean)) + normal.entropy()


def test_distributions_pass_channels() -> None:
    graph = Graph.of(Net(policy), X)
    assert graph.widths == {"one": 8}
    plan = graph.plan({"one": [0, 3]})
    apply(plan, graph.traced)
    assert graph.traced(X).shape == (5, 2)


class Counting(nn.Module):
    """Goes by a number that it sets."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 2)
        self.warm = False

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(torch.relu(self.one(x)))
        if self.training == self.warm:
            self.warm = not self.training
        return y / 2 if self.warm else y


def test_an_attribute_that_is_set_is_refused_with_the_line_that_sets_it() -> None:
    with pytest.raises(TraceError, match=r"changes the attribute 'warm' \(test_draws.py:\d+\)"):
        Graph.of(Counting(), X)
