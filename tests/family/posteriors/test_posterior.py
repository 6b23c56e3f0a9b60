"""Posteriors: the divergence against torch.distributions, and its hand-written gradients against autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from netdial.core.errors import ConfigError
from netdial.core.layout import Layout
from netdial.family.fields import Fields, kl_between, symmetrised_kl

F64 = torch.float64
LAYOUT = Layout(("weight", "bias", "scalar"), ((3, 2), (3,), ()))


def random_fields(seed: int, members: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    mean = torch.randn(members, LAYOUT.size, dtype=F64, generator=source)
    log_std = torch.randn(members, LAYOUT.size, dtype=F64, generator=source) - 1
    prior_var = torch.rand(members, dtype=F64, generator=source) + 0.2
    return mean, log_std, prior_var


def plain_kl(mean: Tensor, log_std: Tensor, prior_var: Tensor) -> Tensor:
    """½ Σ (σ² + μ²)/s² - 1 - log σ² + log s², with nothing fused."""
    s = prior_var[:, None]
    return 0.5 * (((2 * log_std).exp() + mean**2) / s - 1 - 2 * log_std + s.log()).sum(dim=1)


@given(st.integers(0, 100), st.integers(1, 4))
def test_divergence_is_that_of_torch_distributions(seed: int, members: int) -> None:
    mean, log_std, prior_var = random_fields(seed, members)
    prior = Normal(torch.zeros_like(mean), prior_var.sqrt()[:, None])
    expected = kl_divergence(Normal(mean, log_std.exp()), prior).sum(dim=1)
    assert torch.allclose(Fields(LAYOUT, mean, log_std).kl(prior_var), expected)


@given(st.integers(0, 100))
def test_symmetrised_divergence_is_that_of_torch_distributions(seed: int) -> None:
    first, second = random_fields(seed)[:2], random_fields(seed + 1000)[:2]
    p, q = (Normal(mean, log_std.exp()) for mean, log_std in (first, second))
    there = kl_between(Fields(LAYOUT, *first), Fields(LAYOUT, *second))
    assert torch.allclose(there, kl_divergence(p, q).sum(dim=1))
    both = symmetrised_kl(Fields(LAYOUT, *first), Fields(LAYOUT, *second))
    assert torch.allclose(both, (kl_divergence(p, q) + kl_divergence(q, p)).sum(dim=1))
    assert torch.allclose(both, symmetrised_kl(Fields(LAYOUT, *second), Fields(LAYOUT, *first)))


def test_divergence_from_itself_is_nothing() -> None:
    mean, log_std, _ = random_fields(0)
    same = Fields(LAYOUT, mean, log_std)
    assert torch.allclose(symmetrised_kl(same, same), torch.zeros(2, dtype=F64))
    prior = Fields(LAYOUT, torch.zeros_like(mean), torch.full_like(log_std, 0.5))
    assert torch.allclose(
        prior.kl(torch.full((2,), torch.e, dtype=F64)), torch.zeros(2, dtype=F64), atol=1e-12
    )


def test_gradients_by_finite_differences() -> None:
    """Of the divergence and of what the network gets, together: the fused backward adds them up."""
    mean, log_std, prior_var = random_fields(1)
    mean, log_std = mean.requires_grad_(), log_std.requires_grad_()

    def everything(mean: Tensor, log_std: Tensor) -> tuple[Tensor, ...]:
        fields = Fields(LAYOUT, mean, log_std)
        kl = fields.kl(prior_var)
        means, variances = fields.leaves()
        return kl, *means.values(), *variances.values()

    assert torch.autograd.gradcheck(everything, (mean, log_std))


@given(st.integers(0, 50))
def test_gradients_are_those_of_the_plain_formula(seed: int) -> None:
    mean, log_std, prior_var = random_fields(seed)
    mean, log_std = mean.requires_grad_(), log_std.requires_grad_()
    weights = torch.randn(2, LAYOUT.size, dtype=F64)

    fields = Fields(LAYOUT, mean, log_std)
    kl = fields.kl(prior_var)
    means, variances = fields.leaves()
    used = sum(
        (LAYOUT.split(weights)[n] * (means[n].sin() + 3 * variances[n])).sum() for n in LAYOUT.names
    )
    found = torch.autograd.grad((2 * kl).sum() + used, [mean, log_std])

    plain = (weights * (mean.sin() + 3 * (2 * log_std).exp())).sum() + 2 * plain_kl(
        mean, log_std, prior_var
    ).sum()
    expected = torch.autograd.grad(plain, [mean, log_std])
    assert torch.allclose(found[0], expected[0])
    assert torch.allclose(found[1], expected[1])


@pytest.mark.parametrize("asked_first", [True, False])
def test_leaves_are_the_fields_cut_by_layout(asked_first: bool) -> None:
    mean, log_std, prior_var = random_fields(2)
    fields = Fields(LAYOUT, mean, log_std)
    if asked_first:
        fields.kl(prior_var)
    means, variances = fields.leaves()
    assert all(torch.equal(means[n], leaf) for n, leaf in LAYOUT.split(mean).items())
    assert all(
        torch.allclose(variances[n], leaf) for n, leaf in LAYOUT.split((2 * log_std).exp()).items()
    )
    assert fields.var is not None and torch.allclose(fields.var, (2 * log_std).exp())


def test_many_numbers_are_handled_in_runs_without_a_seam() -> None:
    """More numbers than one cacheful, so that members are taken a few at a time."""
    layout = Layout(("a", "b"), ((5, 7001), (40001,)))
    source = torch.Generator().manual_seed(0)
    mean, log_std = (
        torch.randn(5, layout.size, dtype=F64, generator=source).requires_grad_() for _ in range(2)
    )
    prior_var = torch.linspace(0.5, 2, 5, dtype=F64)
    found, expected = (
        Fields(layout, mean, log_std).kl(prior_var),
        plain_kl(mean, log_std, prior_var),
    )
    assert torch.allclose(found, expected)
    for a, b in zip(
        torch.autograd.grad(found.sum(), [mean, log_std]),
        torch.autograd.grad(expected.sum(), [mean, log_std]),
        strict=True,
    ):
        assert torch.allclose(a, b)


def test_point_posterior_has_no_divergence() -> None:
    mean, log_std, prior_var = random_fields(0)
    point = Fields(LAYOUT, mean)
    assert point.var is None
    assert point.leaves()[1] == {}
    with pytest.raises(
        ConfigError, match=r"no finite divergence from a normal prior; train with .*'ard'"
    ):
        point.kl(prior_var)
    with pytest.raises(ConfigError, match="both posteriors must be normal"):
        kl_between(point, Fields(LAYOUT, mean, log_std))
    assert torch.allclose(point.square_norm(), (mean**2).sum(dim=1))


@given(st.integers(0, 100))
def test_relevance_is_the_least_divergence_over_prior_variances(seed: int) -> None:
    mean, log_std, _ = random_fields(seed, members=1)
    best = (mean**2 + (2 * log_std).exp())[0]
    found = Fields(LAYOUT, mean, log_std).relevance()
    posterior = Normal(mean[0], log_std[0].exp())

    def divergence(variance: Tensor) -> Tensor:
        return kl_divergence(posterior, Normal(torch.zeros_like(best), variance.sqrt())).sum()

    assert torch.allclose(found, divergence(best))
    assert all(bool(divergence(best * factor) > found) for factor in (0.7, 1.5))


@given(st.integers(0, 100))
def test_pruned_numbers_count_for_nothing(seed: int) -> None:
    mean, log_std, prior_var = random_fields(seed)
    kept = torch.rand(LAYOUT.size, generator=torch.Generator().manual_seed(seed)) < 0.6
    mean.requires_grad_(), log_std.requires_grad_()
    pruned = Fields(LAYOUT, mean, log_std, kept)
    rest = Layout(("rest",), ((int(kept.sum()),),))
    alone = Fields(rest, mean[:, kept], log_std[:, kept])
    assert torch.allclose(pruned.kl(prior_var), alone.kl(prior_var))
    for of_pruned, of_rest in (
        (pruned.relevance(), alone.relevance()),
        (pruned.square_norm(), alone.square_norm()),
        (pruned.absolute_norm(), alone.absolute_norm()),
        (pruned.effective_parameters(prior_var), alone.effective_parameters(prior_var)),
    ):
        assert torch.allclose(of_pruned, of_rest)
    means, variances = pruned.leaves()
    for leaves in (means, variances):
        assert all(
            torch.equal((leaf != 0).all(dim=0), LAYOUT.split(kept)[name])
            for name, leaf in leaves.items()
        )
    total = pruned.kl(prior_var).sum() + sum(v.sum() for v in variances.values())
    gradients = torch.autograd.grad(total, [mean, log_std])
    assert all(not bool(g[:, ~kept].any()) for g in gradients)


@pytest.mark.parametrize("name", ["relevance", "effective_parameters"])
def test_a_point_has_no_relevance_and_no_effective_parameters(name: str) -> None:
    point = Fields(LAYOUT, torch.zeros(1, LAYOUT.size))
    with pytest.raises(ConfigError, match=f"{name}: a point posterior has no variances"):
        getattr(point, name)(*([torch.ones(1)] if name == "effective_parameters" else []))
