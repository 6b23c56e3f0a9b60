"""Size in a loss, and structures within a limit, against brute force."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.measure.latency import Machine
from netdial.structure import limits
from netdial.structure.cost import StructureCosts
from netdial.structure.graph.operations import ZeroOperation
from netdial.structure.graph.space import SearchSpace
from netdial.structure.latency import LatencyLookup, OperationTime
from netdial.structure.limits import NoStructureMeets, best_within
from netdial.structure.terms import (
    AdditiveTerm,
    ConstrainedTerm,
    FbnetTerm,
    HingeTerm,
)

LOSS = torch.tensor(2.0)


def test_fbnet_is_the_logarithm_to_a_power() -> None:
    found = FbnetTerm(0.3, 2.5, "us")(LOSS, torch.tensor(0.5))
    assert float(found) == pytest.approx(2.0 * 0.3 * math.log(500.0) ** 2.5)
    assert float(found) != pytest.approx(2.0 * 0.3 * 2.5 * math.log(500.0))
    lat = torch.tensor(3.0, requires_grad=True)
    (grad,) = torch.autograd.grad(FbnetTerm(0.2, 0.6, "ms")(LOSS, lat), lat)
    log = math.log(3.0)
    assert float(grad) == pytest.approx(2.0 * 0.2 * 0.6 * log**-0.4 / 3.0)


def test_a_latency_of_at_most_one_in_its_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.5 ms.*us"):
        FbnetTerm(unit="ms")(LOSS, torch.tensor([2.0, 0.5]))
    with pytest.raises(ConfigError, match=r"0\.9 s.*ms or us"):
        FbnetTerm(unit="s").check(900.0)
    with pytest.raises(ConfigError, match="none of s, ms, us"):
        FbnetTerm(unit="us").check(0.0005)
    FbnetTerm(unit="us").check(0.002)
    for make in (
        lambda: FbnetTerm(weight=0.0),
        lambda: FbnetTerm(power=-1.0),
        lambda: HingeTerm(0.0),
        lambda: HingeTerm(1.0, weight=math.nan),
        lambda: AdditiveTerm(weight=-1.0, scale=1.0),
        lambda: ConstrainedTerm(math.inf),
    ):
        with pytest.raises(ConfigError, match="="):
            make()
    with pytest.raises(ConfigError, match=r"'min'.*ms"):
        FbnetTerm(unit="min")  # type: ignore[arg-type]


def test_sum_and_hinge() -> None:
    assert float(AdditiveTerm(0.5, scale=4.0)(LOSS, torch.tensor(6.0))) == 2.75
    hinge = HingeTerm(4.0, weight=0.5)
    assert float(hinge(LOSS, torch.tensor(6.0))) == 2.5  # half of the excess, times the loss
    assert float(hinge(LOSS, torch.tensor(3.9))) == 2.0


def test_the_multiplier_finds_the_constrained_optimum() -> None:
    """min (t - 5)² under t ≤ 2: t = 2, and the multiplier 2 (5 - 2) · limit."""
    term, multiplier = ConstrainedTerm(2.0, rate=0.5), 0.0
    t = torch.tensor(5.0, requires_grad=True)
    for _ in range(400):
        (grad,) = torch.autograd.grad(term((t - 5) ** 2, t, multiplier), t)
        with torch.no_grad():
            t -= 0.05 * grad
        multiplier = term.ascended(multiplier, t)
    assert t.item() == pytest.approx(2.0, abs=0.02)
    assert multiplier == pytest.approx(12.0, abs=0.2)
    assert ConstrainedTerm(2.0).ascended(0.0, torch.tensor(1.0)) == 0.0


def four() -> SearchSpace:
    space = SearchSpace("four")
    before = space.input("x", (2,))
    for number in range(4):
        node = space.node(f"n{number}")
        space.edge(
            before, node, {"none": ZeroOperation, "a": nn.ReLU, "b": nn.Tanh, "c": nn.Sigmoid}
        )
        before = node
    space.edge("x", before, {"none": ZeroOperation, "skip": nn.Identity}, name="short")
    space.output(before)
    return space


def timed(space: SearchSpace, seed: int) -> LatencyLookup:
    source = torch.Generator().manual_seed(seed)
    times: dict[str, dict[str, OperationTime]] = {
        name: {
            operation: OperationTime(0.2 + 3 * float(torch.rand((), generator=source)), 0.0, 5)
            if operation != "none"
            else OperationTime(0.0, 0.0, 0)
            for operation in edge.operations
        }
        for name, edge in space.wiring.edges.items()
    }
    return LatencyLookup(space.fingerprint, Machine.here(), 1, times, constant_ms=0.1)


def chances(space: SearchSpace, seed: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(100 + seed)
    return {
        key: (2 * torch.randn(len(choice.operations), generator=source)).softmax(dim=0)
        for key, choice in space.choices.items()
    }


def scored(space: SearchSpace, genotype: Any, probabilities: dict[str, Tensor]) -> float:
    return sum(
        float(probabilities[key][choice.operations.index(genotype[key][0])].log())
        for key, choice in space.choices.items()
    )


@pytest.mark.parametrize("case", range(4))
def test_the_most_probable_structure_within_a_limit(
    case: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = four()
    table, probabilities, costs = timed(space, case), chances(space, case), StructureCosts(space)
    bound = 2.0 + case
    whole = best_within(space, table, bound, probabilities, costs=costs)
    assert table.of(costs, whole) <= bound
    monkeypatch.setattr(limits, "MOST_ENUMERATED", 0)
    priced = best_within(space, table, bound, probabilities, costs=costs)
    assert table.of(costs, priced) <= bound
    exact, near = (scored(space, genotype, probabilities) for genotype in (whole, priced))
    assert near <= exact + 1e-6
    assert near >= exact - 2.5


@pytest.mark.parametrize("most", [0, 20_000])
def test_a_limit_that_no_structure_meets_names_the_nearest(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_ENUMERATED", most)
    space = four()
    table, probabilities = timed(space, 0), chances(space, 0)
    costs = StructureCosts(space)
    with pytest.raises(NoStructureMeets, match=r"0\.15 ms") as caught:
        best_within(space, table, 0.15, probabilities)
    found = table.of(costs, caught.value.nearest)
    assert caught.value.nearest_size == pytest.approx(found)
    if most:
        assert found == pytest.approx(table.costs["short"]["skip"] + 0.1)
    with pytest.raises(ConfigError, match="limit=0"):
        best_within(space, table, 0.0, probabilities)


def test_without_pressure_the_most_probable_structure_is_taken() -> None:
    space = four()
    probabilities = chances(space, 1)
    found = best_within(space, timed(space, 1), 1e3, probabilities)
    assert found == space.discretise(probabilities)
