"""Which estimators may choose λ of a regression: those whose choice held-out errors do not speak against."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import ConfigError, MemberWarning
from netdial.data.dataset import Dataset
from netdial.evidence import Estimate, chosen, lowest
from netdial.evidence.held_out import MARGIN, errors_along, objection
from netdial.family import Family
from netdial.measure import calibrate
from netdial.task import NoiseCurve, Regression


def friedman(count: int, seed: int) -> Dataset:
    """Friedman's first problem with noise 1, about 4 % of the variance, in standardised units (mean 14.4, std 4.9)."""
    source = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 10, generator=source)
    mean = (
        10 * (math.pi * x[:, 0] * x[:, 1]).sin()
        + 20 * (x[:, 2] - 0.5).square()
        + 10 * x[:, 3]
        + 5 * x[:, 4]
    )
    y = mean + torch.randn(count, generator=source)
    return Dataset((x - 0.5) * math.sqrt(12), ((y - 14.4) / 4.9)[:, None])


def trained(objective: str, valid: Dataset | None = None) -> Family:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 1))
    return nd.fit(
        net,
        friedman(160, 0),
        valid,
        objective=objective,
        lam=(1e-3, 100.0),
        epochs=30,
        lr=0.03,
        batch_size=32,
    )


BY = {
    "scaled-kl": ["elbo", "eb-elbo", "mdl", "iwae", "laplace-kronecker", "waic", "psis-loo"],
    "ard": ["ard-elbo", "eb-elbo", "mdl", "waic", "psis-loo"],
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", list(BY))
def test_what_may_choose_takes_a_member_about_as_good_as_the_best(objective: str) -> None:
    """On 1,000 rows that nothing else saw: within 15 % of the RMSE of the member that validation takes."""
    valid, test, train = friedman(80, 1), friedman(1000, 2), friedman(160, 0)
    family = trained(objective, valid)
    lams = family.lams(9)
    found = nd.assess(family, train, lams=lams, by=BY[objective])
    rmse = {m.lam: m.metrics["rmse"] for m in nd.evaluate(family, test, lams=lams).members}
    by_valid = {m.lam: m.metrics["rmse"] for m in nd.evaluate(family, valid, lams=lams).members}
    limit = rmse[min(by_valid, key=by_valid.__getitem__)]
    taken, would = chosen(found), lowest(found)
    assert set(would) == set(BY[objective]) and 0 < len(taken) < len(would)
    assert all(rmse[lam] <= 1.15 * limit for lam in taken.values())
    refused = would.keys() - taken.keys()
    assert "mdl" in refused and rmse[would["mdl"]] > 1.15 * limit
    for estimate in found:
        assert estimate.legal == (estimate.name in taken)
        if estimate.name in refused:
            assert f"{would[estimate.name]:.3g}" in estimate.why
    with pytest.raises(ConfigError, match=r"by='mdl'.*RMSE on held-out rows.*validation data"):
        nd.choose(family, train=train, by="mdl", lams=lams, shares=(0,))
    kept = nd.choose(family, train=train, by="psis-loo", lams=lams, shares=(0,))
    assert kept.lam == taken["psis-loo"]


@pytest.mark.slow
def test_without_held_out_rows_it_says_that_a_choice_is_unchecked_and_what_to_do() -> None:
    family, train, valid = trained("scaled-kl"), friedman(160, 0), friedman(80, 1)
    found = nd.assess(family, train, lams=5, by=["elbo", "waic", "laplace-diagonal"])
    assert chosen(found) == lowest(found) and len(chosen(found)) == 3
    assert all("calibrate" in e.why and "validation part" in e.why for e in found)
    assert "calibrate" in nd.choose(family, train=train, by="waic", lams=5, shares=(0,)).why
    with pytest.warns(MemberWarning, match=r"by='elbo'.*constant"):
        nd.choose(family, train=train, by="elbo", lams=[30.0, 100.0], shares=(0,))

    # validation data that are given with the choice are held out as well
    assert nd.choose(family, valid, train=train, by="psis-loo", lams=5, shares=(0,)).by == (
        "psis-loo"
    )
    with pytest.raises(ConfigError, match=r"by='mdl'.*held-out"):
        nd.choose(family, valid, train=train, by="mdl", lams=5, shares=(0,))
    calibrate(family, valid)
    assert "psis-loo" in chosen(nd.assess(family, train, lams=5, by=["psis-loo"]))


def test_an_estimator_that_takes_a_constant_may_not_choose_even_unchecked() -> None:
    family, train = trained("ard"), friedman(160, 0)
    lams = [1e-3, 100.0]
    found = nd.assess(family, train, lams=lams, by=["mdl", "psis-loo"])
    assert lowest(found)["mdl"] == 100 and chosen(found) == {"psis-loo": 1e-3}
    with pytest.raises(ConfigError, match=r"by='mdl'.*hardly better than a constant"):
        nd.choose(family, train=train, by="mdl", lams=lams, shares=(0,))


def test_errors_decide_by_their_ratio_and_against_a_constant() -> None:
    errors = {0.1: 0.2, 1.0: 0.2 * MARGIN**2 * 0.99, 10.0: 0.2 * MARGIN**2 * 1.01}
    assert not objection(0.1, errors) and not objection(1.0, errors)
    said = objection(10.0, errors)
    assert "λ = 10" in said and "1.16 times" in said and "λ = 0.1" in said
    y = torch.tensor([[0.0], [0.8]])  # a variance of 0.16
    said = objection(0.1, errors, y)
    assert (
        f"{errors[0.1] ** 0.5:.3g}, is no smaller than" in said and "training targets, 0.4;" in said
    )
    assert not objection(0.1, errors, 2 * y)


def test_held_out_errors_are_the_variances_of_their_law() -> None:
    curve = NoiseCurve((1.0, 4.0), ((9.0, 9.0),) * 2, ((1.0, 3.0), (1.0, 3.0)), (0.0, 0.25))
    task = Regression(curve=curve)
    found = errors_along(task, [1.0, 4.0])
    assert found == pytest.approx({1.0: 2.0, 4.0: 4.0}), "s² / (1 - 2/ν)"
    assert errors_along(Regression(), [1.0]) == {}
    assert Regression().wants_held_out and not Regression(noise_var=(0.1,)).wants_held_out


def test_what_judges_the_whole_family_chooses_nothing() -> None:
    readings = [Estimate("wbic", 5.0, 1.0, 0.0, legal=False), Estimate("elbo", 1.0, 2.0, 0.0)]
    assert lowest(readings) == chosen(readings) == {"elbo": 1.0}
