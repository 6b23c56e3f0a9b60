"""Objectives against closed forms: the papers' theorem, its equation (8), and exact Bayesian linear regression."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from netdial.core.errors import ConfigError, ShapeError
from netdial.core.layout import Layout
from netdial.family.fields import Fields
from netdial.objective import (
    OBJECTIVES,
    WEIGHTINGS,
    Terms,
    l1,
    l2,
    log_sum,
    scaled_kl,
    scaled_prior,
)
from netdial.task import categorical_nll, gaussian_nll, named

Z = 5.0
F64 = torch.float64
complexities = st.floats(1e-3, 1e3)
variances = st.floats(0.1, 10)


def posterior(seed: int, size: int = 6) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    mean = torch.randn(1, size, dtype=F64, generator=source)
    return mean, 0.7 * torch.randn(1, size, dtype=F64, generator=source) - 1


def fields_of(mean: Tensor, log_std: Tensor | None = None) -> Fields:
    return Fields(Layout(("w",), ((mean.shape[1],),)), mean, log_std)


def column(value: float) -> Tensor:
    return torch.tensor([value], dtype=F64)


def divergence(mean: Tensor, log_std: Tensor, prior_var: float) -> float:
    """KL(q || N(0, prior_var)) by ``torch.distributions``."""
    prior = Normal(torch.zeros_like(mean), math.sqrt(prior_var))
    return float(kl_divergence(Normal(mean, log_std.exp()), prior).sum())


@given(complexities, variances, st.integers(0, 50))
def test_penalties_are_those_of_equations_4_to_6(lam: float, alpha: float, seed: int) -> None:
    mean, log_std = posterior(seed)
    fields = fields_of(mean, log_std)
    assert float(scaled_kl(fields, column(lam), alpha)) == pytest.approx(
        lam * divergence(mean, log_std, alpha)
    )
    assert float(scaled_prior(fields, column(lam), alpha)) == pytest.approx(
        divergence(mean, log_std, alpha / lam)
    )
    assert float(l2(fields_of(mean), column(lam), alpha)) == pytest.approx(
        lam * float((mean**2).sum())
    )


@given(complexities, variances, st.integers(0, 50))
def test_a_log_sum_pulls_small_weights_as_l1_and_large_ones_hardly(
    lam: float, alpha: float, seed: int
) -> None:
    mean, scale = posterior(seed)[0].requires_grad_(), 0.1 * math.sqrt(alpha)
    penalty = log_sum(fields_of(mean), column(lam), alpha)
    assert float(penalty.detach()) == pytest.approx(
        sum(lam * scale * math.log(1 + abs(w) / scale) for w in mean[0].tolist())
    )
    (slope,) = torch.autograd.grad(penalty, mean)
    assert torch.allclose(slope, lam * mean.sign() / (1 + mean.abs() / scale))
    fields = fields_of(mean.detach())
    wide = log_sum(fields, column(lam), 1e14)
    assert torch.allclose(wide, l1(fields, column(lam), alpha), rtol=1e-5)


@given(variances, st.integers(0, 50))
def test_at_one_both_probabilistic_objectives_are_the_evidence_bound(
    alpha: float, seed: int
) -> None:
    fields = fields_of(*posterior(seed))
    assert torch.allclose(
        scaled_kl(fields, column(1), alpha), scaled_prior(fields, column(1), alpha)
    )


@given(complexities, variances, st.integers(0, 50))
def test_difference_of_the_probabilistic_objectives(lam: float, alpha: float, seed: int) -> None:
    mean, log_std = posterior(seed)
    direct = divergence(mean, log_std, alpha / lam) - lam * divergence(mean, log_std, alpha)
    size = mean.numel()
    bracket = float(2 * log_std.sum()) + size - size * math.log(alpha)
    algebra = 0.5 * (lam - 1) * bracket - 0.5 * size * math.log(lam)
    assert algebra == pytest.approx(direct, rel=1e-9, abs=1e-8)


def slope_of_difference(lam: float) -> float:
    """d(L1 - L2) / d(log det A⁻¹), by two posteriors of which one is wider."""
    mean, log_std = posterior(0)
    wider = log_std + 0.3

    def gap(spread: Tensor) -> float:
        return divergence(mean, spread, 2 / lam) - lam * divergence(mean, spread, 2.0)

    return (gap(wider) - gap(log_std)) / float(2 * (wider - log_std).sum())


@pytest.mark.parametrize("lam", [0.01, 0.5, 1.0, 3.0, 100.0])
def test_difference_grows_with_log_det_by_half_of_lam_minus_one(lam: float) -> None:
    assert slope_of_difference(lam) == pytest.approx((lam - 1) / 2, rel=1e-9, abs=1e-12)


def test_difference_is_not_as_the_paper_prints_it() -> None:
    """Equation (8) prints ∝ -(λ + 1): one constant, of one sign, for every λ. It is neither."""
    ratios = [slope_of_difference(lam) / -(lam + 1) for lam in (0.01, 1.0, 100.0)]
    assert ratios[0] > 0.4
    assert ratios[1] == pytest.approx(0, abs=1e-12)
    assert ratios[2] < -0.4


def logistic(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Negative log likelihood of the data in nats ``[S]`` for weights ``[S, 2 · 3]``."""
    logits = torch.einsum("bi,soi->sbo", x, weights.view(-1, 2, 3))
    return (
        categorical_nll(logits.flatten(0, 1), y.repeat(len(weights)))
        .view(len(weights), -1)
        .sum(dim=1)
    )


