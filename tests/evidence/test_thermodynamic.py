"""Integration over exact tempered posteriors gives exact evidence, WBIC its closed form; both know their range."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from netdial.choice import choose
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.evidence import Estimate, assess, chosen
from netdial.evidence.estimators.temperature import (
    Ladder,
    integration_weights,
    nodes_from,
)
from netdial.evidence.estimators.thermodynamic import integrated
from netdial.evidence.subject import EvidenceSubject, Trace
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.task import Regression
from netdial.task.regression import PRIOR

from .conftest import Linear, make_linear

Z = 5.0


def weigh(linear: Linear, family: Family, name: str, **options: object) -> Estimate:
    (found,) = assess(family, linear.data, by=[name], kind="regression", **options)  # type: ignore[arg-type]
    return found


def total(estimate: Estimate, n: int = 40) -> float:
    return estimate.value * n * math.log(2)


def test_integration_gives_the_exact_evidence(linear: Linear, seed: int) -> None:
    found = weigh(linear, linear.family(), "thermodynamic", n_samples=300, seed=seed)
    error = found.error * 40 * math.log(2)
    assert math.isnan(found.lam) and not found.legal
    assert total(found) == pytest.approx(-linear.log_evidence(), abs=Z * error)
    assert error < 0.3
    assert abs(found.parts["excess"]) < Z * found.error


def test_it_holds_for_a_short_path_whose_end_is_far_from_the_prior(linear: Linear) -> None:
    found = weigh(linear, linear.family(hi=10.0), "thermodynamic", n_samples=300)
    assert found.parts["end"] * 40 * math.log(2) > 3
    assert total(found) == pytest.approx(
        -linear.log_evidence(), abs=Z * found.error * 40 * math.log(2)
    )


def test_directly_trained_networks_are_nodes_themselves(linear: Linear) -> None:
    lams = (0.5, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    found = weigh(linear, linear.family(lams=lams), "thermodynamic", n_samples=300)
    assert total(found) == pytest.approx(
        -linear.log_evidence(), abs=Z * found.error * 40 * math.log(2)
    )
    with pytest.raises(
        ConfigError, match=r"must stand at λ = 1 and at two values above.*got 0.5, 3, 10"
    ):
        weigh(linear, linear.family(lams=(0.5, 3.0, 10.0)), "thermodynamic")


def test_the_rule_is_exact_for_the_law_of_a_regular_model() -> None:
    beta = torch.tensor([1.0, 0.7, 0.2, 0.1, 0.03], dtype=torch.float64)
    weights = integration_weights(beta)
    assert float(weights.sum()) == pytest.approx(0.97)
    assert float(weights @ (1 / beta)) == pytest.approx(-math.log(0.03))
    smooth = torch.logspace(0, -2, 17, dtype=torch.float64)
    exact = 2 / 3 * (1 - 0.01**1.5)
    assert float(integration_weights(smooth) @ smooth.sqrt()) == pytest.approx(exact, rel=2e-4)
    assert float(integration_weights(smooth[:2]) @ (1 / smooth[:2])) == pytest.approx(
        math.log(smooth[0] / smooth[1])
    )


def test_wbic_is_the_fit_at_log_n(linear: Linear) -> None:
    found = weigh(linear, linear.family(), "wbic", n_samples=300)
    assert found.lam == pytest.approx(math.log(40))
    closed = -linear.fit(*linear.posterior(1 / math.log(40), 1.0))
    assert total(found) == pytest.approx(closed, abs=Z * found.error * 40 * math.log(2) + 0.01)
    assert abs(total(found) + linear.log_evidence()) < 3


@pytest.mark.parametrize(
    ("name", "lo", "hi", "message"),
    [
        (
            "wbic",
            0.1,
            2.0,
            r"wbic: needs the member at lam = log N = 3.689, outside the trained range \[0.1, 2\]",
        ),
        ("thermodynamic", 0.001, 1.0, r"from λ = 1 upwards, the trained range is \[0.001, 1\]"),
        ("thermodynamic", 2.0, 100.0, r"from λ = 1 upwards, the trained range is \[2, 100\]"),
    ],
)
def test_ranges_that_do_not_reach_are_refused(
    name: str, lo: float, hi: float, message: str
) -> None:
    family = Family(nn.Linear(2, 1), FamilyConfig(lo, hi))
    data = Dataset(torch.randn(40, 2), torch.randn(40, 1))
    with pytest.raises(ConfigError, match=message):
        assess(family, data, by=[name], kind="regression")


def over_noise(linear: Linear, heat: float = 1.0) -> tuple[Tensor, Tensor]:
    """log σ² on a fine grid, and log of prior × ∫ p(w) p(D | w, σ²)^(1/heat) dw there, in closed form."""
    a, b = PRIOR
    logs = torch.linspace(math.log(1e-3), math.log(100), 1500, dtype=torch.float64)
    prior = a * math.log(b) - math.lgamma(a) - a * logs - b * (-logs).exp()
    n, found = len(linear.x), []
    for v in logs.exp().tolist():
        # N(y; f, σ²)^β = N(y; f, σ²/β) × a constant
        tempered = linear.log_evidence(noise_var=v * heat)
        constant = 0.5 * n * (math.log(2 * math.pi * v * heat) - math.log(2 * math.pi * v) / heat)
        found.append(tempered + constant)
    return logs, prior + torch.tensor(found).double()


@pytest.mark.parametrize("noise", [1.0, 0.05])
def test_integration_over_temperature_and_noise_is_exact_to_a_hundredth_of_a_nat(
    noise: float,
) -> None:
    """Energies of exact posteriors in closed form, at the nodes that a family would have: no sampling, the rule alone."""
    linear = make_linear(40, seed=3, noise_var=noise)
    subject = EvidenceSubject(linear.family(lo=0.003, hi=30, regions=3), linear.data, (1.0,))
    lams = nodes_from(subject, "thermodynamic", None)
    posteriors = [linear.posterior(1 / lam, 1.0) for lam in lams]
    traces = [Trace(torch.tensor([[-linear.fit(*q)]]).double(), torch.zeros(0)) for q in posteriors]
    mean, var = posteriors[-1]
    kl = 0.5 * float((var + mean.square() - 1 - var.log()).sum())
    path = Ladder(tuple(lams), tuple(traces), kl, 20 * math.log(2 * math.pi), 40, 1.0)
    value, shares, points = integrated(path, extrapolated=True)
    logs, terms = over_noise(linear)
    exact = float(terms.logsumexp(0) + (logs[1] - logs[0]).log())
    assert value == pytest.approx(-exact, abs=0.01)
    found, closed = float(shares @ points.log_lam.exp()), float(terms.softmax(0) @ logs.exp())
    assert found == pytest.approx(closed, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "assumed"), [(1.0, 1.0), (0.05, 1.0), (0.05, 0.05)])
def test_with_unknown_noise_it_is_the_exact_marginal_likelihood(
    noise: float, assumed: float
) -> None:
    """Within five standard errors and 1 nat, whatever noise variance training assumed."""
    linear = make_linear(40, seed=3, noise_var=noise)
    family = linear.family(lo=0.003 / assumed, hi=30 / assumed, noise_var=assumed)
    family.learns(Regression().assuming(assumed), 40)
    found = weigh(linear, family, "thermodynamic", n_samples=600)
    logs, terms = over_noise(linear)
    exact = float(terms.logsumexp(0) + (logs[1] - logs[0]).log())
    error = found.error * 40 * math.log(2)
    assert error < 0.21
    assert total(found) == pytest.approx(-exact, abs=Z * error)
    assert found.parts["noise_var"] == pytest.approx(float(terms.softmax(0) @ logs.exp()), rel=0.03)
    elbo = min(total(e) for e in assess(family, linear.data, lams=41, by=["elbo"]))
    assert total(found) - found.parts["excess"] * 40 * math.log(2) == pytest.approx(elbo, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [1.0, 0.05])
def test_wbic_with_unknown_noise_averages_over_both(noise: float) -> None:
    """Against the tempered posterior of weights and noise in closed form, and within 4 nats of the evidence."""
    linear = make_linear(40, seed=3, noise_var=noise)
    family, heat = linear.family(lo=0.003), math.log(40)
    family.learns(Regression(), 40)
    found = weigh(linear, family, "wbic", n_samples=400)
    logs, terms = over_noise(linear, heat)
    shares, closed = terms.softmax(0), 0.0
    for share, v in zip(shares.tolist(), logs.exp().tolist(), strict=True):
        mean, spread = linear.posterior(1 / (v * heat), 1.0)
        squares = -2 * linear.fit(mean, spread) - 40 * math.log(2 * math.pi)
        closed += share * 0.5 * (squares / v + 40 * math.log(2 * math.pi * v))
    error = found.error * 40 * math.log(2)
    assert error < 0.5
    assert total(found) == pytest.approx(closed, abs=Z * error + 0.02)
    logs, terms = over_noise(linear)
    assert abs(total(found) + float(terms.logsumexp(0) + (logs[1] - logs[0]).log())) < 4


def test_a_noise_that_is_given_is_judged_by_the_member_that_stands_for_it(linear: Linear) -> None:
    """log p(D | σ² = .5) of a family trained under σ² = 1: the path starts at λ = .5."""
    family = linear.family()
    family.learns(Regression(), 40)
    task = Regression(noise_var=(0.5,))
    (found,) = assess(family, linear.data, by=["thermodynamic"], kind=task, n_samples=300)
    exact = -linear.log_evidence(noise_var=0.5)
    assert total(found) == pytest.approx(exact, abs=Z * found.error * 40 * math.log(2))
    assert abs(found.parts["excess"]) < Z * found.error
    (found,) = assess(family, linear.data, by=["wbic"], kind=task, n_samples=300)
    assert found.lam == pytest.approx(0.5 * math.log(40))
    mean, spread = linear.posterior(1 / found.lam, 1.0)
    squares = -2 * linear.fit(mean, spread) - 40 * math.log(2 * math.pi)
    closed = 0.5 * (squares / 0.5 + 40 * math.log(math.pi))
    assert total(found) == pytest.approx(closed, abs=Z * found.error * 40 * math.log(2) + 0.02)


@pytest.mark.parametrize(
    ("lo", "hi", "word"), [(0.5, 100.0, "lower lo"), (0.001, 0.03, "higher hi")]
)
@pytest.mark.parametrize("name", ["thermodynamic", "wbic"])
def test_a_range_without_the_likely_noise_is_refused(
    name: str, lo: float, hi: float, word: str
) -> None:
    linear = make_linear(40, seed=3, noise_var=0.05)
    family = linear.family(lo=lo * (math.log(40) if name == "wbic" else 1), hi=hi)
    family.learns(Regression(), 40)
    with pytest.raises(ConfigError, match=rf"{name}: the noise variance.*{word}"):
        weigh(linear, family, name)


def test_noise_of_the_targets_that_no_member_stands_for_is_refused() -> None:
    family = Family(nn.Linear(2, 2), FamilyConfig(0.01, 100.0))
    family.learns(Regression(), 40)
    data, task = Dataset(torch.randn(40, 2), torch.randn(40, 2)), Regression(noise_var=(0.1, 0.2))
    for name in ("wbic", "thermodynamic"):
        with pytest.raises(ConfigError, match=rf"{name}: noise variances.*0\.2.*\(1\.0, 1\.0\)"):
            assess(family, data, by=[name], kind=task)


@pytest.mark.slow
def test_targets_share_the_noise_that_is_integrated() -> None:
    """Two targets of one network: the exact marginal likelihood under one noise variance for both."""
    one = make_linear(40, seed=3, noise_var=0.1)
    both = torch.cat([one.y, one.y.flip(0)], dim=1)
    second = Linear(one.x, both[:, 1:])
    single, other = one.family(lo=0.003, hi=30), second.family(lo=0.003, hi=30)
    config = replace(single.config)
    family = Family(nn.Linear(5, 2, bias=False).double(), config)
    with torch.no_grad():
        family.mean.pivots.copy_(torch.cat([single.mean.pivots, other.mean.pivots], dim=1))
        assert family.log_std is not None and single.log_std is not None
        assert other.log_std is not None
        family.log_std.pivots.copy_(torch.cat([single.log_std.pivots, other.log_std.pivots], dim=1))
    family.eval().learns(Regression(), 40)
    (found,) = assess(family, (one.x, both), by=["thermodynamic"], kind="regression", n_samples=300)
    logs, terms = over_noise(one)
    more = torch.tensor([second.log_evidence(noise_var=v) for v in logs.exp().tolist()]).double()
    exact = float((terms + more).logsumexp(0) + (logs[1] - logs[0]).log())
    assert total(found) == pytest.approx(-exact, abs=Z * found.error * 40 * math.log(2))


def test_the_noise_that_is_found_chooses_the_member_that_is_the_posterior_under_it() -> None:
    """Of a linear model with noise .05 trained under τ² = .1: λ = σ²/τ²; a classification still has none."""
    linear = make_linear(40, seed=3, noise_var=0.05)
    family = linear.family(lo=0.03, hi=300, noise_var=0.1)
    family.learns(Regression().assuming(0.1), 40)
    lams = family.lams(25)
    for name in ("thermodynamic", "wbic"):
        found = assess(family, linear.data, lams=lams, by=[name])
        noise = found[0].parts["noise_var"]
        nearest = min(lams, key=lambda lam: abs(math.log(lam * 0.1 / noise)))
        assert chosen(found) == {name: nearest} and "noise" in found[0].why
        taken = choose(family, train=linear.data, by=name, lams=lams, shares=(0,))
        assert taken.lam == nearest and taken.by == name


def test_one_example_has_no_temperature() -> None:
    family = Family(nn.Linear(2, 1), FamilyConfig(objective="scaled-kl"))
    with pytest.raises(ConfigError, match="log N is 0 for 1 example"):
        assess(family, (torch.ones(1, 2), torch.ones(1, 1)), by=["wbic"], kind="regression")
