"""The clock of a shrinking network: what a busy moment may not do. Times come from a list, so that the moments are known."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.clock import NOISE, Clock
from netdial.channels.graph import Graph
from netdial.channels.sizes import size
from netdial.core.cutting import cut_module
from netdial.core.errors import ConfigError
from netdial.measure.latency import quiet_ms
from netdial.pruning.channels import slim
from netdial.shrinking.shrink import shrink


def graph_of(width: int = 10) -> Graph:
    torch.manual_seed(0)
    graph = Graph.of(
        nn.Sequential(nn.Linear(5, 10), nn.ReLU(), nn.Linear(10, 3)), torch.randn(2, 5)
    )
    return cut(graph, width)


def cut(graph: Graph, width: int) -> Graph:
    traced = copy.deepcopy(graph.traced)
    cut_module(graph.plan({"0": range(width, 10)}), traced)
    return replace(graph, traced=traced)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """What the next measurements give, one list each."""
    found: list[list[float]] = []

    def told(nets: Sequence[nn.Module], x: Tensor) -> list[float]:
        assert len(x) == 1
        now = found.pop(0)
        assert len(now) == len(nets)
        return now

    monkeypatch.setattr("netdial.channels.clock.quiet_ms", told)
    return found


def test_time_above_the_floor_is_shared_among_multiplications(times: list[list[float]]) -> None:
    times += [[9.0, 1.0], [4.5, 1.0]]
    clock = Clock(graph_of(), graph_of(1))
    assert (clock.start, clock.floor) == (9, 1)
    now = size(graph_of(5), "ms", clock)
    assert now.value == 4.5
    each = (4.5 - 1) / (5 * 8 - 8)
    assert now.saved["0"] == pytest.approx(8 * each)
    assert now.value - sum(now.costs(["0"] * 4)) == pytest.approx(clock.floor)


def test_a_floor_that_was_too_high_is_lowered(times: list[list[float]]) -> None:
    times += [[9.0, 4.0], [4.5, 1.0], [4.5, 2.0]]
    clock = Clock(graph_of(), graph_of(1))
    assert clock.floor == 4
    for _ in range(2):
        clock.ms(graph_of(5))
        assert clock.floor == 1


def test_a_network_is_no_slower_than_a_wider_one_and_looks_are_counted(
    times: list[list[float]],
) -> None:
    busy = [20.0, 1.0]
    times += [[9.0, 1.0], busy, busy, busy, [4.5, 1.0], [4.6, 1.0]]
    clock = Clock(graph_of(), graph_of(1))
    assert (clock.ms(graph_of(5)), clock.looks) == (9, 1), "it looked three times"
    assert (clock.ms(graph_of(5)), clock.looks) == (4.5, 2)
    assert (clock.ms(graph_of(5)), clock.looks) == (4.5, 3)
    assert not times


def test_a_time_far_above_what_was_expected_is_taken_again(times: list[list[float]]) -> None:
    times += [[9.0, 1.0], [8.0, 1.0], [4.7, 1.0], [3.9, 1.0]]
    clock = Clock(graph_of(), graph_of(1))
    assert clock.ms(graph_of(5)) == 4.7
    assert clock.ms(graph_of(4)) == 3.9


def noisy(factors: Iterator[float]) -> object:
    """A clock that counts weights, and is out by a factor now and then."""

    def measure(nets: Sequence[nn.Module], x: Tensor) -> list[float]:
        factor = next(factors)
        return [factor * (1 + 1e-2 * sum(p.numel() for p in net.parameters())) for net in nets]

    return measure


@pytest.mark.slow
@pytest.mark.parametrize("busy", [0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
def test_one_busy_moment_does_not_cost_a_channel(
    busy: int, blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, or once the target has been reached; on the way the course is met again."""
    monkeypatch.setattr(
        "netdial.channels.clock.quiet_ms", noisy(1.7 if i == busy else 1.0 for i in range(10**6))
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 3))
    done = shrink(net, blobs, size="2.4 ms", epochs=20, batch_size=20, deadline=0.5)
    weights = sum(p.numel() for p in done.fold()[0].parameters())
    assert 1 + 1e-2 * weights == pytest.approx(2.4, rel=NOISE + 0.04), "a channel is 4 %"


def test_a_target_below_the_floor_is_refused_with_the_floor(
    times: list[list[float]], blobs: tuple[Tensor, Tensor]
) -> None:
    net = nn.Sequential(nn.Linear(5, 10), nn.ReLU(), nn.Linear(10, 3))
    times += [[0.5, 0.25]] * 3
    words = r"a call still takes 0\.25\d? ms on this machine, which is what calling its operations"
    with pytest.raises(ConfigError, match=words):
        shrink(net, blobs, size="0.2 ms", epochs=2, batch_size=20)
    with pytest.raises(ConfigError, match=r"the network begins with 0\.5 ms, so there is nothing"):
        shrink(net, blobs, size="0.5 ms", epochs=2, batch_size=20)
    with pytest.raises(ConfigError, match=r"a call still takes 0\.25\d? ms, the cost of calling"):
        slim(net, size="0.2 ms", example=blobs[0][:2])


@pytest.mark.slow
def test_quiet_times_grow_with_the_network_and_leave_it_as_it_was() -> None:
    small, large = nn.Linear(512, 1), nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
    small.train()
    one, other = quiet_ms([small, large], torch.randn(4, 512))
    assert 0 < one < other
    assert small.training
