"""What every registered objective and weighting must keep to."""

from __future__ import annotations

import inspect

import pytest
import torch

from netdial.core.layout import Layout
from netdial.family.fields import Fields
from netdial.objective import OBJECTIVES, WEIGHTINGS

LAYOUT = Layout(("w", "b"), ((2, 2), (3,)))
LAM = torch.tensor([0.01, 1.0, 50.0], dtype=torch.float64)


def fields(name: str) -> Fields:
    source = torch.Generator().manual_seed(0)
    mean = torch.randn(3, 7, dtype=torch.float64, generator=source).requires_grad_()
    log_std = (torch.randn(3, 7, dtype=torch.float64, generator=source) - 2).requires_grad_()
    return Fields(LAYOUT, mean, None if OBJECTIVES[name].is_point else log_std)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_one_finite_penalty_for_each_member_with_gradients(name: str) -> None:
    found = fields(name)
    mean, log_std = found.mean, found.log_std
    penalty = OBJECTIVES[name](found, LAM, 2.0)
    assert penalty.shape == LAM.shape
    assert bool((penalty >= 0).all())
    gradients = torch.autograd.grad(penalty.sum(), [mean] if log_std is None else [mean, log_std])
    assert all(bool(g.isfinite().all()) and bool((g != 0).any()) for g in gradients)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_members_do_not_mix(name: str) -> None:
    found = fields(name)
    whole = OBJECTIVES[name](found, LAM, 2.0)
    for k in range(3):
        log_std = None if found.log_std is None else found.log_std[k : k + 1]
        alone = OBJECTIVES[name](
            Fields(LAYOUT, found.mean[k : k + 1], log_std), LAM[k : k + 1], 2.0
        )
        assert torch.allclose(whole[k : k + 1], alone)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_pull_on_the_means_grows_with_complexity(name: str) -> None:
    mean = torch.ones(3, 7, dtype=torch.float64, requires_grad=True)
    spread = None if OBJECTIVES[name].is_point else torch.full((3, 7), -3.0, dtype=torch.float64)
    (pull,) = torch.autograd.grad(
        OBJECTIVES[name](Fields(LAYOUT, mean, spread), LAM, 2.0).sum(), mean
    )
    assert bool((pull[1:] > pull[:-1]).all())


@pytest.mark.parametrize("name", list(WEIGHTINGS))
def test_weights_are_positive_and_never_rise(name: str) -> None:
    weight = WEIGHTINGS[name](LAM)
    assert weight.shape == LAM.shape
    assert bool((weight > 0).all()) and bool((weight[1:] <= weight[:-1]).all())


@pytest.mark.parametrize(
    "part", [*[OBJECTIVES[n].penalty for n in OBJECTIVES], *[WEIGHTINGS[n] for n in WEIGHTINGS]]
)
def test_documentation_says_what_comes_back(part: object) -> None:
    assert (inspect.getdoc(part) or "").startswith("Returns")
