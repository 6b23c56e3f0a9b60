"""Bounds against exact evidence: orthogonal Bayesian linear regression, where every term has a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from netdial.core.errors import ConfigError
from netdial.core.layout import Layout
from netdial.data.dataset import Dataset
from netdial.evidence import Estimate, EvidenceSubject, assess
from netdial.evidence.estimators.bounds import empirical_kl, empirical_prior, mask_nats
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.family.fields import Fields

from .conftest import Linear, make_linear

Z = 5.0


def nats(estimate: Estimate, n: int) -> float:
    return estimate.value * n * math.log(2)


def weigh(linear: Linear, *lams: float, by: str = "elbo", **options: object) -> list[Estimate]:
    objective = str(options.get("objective", "scaled-kl"))
    family = linear.family(objective=objective, lams=lams)
    found = assess(family, linear.data, lams=lams, by=[by], kind="regression", **options)  # type: ignore[arg-type]
    assert [e.lam for e in found] == sorted(lams)
    return found


def test_elbo_is_the_closed_form_and_never_beats_the_evidence(linear: Linear, seed: int) -> None:
    lams = (0.2, 1.0, 7.0, 100.0)
    exact = -linear.log_evidence()
    for found in weigh(linear, *lams, n_samples=400, seed=seed):
        mean, var = linear.posterior(1 / found.lam, 1.0)
        kl = 0.5 * float((var + mean.square() - 1 - var.log()).sum())
        closed = kl - linear.fit(mean, var)
        error = found.error * 40 * math.log(2)
        assert nats(found, 40) == pytest.approx(closed, abs=Z * error + 1e-9)
        assert closed >= exact - 1e-9
        if found.lam == 1.0:
            assert closed == pytest.approx(exact, rel=1e-9)
        assert found.parts["model"] == pytest.approx(kl / 40 / math.log(2))
        assert found.parts["data"] + found.parts["model"] == pytest.approx(found.value)


@pytest.mark.slow
def test_the_stated_error_is_the_spread_over_seeds(linear: Linear) -> None:
    runs = [weigh(linear, 3.0, n_samples=64, seed=s)[0] for s in range(40)]
    spread = torch.tensor([run.value for run in runs]).std()
    stated = torch.tensor([run.error for run in runs]).mean()
    assert 0.7 < float(spread / stated) < 1.4


def test_under_scaled_prior_the_elbo_is_the_evidence_of_each_prior(linear: Linear) -> None:
    lams = (0.3, 1.0, 4.0)
    for found in weigh(linear, *lams, objective="scaled-prior", n_samples=400):
        exact = -linear.log_evidence(1 / found.lam)
        assert nats(found, 40) == pytest.approx(exact, abs=Z * found.error * 40 * math.log(2))


def test_common_numbers_make_differences_quieter_than_values(linear: Linear) -> None:
    found = weigh(linear, 2.0, 2.5, n_samples=64)
    other = max(found, key=lambda e: e.parts["gap"])
    assert 0 < other.parts["gap_error"] < 0.3 * other.error
    assert min(e.parts["gap"] for e in found) == 0


def test_iwae_is_exact_for_exact_posteriors(linear: Linear) -> None:
    (found,) = weigh(linear, 1.0, by="iwae", n_samples=8)
    assert nats(found, 40) == pytest.approx(-linear.log_evidence(), rel=1e-9)
    assert found.parts["ess"] == pytest.approx(8, rel=1e-3)
    assert found.error < 1e-9


@pytest.mark.slow
def test_iwae_lies_between_elbo_and_evidence_and_tightens_with_draws(linear: Linear) -> None:
    exact = -linear.log_evidence() / 40 / math.log(2)
    mean, var = linear.posterior(1 / 4.0, 1.0)
    kl = 0.5 * float((var + mean.square() - 1 - var.log()).sum())
    levels = [(kl - linear.fit(mean, var)) / 40 / math.log(2)]
    for n_samples in (4, 64):
        values = [
            weigh(linear, 4.0, by="iwae", n_samples=n_samples, seed=s)[0].value for s in range(30)
        ]
        levels.append(sum(values) / len(values))
    elbo, few, many = levels
    assert elbo > few > many > exact - 0.01


def test_iwae_needs_all_examples(linear: Linear) -> None:
    with pytest.raises(ConfigError, match="iwae: needs all 40 examples, n_examples=10"):
        weigh(linear, 1.0, by="iwae", n_examples=10)


def fields_of(means: list[float], log_std: list[float], kept: list[bool] | None = None) -> Fields:
    layout = Layout(("a", "b"), ((2,), (len(means) - 2,)))
    return Fields(
        layout,
        torch.tensor([means], dtype=torch.float64),
        torch.tensor([log_std], dtype=torch.float64),
        None if kept is None else torch.tensor(kept),
    )


numbers = st.lists(st.floats(-3, 3), min_size=5, max_size=5)


@given(numbers, numbers, st.floats(0.3, 3))
def test_the_fitted_prior_is_the_best_one(
    means: list[float], log_std: list[float], factor: float
) -> None:
    fields = fields_of(means, log_std)
    best = empirical_kl(fields)
    for scale in (1.0, factor):
        prior = (empirical_prior(fields) * scale)[0]
        kl = sum(
            Fields(Layout(("x",), ((n,),)), mean, std).kl(var[None])
            for mean, std, var, n in zip(
                fields.mean.split([2, 3], 1),
                fields.log_std.split([2, 3], 1),
                prior,
                (2, 3),
                strict=True,
            )
        )
        assert float(kl) >= float(best) - 1e-9
        if scale == 1.0:
            assert float(kl) == pytest.approx(float(best), rel=1e-9, abs=1e-9)


def test_pruned_numbers_cost_nothing_but_their_choice() -> None:
    whole = fields_of([1.0, -2.0, 0.5], [0.1, -1.0, 0.3])
    pruned = fields_of(
        [1.0, 5.0, -2.0, 9.0, 0.5], [0.1, 0.0, -1.0, 2.0, 0.3], [True, False, True, False, True]
    )
    small = Fields(Layout(("a", "b"), ((1,), (2,))), whole.mean, whole.log_std)
    assert float(empirical_kl(pruned)) == pytest.approx(float(empirical_kl(small)))
    assert mask_nats(pruned) == pytest.approx(math.log(10 * 6))
    assert mask_nats(whole) == 0
    empty = fields_of([1.0, 5.0, 2.0], [0.0, 0.0, 0.0], [False, False, True])
    assert torch.isfinite(empirical_kl(empty)).all()


def test_some_examples_stand_for_all_with_an_honest_error() -> None:
    linear = make_linear(400, seed=1)
    (whole,) = weigh(linear, 2.0, n_samples=200)
    for seed in range(5):
        (part,) = weigh(linear, 2.0, n_samples=200, n_examples=100, seed=seed)
        assert part.error > 3 * whole.error
        assert part.value == pytest.approx(whole.value, abs=Z * part.error)


def test_a_networks_own_draws_agree_with_its_closed_divergence(
    blobs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    torch.manual_seed(0)
    family = Family(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), FamilyConfig())
    subject = EvidenceSubject(family, Dataset(*blobs), (1.0,), n_samples=400)
    draws = subject.pointwise
    log_p = -0.5 * draws.square_norm - 0.5 * family.layout.size * math.log(2 * math.pi)
    sampled = draws.log_q - log_p
    error = float(sampled.std()) / 20
    assert float(sampled.mean()) == pytest.approx(float(subject.kl), abs=Z * error)


def test_a_prior_that_is_fitted_more_finely_never_gives_a_longer_code(linear: Linear) -> None:
    family = linear.family(objective="scaled-kl", lams=(0.2, 1.0, 7.0))
    found = assess(
        family,
        linear.data,
        lams=(0.2, 1.0, 7.0),
        by=["elbo", "eb-elbo", "ard-elbo"],
        kind="regression",
    )
    by = {
        name: [e.value for e in found if e.name == name] for name in ("elbo", "eb-elbo", "ard-elbo")
    }
    for one, each, every in zip(by["ard-elbo"], by["eb-elbo"], by["elbo"], strict=True):
        assert one <= each <= every
    fields = family.fields_at([1.0])
    (model,) = (e.parts["model"] for e in found if e.name == "ard-elbo" and e.lam == 1.0)
    assert model * 40 * math.log(2) == pytest.approx(float(fields.relevance()[0].detach()))
