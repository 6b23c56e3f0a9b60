"""Latency tables: what is measured, where a table is refused, how predictions are held against networks."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import CheckpointError, ConfigError
from netdial.structure.cost import StructureCosts
from netdial.structure.derived import derive
from netdial.structure.graph.operations import ZeroOperation
from netdial.structure.graph.space import SearchSpace
from netdial.structure.latency import (
    LatencyAgreement,
    LatencyLookup,
    measure_network,
    measure_table,
    measuring,
    time_modules,
)
from netdial.structure.latency.measuring import agreement, rank_correlation


class Sleep(nn.Module):
    """An operation that takes a known time."""

    def __init__(self, ms: float) -> None:
        super().__init__()
        self.ms = ms

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.ms / 1e3)
        return x

    def extra_repr(self) -> str:
        return f"{self.ms}"


def sleepy() -> SearchSpace:
    space = SearchSpace("sleepy")
    before = space.input("x", (3,))
    operations = {
        "none": ZeroOperation,
        "short": lambda: Sleep(0.4),
        "long": lambda: Sleep(1.6),
    }
    for number in range(3):
        node = space.node(f"n{number}")
        space.edge(
            before, node, operations if number else {**operations, "longer": lambda: Sleep(3.0)}
        )
        before = node
    space.output(before)
    return space


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return sleepy()


@pytest.fixture(scope="module")
def table(space: SearchSpace) -> LatencyLookup:
    return measure_table(space, batch_size=2, n_fit=5, n_held=6, seed=1)


def test_operations_are_measured_and_networks_predicted(
    space: SearchSpace, table: LatencyLookup
) -> None:
    first = table.times["x->n0"]
    for name, ms in (("short", 0.4), ("long", 1.6), ("longer", 3.0)):
        assert ms < first[name].ms < ms + 0.6
        assert first[name].readings >= 2 and first[name].spread_ms >= 0
    assert (first["none"].ms, table.costs["x->n0"]["none"]) == (0.0, 0.0)
    assert table.times["n0->n1"]["long"] == first["long"], "alike, so measured once"
    found = table.agreement
    assert found is not None and len(found.measured_ms) == 6
    assert found.good and found.median_error < 0.15 and found.rank_correlation > 0.9, str(found)
    table.check(space, 2)
    genotype = space.genotype({"x->n0": "longer", "n0->n1": "short", "n1->n2": "long"})
    predicted = table.of(StructureCosts(space), genotype)
    assert predicted == pytest.approx(measure_network(derive(space, genotype), (3,), 2), rel=0.25)


def test_expected_time_is_the_mean_over_structures(
    space: SearchSpace, table: LatencyLookup
) -> None:
    costs = StructureCosts(space)
    source = torch.Generator().manual_seed(0)
    probabilities = {
        key: torch.rand(len(choice.operations), generator=source).softmax(dim=0).double()
        for key, choice in space.choices.items()
    }
    mean = 0.0
    for genotype in space.enumerate():
        chance = 1.0
        for key, choice in space.choices.items():
            chance *= float(probabilities[key][choice.operations.index(genotype[key][0])])
        mean += chance * table.of(costs, genotype)
    assert float(table.expected(costs, probabilities)) == pytest.approx(mean)


def test_a_table_is_read_as_it_was_written(table: LatencyLookup, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table.save(path)
    assert LatencyLookup.load(path) == table == LatencyLookup.load(str(path))
    text = path.read_text()
    path.write_text(text.replace('"batch_size": 2', '"batch_size": 8'))
    with pytest.raises(CheckpointError, match="changed"):
        LatencyLookup.load(path)
    path.write_text(json.dumps({"kind": "genotype"}))
    with pytest.raises(CheckpointError, match="no latency table"):
        LatencyLookup.load(path)
    path.write_text(json.dumps({**json.loads(text), "format": 99}))
    with pytest.raises(CheckpointError, match="99"):
        LatencyLookup.load(path)


def test_a_table_is_refused_where_it_does_not_hold(
    space: SearchSpace, table: LatencyLookup
) -> None:
    elsewhere = replace(table, machine=replace(table.machine, processor="Z80", threads=64))
    with pytest.raises(ConfigError, match=r"processor was 'Z80'.*threads was 64"):
        elsewhere.check(space, 2)
    with pytest.raises(ConfigError, match=r"version was '1\.0'"):
        replace(table, machine=replace(table.machine, version="1.0")).check(space, 2)
    with pytest.raises(ConfigError, match=r"batch of 2.*asked for 1"):
        table.check(space, 1)
    other = SearchSpace("other")
    other.input("x", (3,))
    other.node("y")
    other.edge("x", "y", {"a": nn.ReLU, "b": nn.Tanh})
    other.output("y")
    with pytest.raises(ConfigError, match=f"{table.space}.*{other.fingerprint}"):
        table.check(other, 2)
    with pytest.raises(ConfigError, match="not held against"):
        replace(table, agreement=None).check(space, 2)
    bad = agreement([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    with pytest.raises(ConfigError, match=r"67\.? ?.*%|rank correlation -1"):
        replace(table, agreement=bad).check(space, 2)


@pytest.mark.parametrize(
    ("predicted", "measured", "good"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.1, 2.1, 3.2, 4.1], True),
        ([1.0, 2.0, 3.0, 4.0], [1.3, 2.6, 3.9, 5.2], False),
        ([1.0, 3.0, 2.0, 4.0], [1.0, 2.9, 3.1, 4.0], False),
        ([1.02, 1.0, 1.01, 1.03], [1.0, 1.01, 1.02, 1.03], True),
    ],
)
def test_what_a_good_table_is(predicted: Any, measured: Any, good: bool) -> None:
    assert agreement(predicted, measured).good == good


def test_order_is_not_asked_for_where_it_is_noise() -> None:
    """Three networks that take nearly the same: their times differ by 12 %, and repeat to 5 %."""
    predicted, measured = [1.05, 1.04, 1.0], [1.0, 1.08, 1.12]
    assert agreement(predicted, measured).ordered
    assert not agreement(predicted, measured).good, "measured exactly, the order is wrong"
    noisy = agreement(predicted, measured, 0.05)
    variance = np.log(measured).var()
    assert noisy.reliability == pytest.approx(max(1 - 0.05**2 / variance, 0))
    assert not noisy.ordered
    assert noisy.good and "little more than noise" in str(noisy) and "R²" not in str(noisy)
    assert not agreement([2.0, 2.1, 2.2], measured, 0.05).good, "errors count all the same"
    assert not agreement([3.0, 2.0, 3.1], [1.0, 2.0, 3.0], 0.05).good, (
        "of times far apart the order counts"
    )
    assert agreement([1.1, 1.0], [1.0, 1.0], 0.05).reliability == 0


@pytest.mark.slow
def test_networks_of_one_time_are_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six networks that take the same, on a machine whose readings differ by a third: the table may be used."""
    space = SearchSpace("alike")
    before = space.input("x", (3,))
    for number in range(2):
        node = space.node(f"n{number}")
        names = ("a", "b", "c") if number else ("a", "b")
        space.edge(before, node, dict.fromkeys(names, nn.Identity))
        before = node
    space.output(before)
    source = np.random.default_rng(0)

    def readings(calls: Any, **_: Any) -> list[list[float]]:
        return [(1e-3 + 4e-4 * source.random(5)).tolist() for _ in calls]

    monkeypatch.setattr(measuring, "quiet_readings", readings)
    found = [measure_table(space).agreement for _ in range(20)]
    assert all(one is not None and one.good for one in found)
    told = [max(one.measured_ms) / min(one.measured_ms) for one in found if one is not None]
    assert max(told) > 1.1, "some of them would have been asked for their order"


