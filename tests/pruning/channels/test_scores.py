"""Scores of channels against sums written out by hand, for every way of putting importances together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netdial.channels.graph import Graph
from netdial.core.errors import ConfigError
from netdial.pruning.channels import slim
from netdial.pruning.channels.scores import WAYS, channel_scores, free_first, making
from netdial.pruning.weights import CRITERIA


def graph_of(net: nn.Module, *shape: int) -> Graph:
    return Graph.of(net.eval(), torch.randn(2, *shape))


def test_what_makes_a_channel_counts_and_what_reads_it_does_not() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    graph = graph_of(net, 4)
    importance = {n: torch.rand(p.shape).double() for n, p in net.named_parameters()}
    row, bias = importance["0.weight"], importance["0.bias"]
    whole = torch.cat([row, bias[:, None]], 1)
    expected = {
        "taylor": row.sum(1) + bias,
        "obd-ggn": row.sum(1) + bias,
        "a criterion of one's own": row.sum(1) + bias,
        "magnitude": (row.square().sum(1) + bias.square()).sqrt(),
        "density": whole.mean(1),
        "snr": whole.square().mean(1).sqrt(),
        "graves": 1 + whole.mean(1),
        "random": row[:, 0],
    }
    for criterion, score in expected.items():
        found = channel_scores(graph, importance, criterion)
        assert list(found) == ["0"]
        assert torch.allclose(found["0"], score), criterion


def test_the_order_of_density_is_that_of_snr() -> None:
    graph = graph_of(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), 4)
    z = {n: torch.rand(s) for n, s in graph.shapes.items()}
    by = [
        channel_scores(graph, {n: way(x) for n, x in z.items()}, name)["0"].argsort().tolist()
        for name, way in (("snr", lambda x: x), ("density", lambda x: 0.5 * x * x))
    ]
    assert by[0] == by[1]


def test_transposed_convolutions_embeddings_norms_and_recurrences() -> None:
    net = nn.Sequential(
        nn.ConvTranspose2d(2, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 1, 1)
    )
    graph = graph_of(net, 2, 4, 4)
    made = {(slot.leaf, slot.dim) for slot in making(graph, graph.groups[0])}
    assert {("0.weight", 1), ("1.weight", 0), ("1.bias", 0)} <= made
    assert ("3.weight", 1) not in made
    words = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2))
    graph = Graph.of(words.eval(), torch.randint(0, 7, (2, 3)))
    assert [(s.leaf, s.dim) for s in making(graph, graph.groups[0])] == [("0.weight", 1)]


def test_scores_can_be_divided_by_what_a_channel_saves() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    graph = graph_of(net, 4)
    importance = {n: torch.rand(p.shape) for n, p in net.named_parameters()}
    plain = channel_scores(graph, importance, "taylor")["0"]
    by_params = channel_scores(graph, importance, "taylor", per="params")["0"]
    by_macs = channel_scores(graph, importance, "taylor", per="macs")["0"]
    assert torch.allclose(by_params * (4 + 1 + 2), plain)
    assert torch.allclose(by_macs * (4 + 2), plain)
    with pytest.raises(ConfigError, match=r"'param'.*params"):
        channel_scores(graph, importance, "taylor", per="param")  # type: ignore[arg-type]


def test_ways_belong_to_criteria_that_exist() -> None:
    assert set(WAYS) <= set(CRITERIA)


def with_idle_units(seed: int, kind: str) -> tuple[nn.Module, torch.Tensor]:
    """Returns a network of which 3 of 9 channels go without a trace, with the longest rows of all, and inputs."""
    torch.manual_seed(seed)
    x = torch.randn(40, 2, 5, 5)
    first: nn.Module = nn.Conv2d(2, 9, 3)
    last: nn.Module = nn.Linear(81, 4)
    net = nn.Sequential(first, nn.BatchNorm2d(9), nn.ReLU(), nn.Flatten(), last)
    if kind == "rows":
        x, net = x.flatten(1), nn.Sequential(nn.Linear(50, 9), nn.Tanh(), nn.Linear(9, 4))
        first, last = net[0], net[2]
    idle = torch.tensor([1, 4, 8])
    with torch.no_grad():
        first.get_parameter("weight")[idle] *= 30
        if kind == "constant":
            net.get_parameter("1.weight")[idle] = 0
            net.get_parameter("1.bias")[idle] = 20
        else:
            last.get_parameter("weight").view(4, 9, -1)[:, idle] = 0
    return net.eval(), x


@pytest.mark.parametrize("kind", ["rows", "unread", "constant"])
@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "random"])
def test_what_goes_without_a_trace_goes_first(kind: str, criterion: str) -> None:
    net, x = with_idle_units(0, kind)
    y = torch.arange(len(x)) % 4
    found = slim(net, share=1 / 3, criterion=criterion, data=(x, y))
    assert list(found.widths.values()) == [6]
    torch.testing.assert_close(found.net(x), net(x), rtol=1e-4, atol=1e-5)
    assert found.plan.removed[next(iter(found.widths))] == (1, 4, 8)


def test_what_something_else_reads_is_not_unread() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(6, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.relu(self.first(x))
            return torch.cat([self.second(h), self.last(h)], 1)

    torch.manual_seed(0)
    net = Twice()
    with torch.no_grad():
        net.second.weight[:, :4] = 0
        net.last.weight[:, 3:] = 0
    graph = graph_of(net, 4)
    found = free_first(graph, {"first": torch.ones(6).double()})
    assert (found["first"] < 0).tolist() == [False, False, False, True, False, False]
