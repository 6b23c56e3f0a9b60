"""Whole curvature matrices against finite differences, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError, DataError, ShapeError, TraceError
from netdial.curvature import full, gradient


@pytest.mark.slow
def test_gauss_newton_matrix_is_that_of_finite_differences(problem: Any) -> None:
    found = full(problem.net, problem.data, kind=problem.kind, batch_size=4)
    torch.testing.assert_close(found, problem.gauss_newton(), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_hessian_is_that_of_finite_differences(problem: Any) -> None:
    found = full(problem.net, problem.data, kind=problem.kind, how="hessian", batch_size=4)
    torch.testing.assert_close(found, problem.hessian(), rtol=1e-6, atol=1e-6)
    assert torch.equal(found, found.T)


def test_losses_and_gradient_are_those_of_autograd(problem: Any) -> None:
    losses, slope = gradient(problem.net, problem.data, kind=problem.kind, batch_size=4)
    torch.testing.assert_close(losses, problem.nll(problem.flat))
    torch.testing.assert_close(problem.layout.join(slope), problem.slope(problem.flat))


def test_a_parameter_that_is_not_used_has_no_gradient() -> None:
    net = nn.Linear(2, 2)
    net.spare = nn.Parameter(torch.ones(3))
    _, slope = gradient(net, (torch.randn(4, 2), torch.zeros(4).long()))
    assert not slope["spare"].any()


def test_large_networks_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"10,100 parameters has 102,010,000 entries; allowed up to 5,000"
    ):
        full(nn.Linear(100, 100), (torch.zeros(1, 100), torch.zeros(1).long()))


def test_names_are_refused_with_the_nearest_that_is_known() -> None:
    data = torch.zeros(3, 2), torch.zeros(3).long()
    with pytest.raises(ConfigError, match="did you mean 'hessian'"):
        full(nn.Linear(2, 2), data, how="hesian")
    with pytest.raises(ConfigError, match="did you mean 'regression'"):
        full(nn.Linear(2, 2), data, kind="regresion")


def test_data_that_cannot_be_used_are_refused() -> None:
    net = nn.Linear(2, 2)
    with pytest.raises(DataError, match="no examples"):
        full(net, (torch.zeros(0, 2), torch.zeros(0).long()))
    with pytest.raises(ConfigError, match="batch_size=0"):
        full(net, (torch.zeros(1, 2), torch.zeros(1).long()), batch_size=0)
    with pytest.raises(ConfigError, match="ReLU has no parameters"):
        full(nn.ReLU(), (torch.zeros(1, 2), torch.zeros(1).long()))


def test_outputs_that_cannot_be_scored_are_refused() -> None:
    data = torch.zeros(3, 4, 2), torch.zeros(3).long()
    with pytest.raises(ShapeError, match=r"\[2, 4, 2\], expected \[2, 1\]"):
        full(nn.Linear(2, 2), data)
    with pytest.raises(TraceError, match="returned a tuple, expected one tensor"):
        full(nn.LSTM(2, 2), data)


def test_a_hessian_that_torch_gets_wrong_is_refused() -> None:
    """The fused kernel of weight normalisation has a second derivative that is not symmetric."""
    net = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)).double()
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(TraceError, match=r"not symmetric.*use how='ggn'"):
        full(net, (x, torch.tensor([0, 1, 0, 1, 1])), how="hessian")


def test_what_has_no_second_derivative_is_named() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return grad

    class Opaque(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Once.apply(super().forward(x))

    data = torch.randn(3, 2), torch.zeros(3).long()
    with pytest.raises(TraceError, match="Opaque: the Hessian needs second derivatives"):
        full(Opaque(2, 2), data, how="hessian")
    assert full(Opaque(2, 2), data).shape == (6, 6)