@pytest.mark.parametrize("objective", ["scaled-kl", "scaled-prior"])
@pytest.mark.parametrize(("lam", "alpha"), [(0.1, 1.0), (1.0, 0.5), (30.0, 2.0)])
def test_theorem_1_small_posteriors_follow_the_l2_objective(
    objective: str, lam: float, alpha: float
) -> None:
    """Statements (1) and (2): gradients by the means are those of L3(λ / 2α) once the spread is small."""
    source = torch.Generator().manual_seed(1)
    x = torch.randn(20, 3, dtype=F64, generator=source)
    y = torch.randint(0, 2, (20,), generator=source)
    noise = torch.randn(64, 6, dtype=F64, generator=source)
    mean = torch.randn(1, 6, dtype=F64, generator=source).requires_grad_()

    plain = logistic(mean, x, y).sum() + l2(fields_of(mean), column(lam / (2 * alpha)), alpha).sum()
    (expected,) = torch.autograd.grad(plain, mean)
    errors = []
    for std in (1e-2, 1e-3):
        fields = fields_of(mean, torch.full_like(mean, math.log(std)))
        penalty = OBJECTIVES[objective](fields, column(lam), alpha)
        weights = fields.mean + std * torch.cat([noise, -noise])
        loss = logistic(weights, x, y).mean() + penalty.sum()
        (found,) = torch.autograd.grad(loss, mean)
        errors.append(float((found - expected).norm() / expected.norm()))
    assert errors[1] < 1e-5
    assert errors[1] < errors[0] / 50  # the error is of second order in the spread


class Population:
    """y = x·w + ε with closed-form expected log likelihood under a normal posterior."""

    def __init__(self, seed: int) -> None:
        self.source = torch.Generator().manual_seed(100 + seed)
        self.truth = torch.tensor([0.5, -1.0, 0.3], dtype=F64)
        self.mean = torch.tensor([[0.4, -0.7, 0.0]], dtype=F64)
        self.log_std = torch.tensor([[-1.0, -0.5, -2.0]], dtype=F64)

    def fits(self, count: int) -> Tensor:
        """E_q[-log p(y|x, w)] of new examples ``[count]``."""
        x = torch.randn(count, 3, dtype=F64, generator=self.source)
        y = x @ self.truth + torch.randn(count, dtype=F64, generator=self.source)
        at_mean = gaussian_nll((x @ self.mean[0])[:, None], y[:, None])
        return at_mean + 0.5 * x.square() @ (2 * self.log_std[0]).exp()

    def penalty(self, lam: float) -> float:
        return float(scaled_kl(fields_of(self.mean, self.log_std), column(lam), 1.0))


@pytest.mark.parametrize("lam", [0.25, 4.0])
def test_theorem_1_complexity_divides_the_number_of_examples(lam: float, seed: int) -> None:
    """Statement (3) by simulation: L1(λ)/m of m examples against the evidence bound per example of m₀ = m/λ."""
    population, m, repeats = Population(seed), 200, 400
    m0 = int(m / lam)
    scaled = torch.stack(
        [population.fits(m).mean() + population.penalty(lam) / m for _ in range(repeats)]
    )
    bound = torch.stack(
        [population.fits(m0).mean() + population.penalty(1) / m0 for _ in range(repeats)]
    )
    stderr = float((scaled.var() / repeats + bound.var() / repeats).sqrt())
    assert abs(float(scaled.mean() - bound.mean())) < Z * stderr
    # As printed, m₀ = λ m, the divergence enters with another weight at every finite size ...
    printed = population.penalty(1) / (lam * m)
    assert abs(population.penalty(lam) / m - printed) > Z * stderr
    # ... and the two come together only because both vanish.
    assert population.penalty(lam) / 1e9 == pytest.approx(
        population.penalty(1) / (lam * 1e9), abs=1e-6
    )


