"""Bayesian linear regression in closed form: against torch.distributions, and the order bound <= evidence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from netdial.core.errors import ConfigError, ShapeError
from netdial.evidence.estimators import linear

F64 = torch.float64
variances = st.floats(0.05, 20)


def regression(seed: int, n: int = 12, d: int = 4) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    phi = torch.randn(n, d, dtype=F64, generator=source)
    return phi, phi[:, 0] + 0.5 * torch.randn(n, dtype=F64, generator=source)


def mean_field(phi: Tensor, y: Tensor, **variances: Any) -> tuple[Tensor, Tensor]:
    """Mean and variances of the best diagonal normal: one over the diagonal of the precision (Bishop 2006, §10.1.2)."""
    mean, precision = linear.posterior(phi, y, **variances)
    return mean, 1 / precision.diagonal()


@given(st.integers(0, 100), variances, variances)
def test_bayes_rule_holds_at_every_weight(seed: int, prior: float, noise: float) -> None:
    """log p(y) = log p(y | w) + log p(w) - log p(w | y), whatever w."""
    phi, y = regression(seed)
    mean, precision = linear.posterior(phi, y, prior_var=prior, noise_var=noise)
    w = torch.randn(4, dtype=F64, generator=torch.Generator().manual_seed(seed + 1))
    likelihood = Normal(phi @ w, noise**0.5).log_prob(y).sum()
    before = Normal(torch.zeros(4, dtype=F64), prior**0.5).log_prob(w).sum()
    after = MultivariateNormal(mean, precision_matrix=precision).log_prob(w)
    found = linear.log_evidence(phi, y[:, None], prior_var=prior, noise_var=noise)
    assert found == pytest.approx(float(likelihood + before - after), rel=1e-9)


@given(st.integers(0, 100), variances, variances)
def test_bound_is_the_evidence_less_the_divergence_from_the_posterior(
    seed: int, prior: float, noise: float
) -> None:
    phi, y = regression(seed)
    source = torch.Generator().manual_seed(seed + 2)
    mean, var = torch.randn(4, dtype=F64, generator=source), torch.rand(4, generator=source) + 0.1
    centre, precision = linear.posterior(phi, y, prior_var=prior, noise_var=noise)
    gap = kl_divergence(
        MultivariateNormal(mean, torch.diag(var.double())),
        MultivariateNormal(centre, precision_matrix=precision),
    )
    exact = linear.log_evidence(phi, y, prior_var=prior, noise_var=noise)
    found = linear.bound(mean, var, phi, y, prior_var=prior, noise_var=noise)
    assert found == pytest.approx(exact - float(gap), rel=1e-9)
    best = mean_field(phi, y, prior_var=prior, noise_var=noise)
    assert found <= linear.bound(*best, phi, y, prior_var=prior, noise_var=noise) <= exact


def test_mean_field_is_the_posterior_when_features_are_orthogonal() -> None:
    phi = torch.linalg.qr(torch.randn(9, 3, generator=torch.Generator().manual_seed(0))).Q.double()
    y = torch.ones(9, dtype=F64)
    best = mean_field(phi, y, prior_var=torch.tensor([0.5, 1, 2]), noise_var=0.3)
    bound = linear.bound(*best, phi, y, prior_var=torch.tensor([0.5, 1, 2]), noise_var=0.3)
    exact = linear.log_evidence(phi, y, prior_var=torch.tensor([0.5, 1, 2]), noise_var=0.3)
    assert bound == pytest.approx(exact, rel=1e-6)


def test_what_is_refused() -> None:
    phi, y = regression(0)
    with pytest.raises(ShapeError, match=r"features are \[12, 4\], targets \[11\]"):
        linear.log_evidence(phi, y[:-1], prior_var=1.0, noise_var=1.0)
    with pytest.raises(ConfigError, match="noise_var=0"):
        linear.log_evidence(phi, y, prior_var=1.0, noise_var=0)
    with pytest.raises(ConfigError, match="prior_var=-1"):
        linear.posterior(phi, y, prior_var=-1, noise_var=1.0)
    with pytest.raises(ShapeError, match=r"prior_var is \[3\], expected one variance or \[4\]"):
        mean_field(phi, y, prior_var=torch.ones(3), noise_var=1.0)
