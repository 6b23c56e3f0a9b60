"""Optimisers: each of torch makes a step for every map or says why not; rates, momentum, schedules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError
from netdial.family.family import Family
from netdial.family.maps import MAPS, TableMap
from netdial.train.config import make_config
from netdial.train.optimiser import make_optimizer, make_rates, optimizer_names
from netdial.train.schedules import usual_rate


def family_of(map_name: str = "piecewise", **settings: object) -> tuple[Family, object]:
    lams = (0.1, 1.0) if map_name == "table" else ()
    config = make_config(map=map_name, lams=lams, **settings)
    return Family(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), config.family()), config


def step(family: Family, optimizer: torch.optim.Optimizer) -> None:
    unit = (
        family.mean.rows if isinstance(family.mean, TableMap) else torch.tensor([0.2, 0.8]).double()
    )
    fields = family.fields(unit)
    complexity = fields.absolute_norm() if fields.log_std is None else fields.kl(torch.ones(2))
    (fields.mean.sin().sum() + complexity.sum()).backward()
    optimizer.step()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["l1", "scaled-kl"])  # a point, a normal posterior
@pytest.mark.parametrize("map_name", list(MAPS))
@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_moves_every_map_or_says_why_not(
    name: str, map_name: str, objective: str
) -> None:
    family, config = family_of(map_name, optimizer=name, objective=objective)
    before = [p.detach().clone() for p in family.parameters()]
    if name == "Muon" and map_name in ("gated", "lowrank"):  # it takes matrices alone
        with pytest.raises(ConfigError, match="optimizer Muon cannot train these parameters"):
            make_optimizer(family, config)
        return
    optimizer = make_optimizer(family, config)
    step(family, optimizer)
    moved = [not torch.equal(p, b) for p, b in zip(family.parameters(), before, strict=True)]
    assert any(moved)
    assert all(bool(p.isfinite().all()) for p in family.parameters())


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_the_usual_optimizers_are_fused(name: str) -> None:
    family, config = family_of(optimizer=name)
    assert all(group["fused"] for group in make_optimizer(family, config).param_groups)


def test_spreads_have_a_rate_of_their_own() -> None:
    family, config = family_of(objective="scaled-kl", lr=0.01, std_rate=2.5, shared=("1.bias",))
    means, spreads = make_optimizer(family, config).param_groups
    assert (means["lr"], spreads["lr"]) == (0.01, 0.025)
    assert {id(p) for p in spreads["params"]} == {id(p) for p in family.log_std.parameters()}
    everything = {id(p) for p in family.parameters()}
    assert {id(p) for g in (means, spreads) for p in g["params"]} == everything


@pytest.mark.parametrize("settings", [{}, {"objective": "l2"}])
def test_a_point_family_has_one_rate(settings: dict[str, str]) -> None:
    family, config = family_of(**settings)
    assert len(make_optimizer(family, config).param_groups) == 1


def test_momentum_is_given_to_those_that_take_it() -> None:
    family, config = family_of(optimizer="SGD", momentum=0.9)
    assert make_optimizer(family, config).param_groups[0]["momentum"] == 0.9
    family, config = family_of(optimizer="Adam", momentum=0.9)
    with pytest.raises(
        ConfigError, match="optimizer Adam takes no momentum; leave it out, or choose SGD"
    ):
        make_optimizer(family, config)


@pytest.mark.parametrize("name", ["Adma", "LBFGS", "Optimizer", "SparseAdam"])
def test_unknown_optimizers_are_refused(name: str) -> None:
    family, config = family_of(optimizer=name)
    with pytest.raises(ConfigError, match=f"unknown optimizer '{name}'"):
        make_optimizer(family, config)


@pytest.mark.parametrize(("name", "ends"), [("onecycle", 0.0), ("cosine", 0.0), ("constant", 1.0)])
def test_schedules_scale_both_rates(name: str, ends: float) -> None:
    family, config = family_of(objective="scaled-kl", schedule=name, lr=0.1, std_rate=3)
    optimizer = make_optimizer(family, config)
    rates = make_rates(optimizer, config, 10)
    seen = []
    for _ in range(10):
        step(family, optimizer)
        rates.step()
        first, second = rates.now
        assert second == pytest.approx(3 * first)
        seen.append(first)
    assert seen[-1] == pytest.approx(0.1 * ends, abs=1e-9)
    assert max(seen) <= 0.1 + 1e-12


def rate_of(layers: list[nn.Module], n_rows: int, **settings: Any) -> float:
    net = nn.Sequential(*layers)
    config = make_config(**settings)
    return float(make_optimizer(Family(net, config.family()), config, n_rows).param_groups[0]["lr"])


def test_families_of_perceptrons_adapt_the_usual_rate_to_rows_and_columns() -> None:
    def perceptron(columns: int) -> list[nn.Module]:
        return [nn.Linear(columns, 4), nn.ReLU(), nn.Linear(4, 2)]

    assert rate_of(perceptron(10), 150) == pytest.approx(4e-3 * 4.5**0.7)
    assert rate_of(perceptron(300), 100) < 1.5e-3
    assert rate_of(perceptron(300), 100_000) == pytest.approx(4e-3, rel=1e-3)  # rows are many
    for other in ({"lr": 0.02}, {"objective": "ard"}, {"optimizer": "SGD"}, {"anchor": "start"}):
        expected = other.get("lr", 4e-3)
        assert rate_of(perceptron(10), 150, **other) == expected
    convolution = [nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(16, 2)]
    assert rate_of(convolution, 150) == 4e-3


def test_the_rate_falls_with_columns_and_stays_within_its_bounds() -> None:
    rates = [usual_rate(100, columns) for columns in (1, 10, 45, 46, 200, 10_000)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[-1]) == (0.016, 0.001)
    by_rows = [usual_rate(rows, 500) for rows in (10, 500, 2_000, 10**7)]
    assert by_rows == sorted(by_rows)
