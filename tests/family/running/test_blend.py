"""Blends: what a step needs from pivots, held against the general way (fields first)."""

import pytest
import torch
from torch import Tensor

from netdial.core.layout import Layout
from netdial.family import blend
from netdial.family.blend import Blend
from netdial.family.fields import Fields

LAYOUT = Layout(("weight", "bias", "scalar"), ((3, 4), (3,), ()))
F64 = torch.float64


def parts(pivots: int, members: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns shares, pivots of the means and of the log_std, and prior variances."""
    source = torch.Generator().manual_seed(pivots)
    shares = torch.rand(members, pivots, generator=source, dtype=F64)
    means, log_stds = (
        torch.randn(pivots, LAYOUT.size, generator=source, dtype=F64).requires_grad_()
        for _ in range(2)
    )
    return shares, means, log_stds, torch.rand(members, generator=source, dtype=F64) + 0.5


@pytest.mark.parametrize("cacheful", [1 << 18, 12, 1])
@pytest.mark.parametrize("pivots", [1, 2, 6])
def test_values_and_gradients_are_those_of_the_fields(
    pivots: int, cacheful: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one pass over the numbers, in passes over three and a last one over what is left, and in passes over one."""
    monkeypatch.setattr(blend, "_CACHEFUL", cacheful)
    monkeypatch.setattr(blend, "_LEAST_WIDTH", 1)
    shares, means, log_stds, prior_var = parts(pivots)
    ways = {
        "blend": Fields(LAYOUT, Blend(shares, means), Blend(shares, log_stds)),
        "fields": Fields(LAYOUT, shares @ means, shares @ log_stds),
    }
    found = {}
    for name, fields in ways.items():
        kl = fields.kl(prior_var)
        leaves = [leaf for tree in fields.leaves() for leaf in tree.values()]
        total = (kl * prior_var).sum() + sum((leaf.sin() * 3).sum() for leaf in leaves)
        found[name] = [kl, *leaves, *torch.autograd.grad(total, (means, log_stds))]
    for blended, general in zip(found["blend"], found["fields"], strict=True):
        assert torch.allclose(blended, general, rtol=1e-12, atol=1e-12)


def test_the_hand_written_backward_is_the_derivative() -> None:
    shares, means, log_stds, prior_var = parts(2)

    def run(means: Tensor, log_stds: Tensor) -> tuple[Tensor, ...]:
        return Blend(shares, means).spread_and_kl(Blend(shares, log_stds), prior_var)

    assert torch.autograd.gradcheck(run, (means, log_stds))


def test_fields_that_somebody_has_asked_for_are_used_from_then_on() -> None:
    shares, means, log_stds, prior_var = parts(2)
    fields = Fields(LAYOUT, Blend(shares, means), Blend(shares, log_stds))
    fields.relevance().sum().backward()
    alone = means.grad.clone()
    fields = Fields(LAYOUT, Blend(shares, means), Blend(shares, log_stds))
    (fields.relevance().sum() + fields.kl(prior_var).sum()).backward()
    plain = Fields(LAYOUT, shares @ means, shares @ log_stds).kl(prior_var).sum()
    (expected,) = torch.autograd.grad(plain, means)
    assert torch.allclose(means.grad - alone, alone + expected)


def test_pruned_numbers_of_a_blend_are_certain_zeros() -> None:
    shares, means, log_stds, prior_var = parts(2)
    kept = torch.arange(LAYOUT.size) % 2 == 0
    blended = Fields(LAYOUT, Blend(shares, means), Blend(shares, log_stds), kept)
    general = Fields(LAYOUT, shares @ means, shares @ log_stds, kept)
    assert torch.allclose(blended.kl(prior_var), general.kl(prior_var))
    assert bool((blended.mean[:, ~kept] == 0).all())


@pytest.mark.parametrize("cacheful", [1 << 18, 12, 1])
@pytest.mark.parametrize(
    "norms", [("absolute_norm",), ("square_norm",), ("square_norm", "absolute_norm")]
)
@pytest.mark.parametrize("pivots", [1, 4])
def test_norms_and_their_gradients_are_those_of_the_fields(
    pivots: int, norms: tuple[str, ...], cacheful: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One norm comes with the means, a second one of them; alone, before the leaves, and after somebody asked for these."""
    monkeypatch.setattr(blend, "_CACHEFUL", cacheful)
    monkeypatch.setattr(blend, "_LEAST_WIDTH", 1)
    shares, means, _, weight = parts(pivots)
    for used, first in ((False, False), (True, False), (True, True)):
        found = {}
        for name, mean in (("blend", Blend(shares, means)), ("fields", shares @ means)):
            fields = Fields(LAYOUT, mean)
            if first:
                fields.leaves()
            values = [getattr(fields, norm)() for norm in norms]
            leaves = fields.leaves()[0].values() if used else []
            total = sum((value * weight).sum() for value in values)
            total = total + sum((leaf.sin() * 3).sum() for leaf in leaves)
            found[name] = [*values, *leaves, *torch.autograd.grad(total, means)]
        for blended, general in zip(found["blend"], found["fields"], strict=True):
            assert torch.allclose(blended, general, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_the_hand_written_backward_of_a_norm_is_the_derivative(order: blend.Order) -> None:
    shares, means, _, _ = parts(2)
    assert torch.autograd.gradcheck(lambda m: Blend(shares, m).with_norm(order), means)


def test_pruned_numbers_of_a_blend_are_in_no_norm() -> None:
    shares, means, _, _ = parts(2)
    kept = torch.arange(LAYOUT.size) % 2 == 0
    pruned = Fields(LAYOUT, Blend(shares, means), kept=kept)
    found = pruned.absolute_norm()
    assert torch.allclose(found, (shares @ means)[:, kept].abs().sum(dim=1))
    (grad,) = torch.autograd.grad(found.sum(), means)
    assert bool((grad[:, ~kept] == 0).all())


def test_a_blend_of_means_alone_is_a_point() -> None:
    shares, means, _, prior_var = parts(2)
    point = Fields(LAYOUT, Blend(shares, means))
    assert point.members == len(prior_var)
    assert torch.allclose(point.square_norm(), (shares @ means).square().sum(dim=1))
