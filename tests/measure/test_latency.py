"""The clock: turns, what is made of readings, and the machine they were taken on."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError
from netdial.measure import latency
from netdial.measure.latency import Machine, in_turns, measure_latency, quiet_ms, until


def test_latency_is_measured_and_says_how() -> None:
    x = torch.randn(64, 512)
    small = measure_latency(nn.Linear(512, 1), x, seconds=0.02)
    large = measure_latency(nn.Sequential(*(nn.Linear(512, 512) for _ in range(8))), x, seconds=0.1)
    assert (small.batch_size, small.threads) == (64, torch.get_num_threads())
    assert 0 < small.median_ms < large.median_ms
    assert large.iqr_ms >= 0


def test_latency_needs_time_and_inputs() -> None:
    with pytest.raises(ConfigError, match="seconds=0"):
        measure_latency(nn.Linear(2, 2), torch.randn(1, 2), seconds=0)
    with pytest.raises(ConfigError, match="0 inputs"):
        measure_latency(nn.Linear(2, 2), torch.randn(0, 2))


def test_calls_take_turns_and_each_turn_gives_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only the calls move: the second call takes twice as long, and ever longer."""
    now, order = [0.0], []

    def call(name: str, cost: float) -> None:
        order.append(name)
        now[0] += cost * len(order)

    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    calls = [lambda: call("a", 1.0), lambda: call("b", 2.0)]
    readings = in_turns(calls, more=lambda found: len(found[0]) < 3)
    assert readings == [[1, 3, 5], [4, 8, 12]]
    assert order == ["a", "b"] * 3
    order.clear()
    (first, _) = in_turns(calls, more=lambda found: not found[0], window_s=4.0, reading=max)
    assert order == ["a", "a", "a", "b", "b"], "the first of a window does not count"
    assert first == [3.0]


def test_quiet_time_is_the_lowest_that_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of one call each; one lucky reading does not end the search, and a pause follows each turn."""
    now, pauses = [0.0], []
    costs = iter([9.0, 5.0, 5.0, 3.0, 7.0, 6.0, 3.01] + [1.0] * 100)

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            now[0] += next(costs) if counted[0] else 0.0
            counted[0] = not counted[0]
            return x

    counted = [False]  # the first call of a window does not count
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(latency.time, "sleep", pauses.append)
    assert quiet_ms([Net()], torch.ones(1)) == [3000.0]
    assert len(pauses) == 6


def test_turns_go_on_for_a_time_and_a_least_number(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    more = until(2.0, least=3)
    assert more([[1.0]])
    now[0] = 5.0
    assert more([[1.0, 1.0]])
    assert not more([[1.0, 1.0, 1.0]])


def test_readings_of_a_machine_name_it() -> None:
    here = Machine.here()
    assert here == Machine.here() and here.fingerprint == Machine.here().fingerprint
    assert here.processor and here.cores >= 1 and here.version == torch.__version__
    other = replace(here, threads=here.threads + 1)
    assert len(other.fingerprint) == 8 and other.fingerprint != here.fingerprint
    found = measure_latency(nn.Linear(2, 2), torch.randn(3, 2), seconds=1e-3)
    assert found.machine == here
    assert statistics.median([found.median_ms]) > 0
