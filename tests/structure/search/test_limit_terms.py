"""How a limit of size leads a search by gradient: a hinge, or a multiplier that grows while the limit is exceeded."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.structure import SearchSpace, StructureCosts, ZeroOperation
from netdial.structure.graph.space import Gamma
from netdial.structure.search.config import SearchConfig, SpaceSearchConfig
from netdial.structure.search.limits import Constraint, SizeLimit
from netdial.structure.search.outcome import SearchOutcome
from netdial.structure.search.searching import prepare
from netdial.structure.search.strategy import GradientStrategy
from netdial.train.session import Interrupted

LIMIT = 150


def widths() -> SearchSpace:
    """Wider layers fit better; without a limit the expected size goes to 400 parameters and more."""

    def hidden(width: int) -> Callable[[Any], nn.Module]:
        return lambda shape: nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 4))

    space = SearchSpace("widths")
    x, h, y = space.input("x", (4,)), space.node("h"), space.node("y")
    operations = {"none": ZeroOperation, "2": hidden(2), "8": hidden(8), "32": hidden(32)}
    for source, target in ((x, h), (x, y), (h, y)):
        space.edge(source, target, operations)
    space.node("o")
    space.edge(y, "o", {"head": lambda shape: nn.Linear(4, 1)})
    space.output("o")
    return space


def parts() -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    y = 4 * x.sin().prod(1, keepdim=True) + x[:, :1].square()
    return [(x[:200], y[:200]), (x[200:], y[200:])]


SETTINGS: dict[str, Any] = {
    "batch_size": 40,
    "lr": 0.01,
    "network_epochs": 2,
    "candidates": 1,
    "compare": False,
}


def expected(probabilities: Gamma | None) -> float:
    assert probabilities is not None
    costs = StructureCosts(widths())
    return float(costs.expected_of_table(costs.params, probabilities).detach())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["darts", "dnas"])
def test_a_multiplier_brings_the_expected_size_to_the_limit(strategy: str) -> None:
    means = []
    for more in ({}, {"size": f"{LIMIT} params", "limit_term": "constrained"}):
        config = SearchConfig(strategy=strategy, epochs=60, **SETTINGS, **more)
        job = prepare(widths(), *parts(), config)
        seen: list[float] = []
        job.report = lambda epoch, state, rows, seen=seen: seen.append(expected(rows))
        found = job.run()
        means.append(fmean(seen[20:]))  # it swings about the limit
    assert found.cost.params <= LIMIT
    assert means[0] > 1.5 * LIMIT
    assert means[1] == pytest.approx(LIMIT, rel=0.2)


def test_the_multiplier_is_that_of_a_step_up_the_dual_and_stays_0_within_the_limit() -> None:
    ends = []
    for size in (f"{LIMIT} params", "1M params"):
        config = SearchConfig(epochs=1, size=size, limit_term="constrained", **SETTINGS)
        job = prepare(widths(), *parts(), config)
        seen: list[float] = []
        job.report = lambda epoch, state, rows, seen=seen: seen.append(expected(rows))
        assert isinstance(job.strategy, GradientStrategy)
        state, _ = job.searched(job.strategy, {})
        ends.append((Constraint.multiplier(state), seen[-1]))
    # from 0: five steps of .05 times an excess that hardly changes in them
    assert ends[0][0] == pytest.approx(5 * 0.05 * (ends[0][1] / LIMIT - 1), rel=0.2)
    assert ends[1][0] == 0


def test_the_lagrangian_is_the_loss_and_the_multiplier_times_the_distance() -> None:
    limit = SizeLimit(widths(), f"{LIMIT} params")
    config = SearchConfig(epochs=1, size=f"{LIMIT} params", limit_term="constrained", **SETTINGS)
    job = prepare(widths(), *parts(), config)
    assert isinstance(job.strategy, GradientStrategy)
    state, _ = job.searched(job.strategy, {})
    state.memory = {"multiplier of the limit": torch.tensor(3.0)}
    rows = job.strategy.probabilities(state)
    found = Constraint(limit)(state, torch.tensor(2.0), rows).detach()
    assert float(found) == pytest.approx(2 + 3 * (expected(rows) / LIMIT - 1), rel=1e-5)
    hinge = limit.objective(torch.tensor(-2.0), rows).detach()
    assert float(hinge) == pytest.approx(-2 + 2 * 2 * (expected(rows) / LIMIT - 1), rel=1e-5)


@pytest.mark.slow
def test_a_multiplier_goes_on_bit_for_bit(tmp_path: Path) -> None:
    config = SearchConfig(epochs=2, size=f"{LIMIT} params", limit_term="constrained", **SETTINGS)

    def run(**session: Any) -> SearchOutcome:
        return prepare(widths(), *parts(), config).run(**session)

    def interrupt(step: int, total: int) -> None:
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)

    whole = run()
    with pytest.raises(Interrupted):
        run(checkpoint=tmp_path / "state", advance=interrupt)
    again = run(checkpoint=tmp_path / "state", resuming=True)
    assert whole.probabilities is not None and again.probabilities is not None
    assert all(torch.equal(row, again.probabilities[k]) for k, row in whole.probabilities.items())


def test_a_term_of_a_limit_needs_a_limit_and_a_loss() -> None:
    with pytest.raises(ConfigError, match=r"limit_term='constrained': there is no limit"):
        SearchConfig(limit_term="constrained")
    with pytest.raises(ConfigError, match=r"random trains structures by themselves"):
        SearchConfig(limit_term="constrained", strategy="random", size="1k params")
    with pytest.raises(ConfigError, match="limit_term"):
        nd.search(widths(), *parts(), limit_term="lagrange", size="1k params")
    assert SpaceSearchConfig(limit_term="constrained", max_latency_ms=0.4).limited