def test_agreement_in_numbers() -> None:
    found = agreement([1.0, 2.0, 5.0], [1.0, 2.5, 4.0])
    assert found.median_error == pytest.approx(0.2)
    assert found.worst_error == pytest.approx(0.25)
    assert found.r2 == pytest.approx(1 - 1.25 / 4.5)
    assert found.rank_correlation == 1.0
    assert agreement([2.0, 1.0], [3.0, 3.0]).rank_correlation == 0.0
    assert isinstance(found, LatencyAgreement) and "3 networks" in str(found)


def test_rank_correlation_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    source = np.random.default_rng(0)
    for _ in range(5):
        one, two = source.integers(0, 6, size=(2, 12)).astype(float)
        assert rank_correlation(one, two) == pytest.approx(float(stats.spearmanr(one, two)[0]))


def test_modules_of_one_s_own_are_timed() -> None:
    x = torch.zeros(1, 1)
    found = time_modules({"a": (Sleep(0.3), x), "b": (Sleep(1.2), x)})
    assert list(found) == ["a", "b"]
    assert found["b"].ms - found["a"].ms == pytest.approx(0.9, abs=0.4)
    assert time_modules({}) == {}


def test_a_space_needs_structures_to_be_held_against() -> None:
    small = SearchSpace("small")
    small.input("x", (3,))
    small.node("y")
    small.edge("x", "y", {"a": nn.ReLU, "b": nn.Tanh, "none": ZeroOperation})
    small.output("y")
    two = measure_table(small)
    assert two.agreement is not None and len(two.agreement.measured_ms) == 1
    assert two.agreement.good == (two.agreement.median_error <= 0.15)
    one = SearchSpace("one")
    one.input("x", (3,))
    one.node("y")
    one.edge("x", "y", {"a": nn.ReLU, "none": ZeroOperation})
    one.output("y")
    with pytest.raises(ConfigError, match=r"one: 1 of its structures.*another"):
        measure_table(one)
    with pytest.raises(ConfigError, match="batch_size=0"):
        measure_table(small, batch_size=0)


class Nap(Sleep):
    """The same, of which the text does not say how long it takes."""

    def extra_repr(self) -> str:
        return ""


def test_operations_whose_texts_are_alike_have_times_of_their_own() -> None:
    space = SearchSpace("texts")
    x, y = space.input("x", (3,)), space.node("y")
    space.edge(x, y, {"short": lambda: Nap(0.2), "long": lambda: Nap(4.0), "none": ZeroOperation})
    space.output(y)
    times = measuring._operations(space, 1, torch.device("cpu"))["x->y"]
    assert repr(Nap(0.2)) == repr(Nap(4.0))
    assert times["long"].ms > 10 * times["short"].ms
    assert measuring._about(nn.Linear(3, 3), (3,)) == measuring._about(nn.Linear(3, 3), (3,))
