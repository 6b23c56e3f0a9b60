"""Numbers that code draws while it runs: operations of a graph, left out and told of, or refused, never kept as they fell."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.answers.draws import DRAWS
from netdial.channels.trace.trace import is_exported, trace
from netdial.core.errors import TraceError, TraceWarning
from netdial.models.cut.recipe import save_network
from netdial.models.cut.restoring import load_network
from netdial.shrinking.shrink import Shrunk

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


def told(*places: str) -> Any:
    """Returns what expects a warning of modules that draw numbers in training."""
    return pytest.warns(
        TraceWarning,
        match=rf"^network \w+: draws random numbers in training that a graph cannot draw \({'; '.join(places)}\), as to leave "
        "out layers or to mask positions; what is made of it does there what the network does in evaluation, dropout aside$",
    )


@pytest.mark.parametrize(
    "between",
    [
        by_python,
        by_torch,
        *(pytest.param(d, marks=pytest.mark.slow) for d in (by_numpy, by_tensor)),
    ],
)
@pytest.mark.parametrize("start", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_blocks_that_fall_out_at_random_are_there_and_that_is_told(
    between: Callable[[Any, Tensor], Tensor], start: int
) -> None:
    """Blocks were there or not ever after, as the number fell while the network was traced."""
    net = Net(between).train()
    random.seed(start)
    np.random.seed(start)
    torch.manual_seed(start)
    was = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    line = between.__code__.co_firstlineno + 1
    with told(f"Net, test_draws.py:{line}") as found:
        graph = Graph.of(net, X)
    assert len(found) == 1
    assert random.getstate() == was[0]
    assert np.random.get_state()[1].tolist() == was[1]
    assert torch.equal(torch.get_rng_state(), was[2])
    assert net.training
    assert "train" not in vars(net)
    hidden = torch.relu(net.one(X))
    wanted = net.two(hidden if between is by_numpy else hidden + net.block(hidden))
    for training in (True, False):
        torch.testing.assert_close(graph.traced.train(training)(X), wanted)


def test_a_number_that_falls_as_evaluation_goes_is_no_check_of_inputs() -> None:
    """The graph refused half of all steps of training, with a warning that its inputs had to be like the example."""
    test_blocks_that_fall_out_at_random_are_there_and_that_is_told(by_torch, 1)


OWN = np.random.default_rng(0)


class Held(nn.Module):
    """A block that falls out by a generator of the network's, of its file's or of a function's that it calls."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 2)
        self.numpy, self.python = np.random.default_rng(0), random.Random(0)
        self.torch, self.old = torch.Generator().manual_seed(0), np.random.RandomState(0)
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return self.two(y if self.training and self.draw(self) < 0.5 else torch.relu(y))


def helped() -> float:
    return OWN.random()


@pytest.mark.slow
@pytest.mark.parametrize(
    "draw",
    [
        lambda net: net.numpy.random(),
        lambda net: net.python.random(),
        lambda net: net.old.rand(),
        lambda net: torch.rand(1, generator=net.torch),
        lambda net: OWN.random(),
        lambda net: helped(),
    ],
)
def test_generators_of_ones_own_are_seen(draw: Callable[[Any], Any]) -> None:
    """What they drew while the network was traced stood ever after, untold."""
    net = Held(draw)
    before = OWN.bit_generator.state, net.torch.get_state()
    with pytest.warns(TraceWarning, match=r"that a graph cannot draw \(Held, test_draws.py:\d+\)"):
        graph = Graph.of(net, X)
    assert OWN.bit_generator.state == before[0]
    assert torch.equal(net.torch.get_state(), before[1])
    for training in (True, False):
        wanted = net.two(torch.relu(net.one(X)))
        torch.testing.assert_close(graph.traced.train(training)(X), wanted)


def test_code_that_draws_in_evaluation_is_refused_with_its_line() -> None:
    line = always.__code__.co_firstlineno + 1
    with pytest.raises(TraceError, match=rf"test_draws.py:{line} in always .*{DRAWS}"):
        Graph.of(Net(always), X)


def always(self: Net, y: Tensor) -> Tensor:
    return y if random.random() < 0.5 else y + self.block(y)


class Layer(nn.Module):
    """A layer with statistics and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 6)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.dropout(torch.relu(self.norm(self.up(x)))))


class Layers(nn.Module):
    """Layers each of which is left out at random in training, behind a dropout of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.rate = nn.ModuleList(Layer() for _ in range(3)), 0.5

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(x, 0.1, training=self.training)
        for layer in self.layers:
            if self.training and self.rate > 0:
                drawn = torch.rand([])
                if drawn < self.rate:
                    continue
            x = layer(x)
        return x


class Speech(nn.Module):
    """Masks inputs at random in training, for which it asks for sizes, and goes through layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.inside, self.two = nn.Linear(3, 6), Layers(), nn.Linear(6, 2)
        self.nothing = nn.Parameter(torch.zeros(6))

    def masked(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        hidden = np.zeros(tuple(x.shape[:1]), dtype=bool)
        for i in range(x.shape[0]):
            hidden[i] = np.random.rand() < 0.3
        return torch.where(torch.tensor(hidden)[:, None], self.nothing, x)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.inside(self.masked(self.one(x))))


@pytest.mark.slow
def test_parts_of_a_module_that_draws_train_and_its_dropout_stays() -> None:
    net = Speech().double()
    x = X.double()
    with told(r"Layers, test_draws.py:\d+", r"Speech, test_draws.py:\d+"):
        graph = Graph.of(net, x)
    assert graph.widths == {f"inside.layers.{i}.up": 8 for i in range(3)} | {"one": 6}
    rates = [part.p for part in graph.traced.modules() if isinstance(part, nn.Dropout)]
    assert sorted(rates) == [0.1, 0.2, 0.2, 0.2]
    before = copy.deepcopy(net).eval()
    assert torch.equal(graph.traced.eval()(x), before(x))
    for part in graph.traced.modules():
        part.p = 0.0 if isinstance(part, nn.Dropout) else getattr(part, "p", None)
    hidden = before.one(x)
    for layer in before.inside.layers:  # statistics of the batch
        made = layer.up(hidden)
        made = (made - made.mean(0)) / (made.var(0, correction=0) + 1e-5).sqrt()
        hidden = hidden + layer.down(torch.relu(made))
    torch.testing.assert_close(graph.traced.train()(x), before.two(hidden))
    assert int(graph.traced.get_submodule("inside.layers.2.norm").num_batches_tracked) == 1


@pytest.mark.slow
def test_a_network_that_draws_is_slimmed_saved_and_loaded_as_its_class(tmp_path: Path) -> None:
    with told(r"Layers, test_draws.py:\d+", r"Speech, test_draws.py:\d+"):
        graph = Graph.of(Speech(), X)
    plan = graph.plan({"inside.layers.1.up": [0, 3, 5]})
    apply(plan, graph.traced)
    save_network(Shrunk(graph.after(plan), plan, {}), tmp_path / "f")
    loaded = load_network(tmp_path / "f", Speech())
    assert type(loaded) is Speech
    assert loaded.inside.layers[1].up.weight.shape == (5, 6)
    torch.testing.assert_close(loaded(X), graph.traced.eval()(X))
    loaded.train()
    assert loaded.inside.training


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
