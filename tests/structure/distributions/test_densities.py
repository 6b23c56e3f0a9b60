"""Posteriors of structure parameters: densities that integrate to 1, divergences, moments, limits in the temperature."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors.gumbel_softmax import mean_log_sum
from netdial.structure.distributions import (
    Bernoulli,
    BinaryConcrete,
    Categorical,
    Dirichlet,
    GumbelSoftmax,
    straight_through,
)

F64 = torch.float64
LAM = torch.ones(1, dtype=F64)
LOGIT = torch.tensor([[0.3, -0.8, 0.5]], dtype=F64)
OTHER = torch.tensor([[-0.4, 0.9, 0.1]], dtype=F64)
INSIDE: list[Any] = [GumbelSoftmax, Dirichlet]


def fields(kind: Any, value: Tensor) -> dict[str, Tensor]:
    (name,) = kind.fields
    return {name: value}


def noise(members: int = 1, seed: int = 0) -> Noise:
    return Noise(seed, 0, range(members))


def drawn(posterior: Any, value: Tensor, count: int, temperature: float, seed: int = 0) -> Tensor:
    many = fields(posterior, value.expand(count, *value.shape[1:]))
    found: Tensor = posterior.sample(many, noise(count, seed), temperature)
    return found


def triangle(steps: int = 220, reach: float = 17.0) -> tuple[Tensor, Tensor]:
    """Points of the interior of the triangle and their areas: the trapezoid rule over log-ratios of the coordinates."""
    u = torch.linspace(-reach, reach, steps, dtype=F64)
    a, b = torch.meshgrid(u, u, indexing="ij")
    gamma = torch.stack([a, b, torch.zeros_like(a)], dim=-1).flatten(0, 1).softmax(dim=-1)
    cell = (2 * reach / (steps - 1)) ** 2
    return gamma, gamma.prod(dim=-1) * cell


@pytest.mark.parametrize("kind", INSIDE)
@pytest.mark.parametrize("tau", [0.6, 0.995, 2.0, 5.0])
def test_densities_on_the_simplex_integrate_to_one(kind: Any, tau: float) -> None:
    gamma, area = triangle(reach=30.0 / min(tau, 1.0), steps=400)
    density = kind(temperature=tau).log_density(fields(kind, LOGIT), gamma[None]).exp()
    assert float((density * area).nan_to_num().sum()) == pytest.approx(1, abs=2e-4)


def test_means_by_integration_are_those_of_draws() -> None:
    gamma, area = triangle()
    for kind in INSIDE:
        posterior = kind(temperature=1.5)
        density = posterior.log_density(fields(kind, LOGIT), gamma[None]).exp()[0] * area
        whole = (density[:, None] * gamma).sum(dim=0)
        found = drawn(posterior, LOGIT, 4000, 1.5)
        error = found.std(dim=0) / 4000**0.5
        assert bool(((found.mean(dim=0) - whole).abs() < 5 * error + 1e-4).all())


def test_dirichlet_moments_are_those_of_its_closed_form() -> None:
    alpha = 2.0 * LOGIT[0].exp()
    found = drawn(Dirichlet(), LOGIT, 6000, 2.0)
    mean = alpha / alpha.sum()
    variance = mean * (1 - mean) / (alpha.sum() + 1)
    assert torch.allclose(found.mean(dim=0), mean, atol=5 * float((variance.max() / 6000).sqrt()))
    assert torch.allclose(found.var(dim=0), variance, rtol=0.12)
    known = torch.distributions.Dirichlet(alpha)
    gamma = known.sample((5,))
    ours = Dirichlet(2.0).log_density({"log_s": LOGIT}, gamma[:, None])
    assert torch.allclose(ours[:, 0], known.log_prob(gamma))


def test_density_of_gates_integrates_to_one_and_is_that_of_torch() -> None:
    gamma = torch.linspace(-40, 40, 4001, dtype=F64).sigmoid()[1:-1]
    inside = gamma[(gamma > 1e-14) & (gamma < 1 - 1e-14)]
    for tau in (0.5, 1.0, 3.0):
        logit = torch.tensor([0.7], dtype=F64)
        ours = BinaryConcrete(tau).log_density({"logit": logit}, inside)
        area = (80 / 4000) * inside * (1 - inside)
        assert float((ours.exp() * area).sum()) == pytest.approx(1, abs=1e-4)
        known = torch.distributions.RelaxedBernoulli(torch.tensor(tau, dtype=F64), logits=logit)
        here = inside[::200]
        assert torch.allclose(
            BinaryConcrete(tau).log_density({"logit": logit}, here), known.log_prob(here)
        )


def test_gumbel_softmax_density_is_that_of_torch() -> None:
    known = torch.distributions.RelaxedOneHotCategorical(
        torch.tensor(0.7, dtype=F64), logits=LOGIT[0]
    )
    gamma = known.sample((6,))
    ours = GumbelSoftmax(0.7).log_density({"logit": LOGIT}, gamma[:, None])
    assert torch.allclose(ours[:, 0], known.log_prob(gamma))


@given(st.lists(st.floats(-6, 6), min_size=1, max_size=6))
def test_mean_log_of_a_sum_of_exponentials(rates: list[float]) -> None:
    """Distinct rates have the closed form Σ_i (log r_i - γ) Π_{j≠i} r_i / (r_i - r_j); equal ones are a gamma variable."""
    euler, n = 0.5772156649015329, len(rates)
    same = mean_log_sum(torch.full((n,), rates[0], dtype=F64))
    assert float(same) == pytest.approx(
        rates[0] + float(torch.digamma(torch.tensor(float(n), dtype=F64))), abs=1e-9
    )
    apart = [rate + 3.0 * i for i, rate in enumerate(sorted(rates))]
    total = 0.0
    for i, a in enumerate(apart):
        weight = math.prod(1 / (1 - math.exp(b - a)) for j, b in enumerate(apart) if j != i)
        total += weight * (a - euler)
    found = float(mean_log_sum(torch.tensor(apart, dtype=F64)))
    assert found == pytest.approx(total, abs=1e-7)


@pytest.mark.parametrize("kind", INSIDE)
def test_divergences_agree_with_integration_over_the_simplex(kind: Any) -> None:
    gamma, area = triangle(reach=25.0, steps=350)
    posterior = kind(temperature=1.3)
    q = posterior.log_density(fields(kind, LOGIT), gamma[None])[0]
    p = posterior.log_density(fields(kind, OTHER), gamma[None])[0]
    whole = (q.exp() * (q - p) * area).nan_to_num().sum()
    found = posterior.divergence(fields(kind, LOGIT), fields(kind, OTHER), noise())
    assert float(found.nats) == pytest.approx(float(whole), abs=2e-4)
    assert found.error is None


def test_divergence_of_gumbel_softmax_does_not_depend_on_a_shared_temperature() -> None:
    one, two = {"logit": LOGIT}, {"logit": OTHER}
    found = [GumbelSoftmax(t).divergence(one, two, noise()).nats for t in (0.1, 1.0, 7.0)]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    logits = torch.tensor([[0.9, 0.0]], dtype=F64)
    gates = BinaryConcrete().divergence({"logit": logits[:, :1]}, {"logit": logits[:, 1:]}, noise())
    pair = GumbelSoftmax().divergence({"logit": logits}, {"logit": 0 * logits}, noise())
    assert torch.allclose(pair.nats, gates.nats[:, 0], atol=1e-9)


def test_an_estimated_divergence_has_an_error_that_is_true() -> None:
    """At two temperatures, against integration; at one, against the exact value."""
    gamma, area = triangle(reach=30.0, steps=350)
    posterior = GumbelSoftmax(0.9, prior_temperature=1.4)
    q = posterior.log_density({"logit": LOGIT}, gamma[None])[0]
    p = GumbelSoftmax(1.4).log_density({"logit": 0 * LOGIT}, gamma[None])[0]
    whole = float((q.exp() * (q - p) * area).nan_to_num().sum())
    found = [posterior.kl({"logit": LOGIT}, LAM, LAM, noise(seed=seed)) for seed in range(12)]
    away = [(float(one.nats) - whole) / float(one.error) for one in found if one.error is not None]
    assert len(away) == 12 and max(map(abs, away)) < 4.5
    assert 0.3 < (sum(z * z for z in away) / 12) ** 0.5 < 2.2


@pytest.mark.parametrize("kind", INSIDE)
def test_a_leaf_has_the_sum_of_the_divergences_of_its_edges(kind: Any) -> None:
    both = torch.stack([LOGIT, OTHER], dim=1)
    prior = (0.5, 1.0, 2.0)
    posterior = kind(temperature=0.8, prior=prior)
    whole = posterior.kl(fields(kind, both), LAM, LAM, noise()).nats
    each = [posterior.kl(fields(kind, one), LAM, LAM, noise()).nats for one in (LOGIT, OTHER)]
    assert torch.allclose(whole, sum(each, torch.zeros(1, dtype=F64)))
    at_prior = torch.tensor([prior], dtype=F64).log()
    assert float(posterior.kl(fields(kind, at_prior), LAM, LAM, noise()).nats.abs()) < 1e-9


@pytest.mark.parametrize("kind", [GumbelSoftmax, Dirichlet, Categorical])
def test_draws_go_to_vertices_as_the_temperature_goes_to_zero(kind: Any) -> None:
    posterior = kind()
    cold, warm, hot = (drawn(posterior, LOGIT, 1500, tau) for tau in (0.01, 0.995, 5.0))
    exact = drawn(posterior, LOGIT, 1500, 0)
    largest = [float(found.max(dim=-1).values.mean()) for found in (exact, cold, warm, hot)]
    assert largest[0] == 1.0 and largest[1] > 0.97 and largest[1] > largest[2] > largest[3]
    for found in (exact, cold):
        shares = found.argmax(dim=-1).bincount(minlength=3) / 1500
        assert torch.allclose(shares.double(), LOGIT.softmax(dim=-1)[0], atol=0.065)
    assert bool(cold.isfinite().all())
    assert torch.allclose(cold.sum(dim=-1), torch.ones(1500, dtype=F64))


def test_dirichlet_draws_are_numbers_at_any_temperature_and_their_gradients_are_those_of_the_mean() -> (
    None
):
    value = LOGIT.clone().requires_grad_()
    found = drawn(Dirichlet(), value, 4000, 0.4)
    (grad,) = torch.autograd.grad(found[:, 0].mean(), value)
    p = LOGIT.softmax(dim=-1)[0]
    exact = p[0] * (torch.tensor([1.0, 0.0, 0.0], dtype=F64) - p)
    assert torch.allclose(grad[0], exact, atol=0.03)
    assert bool(drawn(Dirichlet(), LOGIT.float(), 200, 1e-4).isfinite().all())


def test_densities_of_vertices_are_probabilities() -> None:
    corners = torch.eye(3, dtype=F64)
    found = Categorical().log_density({"logit": LOGIT}, corners).exp()
    assert torch.allclose(found, LOGIT.softmax(dim=-1)[0])
    ends = torch.tensor([0.0, 1.0], dtype=F64)
    assert float(Bernoulli().log_density({"logit": LOGIT[:, 0]}, ends).exp().sum()) == (
        pytest.approx(1)
    )
    known = torch.distributions.Categorical(logits=LOGIT)
    assert torch.allclose(Categorical().entropy({"logit": LOGIT}), known.entropy())
    gate = torch.distributions.Bernoulli(logits=LOGIT)
    assert torch.allclose(Bernoulli().entropy({"logit": LOGIT}), gate.entropy())
    other = torch.distributions.Categorical(logits=OTHER)
    ours = Categorical().divergence({"logit": LOGIT}, {"logit": OTHER}, noise()).nats
    assert torch.allclose(ours, torch.distributions.kl_divergence(known, other))


def test_a_straight_draw_is_a_vertex_with_the_gradient_of_the_relaxation() -> None:
    soft = LOGIT.softmax(dim=-1).requires_grad_()
    hard = straight_through(soft)
    assert hard.tolist() == [[0.0, 0.0, 1.0]]
    (grad,) = torch.autograd.grad((hard * OTHER).sum(), soft)
    assert torch.equal(grad, OTHER)
    gate = torch.tensor([0.2, 0.8]).requires_grad_()
    assert straight_through(gate, gate=True).tolist() == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("kind", [Categorical, GumbelSoftmax, Dirichlet, Bernoulli, BinaryConcrete])
@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf, "1", None, torch.ones(3)])
def test_temperatures_that_are_not_above_zero_are_refused(kind: Any, tau: Any) -> None:
    said = re.escape(f"temperature={tau!r};")
    with pytest.raises(ConfigError, match=said):
        kind(temperature=tau)
    with pytest.raises(ConfigError, match=said):
        kind().at(tau)
    if not (isinstance(tau, float) and tau == 0):
        with pytest.raises(ConfigError, match=said):
            kind().sample(fields(kind, LOGIT), noise(), tau)


@pytest.mark.parametrize(
    ("posterior", "gamma", "fact"),
    [
        (GumbelSoftmax(), [0.5, 0.5, 0.5], "1.5"),
        (Dirichlet(), [1.2, -0.2, 0.0], "1.2"),
        (Categorical(), [0.5, 0.5, 0.0], "0.5"),
        (Categorical(), [1.0, 1.0, 0.0], "sums to 2"),
        (Bernoulli(), [0.0, 0.3, 1.0], "0.3"),
        (BinaryConcrete(), [0.0, math.nan, 1.0], "nan"),
    ],
)
def test_structure_parameters_outside_their_domain_are_refused(
    posterior: Any, gamma: list[float], fact: str
) -> None:
    with pytest.raises(ConfigError, match=fact):
        posterior.log_density(fields(posterior, LOGIT), torch.tensor([gamma], dtype=F64))


def test_priors_that_are_none_are_refused() -> None:
    for make in (
        lambda: Categorical(prior=(1.0, 0.0)),
        lambda: Dirichlet(prior=(1.0, -2.0)),
        lambda: Bernoulli(prior=1.0),
        lambda: GumbelSoftmax(n_samples=1),
        lambda: GumbelSoftmax(prior_temperature=0.0),
    ):
        with pytest.raises(ConfigError, match="="):
            make()
    with pytest.raises(ConfigError, match=r"2 weights.*3 choices"):
        Categorical(prior=(1.0, 2.0)).kl({"logit": LOGIT}, LAM, LAM, noise())
