"""What every posterior must keep to: draws, their mean, its divergence from the prior. A new one is enrolled by its name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from netdial.core.noise import Noise
from netdial.family.posteriors import POSTERIORS, Posterior

from .gates import PRIOR, BernoulliToy, Drawn, registered

SHAPE = (2, 3)
KNOWN: dict[str, Posterior] = {
    **{name: POSTERIORS[name] for name in POSTERIORS},
    "bernoulli-toy": BernoulliToy(),
    "drawn-toy": Drawn(),
}
names = pytest.mark.parametrize("name", list(KNOWN))
LAM, PRIOR_VAR = torch.tensor([0.5, 2.0]).double(), torch.tensor([1.0, 0.25]).double()


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with registered():
        yield


def fields_of(name: str, members: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Fields of K different members."""
    source = torch.Generator().manual_seed(seed)
    return {
        field: 0.7 * torch.randn(members, *SHAPE, generator=source, dtype=torch.float64)
        for field in KNOWN[name].fields
    }


def noise(members: int = 2, seed: int = 0) -> Noise:
    return Noise(seed, 0, range(members))


@names
def test_fields_are_shaped_like_the_leaf(name: str) -> None:
    leaf = torch.rand(SHAPE, dtype=torch.float64)
    for field in KNOWN[name].fields.values():
        start = field.start(leaf, -3.0)
        assert (start.shape, start.dtype) == (leaf.shape, leaf.dtype)
        assert start.isfinite().all()


@names
def test_exact_draws_average_to_the_mean(name: str) -> None:
    count, posterior = 4000, KNOWN[name]
    one = {field: value[:1] for field, value in fields_of(name).items()}
    many = {field: value.expand(count, *SHAPE) for field, value in one.items()}
    drawn, mean = posterior.sample(many, noise(count), 0), posterior.mean(one)[0]
    assert drawn.shape == (count, *SHAPE)
    error = drawn.std(dim=0) / count**0.5
    assert bool(((drawn.mean(dim=0) - mean).abs() <= 5 * error + 1e-12).all())
    assert bool((error > 0).all()) == posterior.random


@names
def test_draws_of_training_pass_gradients_and_repeat(name: str) -> None:
    posterior = KNOWN[name]
    fields = {field: value.requires_grad_() for field, value in fields_of(name).items()}
    drawn = posterior.sample(fields, noise(), posterior.temperature)
    assert torch.equal(drawn, posterior.sample(fields, noise(), posterior.temperature))
    for grad in torch.autograd.grad(drawn.square().sum(), list(fields.values())):
        assert bool(grad.isfinite().all()) and bool((grad != 0).any())


@names
@pytest.mark.parametrize("start", range(4))
def test_divergence_is_never_negative(name: str, start: int) -> None:
    found = KNOWN[name].kl(fields_of(name, seed=start), LAM, PRIOR_VAR, noise())
    slack = torch.zeros(2) if found.error is None else 5 * found.error
    assert found.nats.shape == (2,)
    assert bool((found.nats >= -slack - 1e-12).all())


@names
def test_least_divergence_is_that_of_the_prior_from_itself(name: str) -> None:
    fields = {field: value.requires_grad_() for field, value in fields_of(name).items()}
    search = torch.optim.LBFGS(fields.values(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        total = KNOWN[name].kl(fields, LAM, PRIOR_VAR, noise(seed=1)).nats.sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    search.step(closure)  # type: ignore[arg-type]
    least = KNOWN[name].kl(fields, LAM, PRIOR_VAR, noise(seed=2))
    size = fields[next(iter(fields))][0].numel()
    assert bool((least.nats.abs() <= (1e-6 if least.error is None else 0.1 * size)).all())


@pytest.mark.parametrize("name", ["normal", "drawn-toy", "bernoulli-toy"])
def test_divergence_agrees_with_draws(name: str) -> None:
    """E log q/p over draws, with densities of ``torch.distributions``; an estimate agrees within its own error."""
    posterior, fields, count = KNOWN[name], fields_of(name), 4000
    found = posterior.kl(fields, LAM, PRIOR_VAR, noise(seed=3))
    for k in range(2):
        many = {field: value[k].expand(count, *SHAPE) for field, value in fields.items()}
        drawn = posterior.sample(many, noise(count, seed=4), 0)
        q, p = densities(name, {field: value[k] for field, value in fields.items()}, k)
        ratios = (q.log_prob(drawn) - p.log_prob(drawn)).flatten(1).sum(dim=1)
        error = (ratios.var() / count).sqrt()
        if found.error is not None:
            assert found.error[k] > 0
            error = (error.square() + found.error[k].square()).sqrt()
        assert abs(found.nats[k] - ratios.mean()) <= 5 * error


def densities(name: str, fields: dict[str, Tensor], k: int) -> tuple[Any, Any]:
    if name == "bernoulli-toy":
        return (
            torch.distributions.Bernoulli(logits=fields["logit"]),
            torch.distributions.Bernoulli(torch.full(SHAPE, PRIOR, dtype=torch.float64)),
        )
    return (
        torch.distributions.Normal(fields["mean"], fields["log_std"].exp()),
        torch.distributions.Normal(torch.zeros(SHAPE).double(), PRIOR_VAR[k].sqrt()),
    )


def test_exact_divergence_has_no_error_and_errors_add_in_squares() -> None:
    exact = KNOWN["normal"].kl(fields_of("normal"), LAM, PRIOR_VAR, noise())
    rough = KNOWN["drawn-toy"].kl(fields_of("normal"), LAM, PRIOR_VAR, noise())
    assert exact.error is None and rough.error is not None
    assert exact.plus(exact).error is None
    assert torch.equal(exact.plus(rough).nats, exact.nats + rough.nats)
    both = rough.plus(rough).error
    assert both is not None and torch.allclose(both, 2**0.5 * rough.error)
