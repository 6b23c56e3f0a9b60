"""PAC-Bayes bounds: the inverse of the divergence between coins, order of the bounds, what is charged and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.evidence import assess
from netdial.evidence.estimators.pac_bayes import kl_inverse, maurer, thiemann
from netdial.family.config import FamilyConfig
from netdial.family.family import Family

shares = st.floats(0, 0.99)


def coin(a: float, b: float) -> float:
    return float(
        torch.distributions.kl_divergence(
            torch.distributions.Bernoulli(torch.tensor(a, dtype=torch.float64)),
            torch.distributions.Bernoulli(torch.tensor(b, dtype=torch.float64)),
        )
    )


@given(shares, st.floats(1e-4, 2))
def test_the_inverse_solves_the_equation(share: float, budget: float) -> None:
    found = kl_inverse(share, budget)
    assert share <= found <= 1
    if found < 1 - 1e-9:
        assert coin(share, found) == pytest.approx(budget, rel=1e-4)


@given(st.floats(1e-4, 3))
def test_without_errors_it_is_closed(budget: float) -> None:
    assert kl_inverse(0.0, budget) == pytest.approx(1 - math.exp(-budget), rel=1e-9)


@given(shares, st.floats(0, 5000), st.integers(50, 10**6))
def test_the_relaxed_bound_is_never_tighter_and_its_t_the_best(
    risk: float, kl: float, n: int
) -> None:
    relaxed = thiemann(risk, kl, n, 0.05)
    assert relaxed >= maurer(risk, kl, n, 0.05) - 1e-9
    charge = kl + math.log(2 * math.sqrt(n) / 0.05)
    for t in (0.01, 0.1, 0.5, 1.0, 1.5, 1.9):
        other = risk / (1 - t / 2) + charge / (n * t * (1 - t / 2))
        assert relaxed <= min(other, 1) + 1e-9


def family_of(**options: object) -> Family:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    return Family(net, FamilyConfig(log_std=-1.0, **options))  # type: ignore[arg-type]


def test_bounds_hold_together_and_charge_for_the_grid(blobs: tuple[Tensor, Tensor]) -> None:
    one, many = (
        assess(family_of(), blobs, lams=lams, by=["pac-bayes"], n_samples=50)[0]
        for lams in ([1.0], [0.1, 1.0, 10.0])
    )
    assert one.unit == "error rate" and one.error == 0
    parts = one.parts
    assert parts["empirical"] < parts["upper"] < one.value <= parts["thiemann"] <= 1
    assert many.value > one.value
    (surer,) = assess(family_of(), blobs, lams=[1.0], by=["pac-bayes"], n_samples=50, delta=0.001)
    assert surer.value > one.value


def test_the_error_rate_is_that_of_drawn_networks(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    (found,) = assess(family, blobs, lams=[1.0], by=["pac-bayes"], n_samples=200)
    source = torch.Generator().manual_seed(1)
    wrong = torch.tensor(
        [
            float(
                (family.outputs(family.sample(1.0, source), blobs[0], 1.0).argmax(1) != blobs[1])
                .float()
                .mean()
            )
            for _ in range(400)
        ]
    )
    assert found.parts["empirical"] == pytest.approx(
        float(wrong.mean()), abs=5 * float(wrong.std()) / 20
    )
    assert found.parts["upper"] >= found.parts["empirical"]


def test_pruning_is_charged(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    kept = torch.arange(family.layout.size) % 2 == 0
    family.restrict(kept)
    (found,) = assess(family, blobs, lams=[1.0], by=["pac-bayes"], n_samples=50)
    kl = (
        float(family.kl([1.0]).detach())
        + math.log(math.comb(len(kept), int(kept.sum())))
        + math.log(len(kept) + 1)
    )
    assert found.value == pytest.approx(maurer(found.parts["upper"], kl, 60, 0.025), rel=1e-5)


def test_what_cannot_be_certified_is_refused(blobs: tuple[Tensor, Tensor]) -> None:
    by = ["pac-bayes"]
    with pytest.raises(ConfigError, match="same for every λ"):
        assess(family_of(shared=("2.bias",)), blobs, by=by)
    with pytest.raises(ConfigError, match="needs all 60 examples, n_examples=20"):
        assess(family_of(), blobs, by=by, n_examples=20)
    data = Dataset(torch.randn(20, 5), torch.randn(20, 3))
    with pytest.raises(ConfigError, match="regression; use elbo"):
        assess(family_of(), data, by=by, kind="regression")
