"""The cascading Indian buffet process: expected sizes, probabilities, extinction, the posterior against enumeration."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import ConfigError, DataError, ShapeError
from netdial.structure.buffet import (
    Cascade,
    CascadeChain,
    CascadeNetwork,
    CascadingBuffet,
    EdgeLinear,
    LinearGaussian,
    enumerate_cascades,
)

SETTINGS = [(0.7, 0.3), (1.5, 1.0), (1.0, 4.0)]


@pytest.mark.parametrize(("alpha", "beta"), SETTINGS)
@pytest.mark.parametrize("units", [1, 3, 6])
def test_width_above_a_layer_is_poisson_with_the_mean_of_theory(
    alpha: float, beta: float, units: int
) -> None:
    prior = CascadingBuffet(alpha, beta, max_depth=1)
    mean = alpha * sum(beta / (k + beta - 1) for k in range(1, units + 1))
    assert prior.expected_width(units) == pytest.approx(mean)
    drawn = [prior.sample(units, seed) for seed in range(1500)]
    widths = np.array([sum(one.widths[1:]) for one in drawn])
    assert abs(widths.mean() - mean) < 5 * math.sqrt(mean / 1500)
    assert abs((widths == 0).mean() - math.exp(-mean)) < 5 * math.sqrt(0.25 / 1500)
    edges = np.array([one.n_edges for one in drawn])
    assert abs(edges.mean() / units - alpha) < 5 * edges.std() / units / math.sqrt(1500)


def test_the_first_layer_has_the_width_of_alpha_or_alpha_times_units_at_the_ends_of_beta() -> None:
    assert CascadingBuffet(2.0, 1e-9).expected_width(7) == pytest.approx(2.0)
    assert CascadingBuffet(2.0, 1e9).expected_width(7) == pytest.approx(14.0)


@pytest.mark.parametrize(("alpha", "beta"), SETTINGS)
def test_probabilities_of_widths_are_those_of_poisson_variables(alpha: float, beta: float) -> None:
    """Summed over all matrices of a width, at two layers: the chain of widths."""
    prior, summed = CascadingBuffet(alpha, beta), defaultdict(float)
    for one in enumerate_cascades(2, 2, 2):
        summed[one.widths] += math.exp(prior.log_prob(one))

    def poisson(count: int, units: int) -> float:
        mean = prior.expected_width(units)
        return math.exp(-mean) * mean**count / math.factorial(count)

    for widths, found in summed.items():
        chain = math.prod(poisson(b, a) for a, b in itertools.pairwise((*widths, 0)))
        assert found == pytest.approx(chain)


def test_probabilities_are_the_frequencies_of_draws() -> None:
    prior, count = CascadingBuffet(0.6, 0.8), 3000
    small = (one for one in (prior.sample(2, seed) for seed in range(count)) if one.depth <= 2)
    drawn = Counter(one.canonical for one in small if max(one.widths) <= 2)
    known: defaultdict[Any, float] = defaultdict(float)
    for one in enumerate_cascades(2, 2, 2):
        known[one.canonical] += math.exp(prior.log_prob(one))
    assert sum(known.values()) > 0.8
    for key, share in known.items():
        assert abs(drawn[key] / count - share) < 5 * math.sqrt(share / count) + 1e-3


def test_cascades_end() -> None:
    for alpha, beta in SETTINGS:
        prior = CascadingBuffet(alpha, beta, max_depth=2000)
        assert all(prior.sample(4, seed).depth < 2000 for seed in range(60))


def test_a_cascade_is_cut_at_its_greatest_depth() -> None:
    prior = CascadingBuffet(3.0, 2.0, max_depth=4)
    drawn = [prior.sample(3, seed) for seed in range(20)]
    assert max(one.depth for one in drawn) == 4
    total = sum(math.exp(CascadingBuffet(0.3, 1.0, 1).log_prob(c)) for c in _one_layer())
    assert total == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(ConfigError, match=r"depth 2.*max_depth=1"):
        CascadingBuffet(max_depth=1).log_prob(Cascade.of(1, [[[1]], [[1]]]))


def _one_layer() -> list[Cascade]:
    return list(enumerate_cascades(2, 5, 1))


def exact(prior: CascadingBuffet, likelihood: LinearGaussian) -> dict[Any, float]:
    """The posterior over structures of weights 1, by enumeration."""
    scores: defaultdict[Any, float] = defaultdict(float)
    for one in enumerate_cascades(2, 2, 2):
        ones = [matrix.astype(float) for matrix in one.matrices]
        scores[one.canonical] += math.exp(prior.log_prob(one) + likelihood(one, ones))
    total = sum(scores.values())
    return {key: score / total for key, score in scores.items()}


@pytest.mark.slow
@pytest.mark.parametrize("rows", [0, 6])
def test_the_chain_draws_from_the_enumerated_posterior(rows: int) -> None:
    """All 127 structures of two visible units, two hidden layers of two units at most; without data, and with."""
    source = np.random.default_rng(3)
    shared = source.normal(size=(max(rows, 1), 1))
    data = (shared + 0.5 * source.normal(size=(max(rows, 1), 2))) * (1.0 if rows else 1e-9)
    prior = CascadingBuffet(0.9, 0.7, max_depth=2)
    likelihood = LinearGaussian(data, noise_var=0.5)
    known = exact(prior, likelihood)
    chain = CascadeChain(prior, likelihood, 2, weight_std=0, max_width=2, seed=1)
    drawn = Counter(draw.cascade.canonical for draw in chain.draws(3000, every=4))
    apart = sum(abs(drawn[key] / 3000 - share) for key, share in known.items()) / 2
    assert drawn.keys() <= known.keys()
    assert apart < 0.07


def test_the_chain_draws_weights_from_their_posterior() -> None:
    """One visible unit, one hidden unit at most: the odds of the unit, and its weight, by integration over the weight."""
    data = np.array([[2.0], [-1.5], [1.0], [2.5]])
    prior = CascadingBuffet(1.0, 1.0, max_depth=1)
    likelihood, std = LinearGaussian(data, noise_var=0.5), 1.5
    w = np.linspace(-12, 12, 2001)
    one = Cascade.of(1, [[[1]]])
    density = np.exp(-0.5 * (w / std) ** 2) / (std * math.sqrt(2 * math.pi))
    at = np.array([math.exp(likelihood(one, [np.array([[v]])])) for v in w]) * density
    with_unit = at.sum() * (w[1] - w[0]) * math.exp(prior.log_prob(one))
    without = math.exp(likelihood(Cascade(1), []) + prior.log_prob(Cascade(1)))
    chain = CascadeChain(prior, likelihood, 1, weight_std=std, max_width=1, seed=2)
    draws = list(chain.draws(4000, every=4))
    share = np.mean([draw.cascade.depth for draw in draws])
    assert share == pytest.approx(with_unit / (with_unit + without), abs=0.03)
    squares = np.mean([draw.weights[0].item() ** 2 for draw in draws if draw.cascade.depth])
    assert squares == pytest.approx((at * w**2).sum() / at.sum(), rel=0.08)


def test_covariance_of_a_linear_gaussian_network_is_that_of_its_draws() -> None:
    cascade = Cascade.of(2, [[[1, 0], [1, 1]], [[1], [1]]])
    weights = [np.array([[1.0, 0.0], [0.5, -2.0]]), np.array([[0.7], [1.1]])]
    source = np.random.default_rng(0)
    top = source.normal(size=(200_000, 1))
    middle = top @ weights[1].T + source.normal(size=(200_000, 2))
    seen = middle @ weights[0].T + math.sqrt(0.3) * source.normal(size=(200_000, 2))
    found = LinearGaussian(seen, noise_var=0.3).covariance(cascade, weights)
    assert np.allclose(found, np.cov(seen.T), rtol=0.03)


def test_a_cascade_becomes_a_network_with_one_weight_for_each_edge() -> None:
    cascade = Cascade.of(3, [[[1, 0], [1, 1], [0, 0]], [[1], [0]]])
    net = CascadeNetwork(cascade, 2)
    assert sum(layer.weight.numel() for layer in net.layers) == cascade.n_edges == 4
    assert net.read.in_features == 3, "visible unit 2, unit 1 of layer 1, the top"
    x = torch.randn(5, 3)
    first, second = net.layers
    assert isinstance(first, EdgeLinear) and isinstance(second, EdgeLinear)
    edges = dict(zip(((0, 0), (1, 0), (1, 1)), first.weight.tolist(), strict=True))
    one = torch.tanh(
        torch.stack([edges[0, 0] * x[:, 0] + edges[1, 0] * x[:, 1], edges[1, 1] * x[:, 1]], dim=1)
    )
    top = torch.tanh(second.weight * one[:, :1])
    assert torch.allclose(net(x), net.read(torch.cat([x[:, 2:], one[:, 1:], top], dim=1)))


def test_netdial_trains_the_network_of_a_cascade() -> None:
    cascade = CascadingBuffet(2.0, 2.0, max_depth=2).sample(4, seed=3)
    assert cascade.depth == 2
    source = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=source)
    y = (x[:, 0] > 0).long()
    torch.manual_seed(0)
    family = nd.fit(CascadeNetwork(cascade, 2), (x, y), epochs=2, batch_size=20, lam=(0.1, 10))
    logits = family.export(1.0)(x)
    assert logits.shape == (60, 2) and bool(logits.isfinite().all())


def test_bad_cascades_are_refused() -> None:
    with pytest.raises(ConfigError, match="unit 1 of layer 1 has no child"):
        Cascade.of(2, [[[1, 0], [1, 0]]])
    with pytest.raises(ShapeError, match=r"\[3, 1\].*\[2, at least 1\]"):
        Cascade.of(2, [[[1], [1], [1]]])
    with pytest.raises(ShapeError, match="float"):
        Cascade(1, (np.ones((1, 1)),))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="visible=0"):
        Cascade(0)
    for alpha, beta in ((0.0, 1.0), (1.0, -1.0), (math.nan, 1.0)):
        with pytest.raises(ConfigError, match="above 0"):
            CascadingBuffet(alpha, beta)
    with pytest.raises(DataError, match="finite"):
        LinearGaussian([[math.nan]])
    with pytest.raises(ConfigError, match="noise_var=0"):
        LinearGaussian([[1.0]], noise_var=0)
    with pytest.raises(ConfigError, match="weight_std=-1"):
        CascadeChain(CascadingBuffet(), LinearGaussian([[1.0]]), 1, weight_std=-1)
    with pytest.raises(ShapeError, match=r"\[2, 3\].*\[B, 1\]"):
        CascadeNetwork(Cascade(1), 2)(torch.zeros(2, 3))
    assert isinstance(CascadeNetwork(Cascade(1), 2), nn.Module)


@pytest.mark.parametrize("change", [lambda x: 1e4 * x, lambda x: x + 5, lambda x: 1e-4 * x])
def test_columns_far_from_what_the_model_assumes_are_told_of(change: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    LinearGaussian(rows)
    with pytest.warns(UserWarning, match="column 0 has mean.*standardise columns"):
        LinearGaussian(change(rows))