class LinearRegression:
    """Bayesian linear regression whose exact posterior is diagonal: the columns of the design are orthogonal."""

    def __init__(self, seed: int, alpha: float) -> None:
        source = torch.Generator().manual_seed(seed)
        basis, _ = torch.linalg.qr(torch.randn(30, 4, dtype=F64, generator=source))
        self.scale = torch.tensor([0.5, 1.0, 3.0, 6.0], dtype=F64)
        self.x = basis * self.scale
        self.y = self.x @ torch.randn(4, dtype=F64, generator=source)
        self.y += torch.randn(30, dtype=F64, generator=source)
        self.alpha = alpha

    def log_evidence(self) -> float:
        """log N(y; 0, I + α X Xᵀ)."""
        covariance = torch.eye(30, dtype=F64) + self.alpha * self.x @ self.x.T
        return float(MultivariateNormal(torch.zeros(30, dtype=F64), covariance).log_prob(self.y))

    def exact(self, lam: float = 1.0) -> tuple[Tensor, Tensor]:
        """Mean and std of the optimum of L1(λ): precision d/λ + 1/α, where d is the diagonal of XᵀX."""
        precision = self.scale.square() / lam + 1 / self.alpha
        return (self.x.T @ self.y / lam / precision)[None], precision.rsqrt()[None]

    def terms(self, mean: Tensor, log_std: Tensor, lam: float) -> Terms:
        """Terms in nats per example, with the expectation over weights in closed form."""
        nll = gaussian_nll((self.x @ mean[0])[:, None], self.y[:, None])
        spread = 0.5 * self.x.square() @ (2 * log_std[0]).exp()
        penalty = scaled_kl(fields_of(mean, log_std), column(lam), self.alpha)
        return Terms((nll + spread).mean()[None], penalty / 30)


@given(st.integers(0, 30), variances)
def test_gap_of_the_evidence_bound_is_the_divergence_from_the_exact_posterior(
    seed: int, alpha: float
) -> None:
    problem = LinearRegression(seed, alpha)
    mean, log_std = posterior(seed, 4)
    bound = -30 * float(problem.terms(mean, log_std, 1.0).total)
    q = Independent(Normal(mean, log_std.exp()), 2)
    exact_mean, exact_std = problem.exact()
    gap = float(kl_divergence(q, Independent(Normal(exact_mean, exact_std), 2)))
    assert problem.log_evidence() - bound == pytest.approx(gap, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("lam", [0.1, 1.0, 20.0])
def test_scaled_kl_is_least_at_the_tempered_posterior(lam: float) -> None:
    problem = LinearRegression(3, 2.0)
    mean, std = problem.exact(lam)
    mean, log_std = mean.requires_grad_(), std.log().requires_grad_()
    problem.terms(mean, log_std, lam).total.sum().backward()
    assert mean.grad is not None and log_std.grad is not None
    assert float(mean.grad.abs().max()) < 1e-10
    assert float(log_std.grad.abs().max()) < 1e-10


@pytest.mark.parametrize("count", [6, 600])
def test_likelihoods_are_negative_log_densities(count: int) -> None:
    outputs = torch.randn(count, 3, dtype=F64, requires_grad=True)
    classes = torch.arange(count) % 3
    expected = -outputs.softmax(dim=1).log()[torch.arange(count), classes]
    found = named("classification").nll(outputs, classes)
    assert found.shape == (count,) and torch.allclose(found, expected)
    weights = torch.randn(count, dtype=F64)
    ours, theirs = (torch.autograd.grad(nll, outputs, weights)[0] for nll in (found, expected))
    assert torch.allclose(ours, theirs)
    outputs = outputs.detach()[:6]
    targets = torch.randn(6, 3, dtype=F64)
    density = Independent(Normal(outputs, 1.0), 1).log_prob(targets)
    assert torch.allclose(named("regression").nll(outputs, targets), -density)


def test_regression_targets_that_would_broadcast_are_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"outputs are \[6, 1\], targets \[6\]; give targets \[N, T\]"
    ):
        gaussian_nll(torch.zeros(6, 1), torch.zeros(6))


def test_weightings_and_terms() -> None:
    lam = torch.tensor([0.0, 0.03, 0.99])
    assert torch.allclose(WEIGHTINGS["balanced"](lam), torch.tensor([1.0, 0.5, 0.1]))
    assert torch.equal(WEIGHTINGS["uniform"](lam), torch.ones(3))
    assert torch.equal(Terms(lam, lam).total, 2 * lam)


def test_names_that_are_not_registered_get_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match="unknown objective 'scaled_kl'; did you mean 'scaled-kl'"
    ):
        OBJECTIVES["scaled_kl"]
    with pytest.raises(ConfigError, match="unknown weighting 'unifrom'; did you mean 'uniform'"):
        WEIGHTINGS["unifrom"]
