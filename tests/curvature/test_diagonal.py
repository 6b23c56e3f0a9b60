"""Diagonals against whole matrices by finite differences; laws of sums; Hutchinson's error against its formula."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netdial.core.errors import ConfigError
from netdial.curvature import diagonal, full
from netdial.curvature.diagonals import DIAGONALS
from netdial.data import Dataset

Z = 5.0


@pytest.mark.slow
def test_gauss_newton_diagonal_is_that_of_the_matrix(problem: Any) -> None:
    found = diagonal(problem.net, problem.data, kind=problem.kind, batch_size=4)
    assert list(found) == list(problem.layout.names)
    flat = problem.layout.join(found)
    torch.testing.assert_close(flat, problem.gauss_newton().diagonal(), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_hessian_diagonal_is_that_of_finite_differences(problem: Any) -> None:
    found = diagonal(problem.net, problem.data, kind=problem.kind, how="hessian", batch_size=4)
    flat = problem.layout.join(found)
    torch.testing.assert_close(flat, problem.hessian().diagonal(), rtol=1e-6, atol=1e-6)


def test_fisher_is_the_sum_of_squared_gradients_of_single_examples(problem: Any) -> None:
    found = diagonal(problem.net, problem.data, kind=problem.kind, how="fisher", batch_size=4)
    torch.testing.assert_close(problem.layout.join(found), problem.fisher())


def test_hutchinson_is_unbiased_with_the_error_of_its_formula(tanh: Any, seed: int) -> None:
    """Var = Σ_{k≠j} H_jk² / S."""
    samples = 200
    found = diagonal(
        tanh.net, tanh.data, kind=tanh.kind, how="hutchinson", n_samples=samples, seed=seed
    )
    hessian = full(tanh.net, tanh.data, kind=tanh.kind, how="hessian")
    off = hessian - torch.diag(hessian.diagonal())
    error = (off.square().sum(dim=1) / samples).sqrt()
    gap = (tanh.layout.join(found) - hessian.diagonal()).abs()
    assert (gap <= Z * error + 1e-12).all()
    assert gap.max() > 0


def test_hutchinson_repeats_itself_by_seed_whatever_the_batches(tanh: Any) -> None:
    one, again, other = (
        diagonal(tanh.net, tanh.data, kind=tanh.kind, how="hutchinson", seed=seed, batch_size=size)
        for seed, size in ((0, 7), (0, 2), (1, 7))
    )
    for name in one:
        torch.testing.assert_close(one[name], again[name])
    assert not torch.allclose(one["0.weight"], other["0.weight"])


@pytest.mark.parametrize("how", ["ggn", "fisher", "hessian"])
def test_batches_change_nothing(named: Callable[..., Any], how: str) -> None:
    problem = named("convolutional", "classification")
    whole, parts = (
        diagonal(problem.net, problem.data, how=how, batch_size=size) for size in (7, 1)
    )
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name])


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True])
def test_outputs_with_places_have_the_diagonal_of_the_hessian(last: bool) -> None:
    """A network of piecewise linear layers has the Hessian's diagonal; here by sums of random signs, so nearly."""
    torch.manual_seed(0)
    net: nn.Module = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv1d(4, 3, 1))
    if last:
        net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
    net = net.double()
    x = torch.randn(100, *((6, 2) if last else (2, 6)), dtype=torch.float64)
    places = torch.randint(0, 3, (100, 6))
    places[0, 3] = places[4, :5] = -100
    for y in (places, net(x).detach() + 0.1):
        found, true = (diagonal(net, (x, y), how=how) for how in ("ggn", "hessian"))
        for name in true:
            assert found[name].sum() == pytest.approx(float(true[name].sum()), rel=0.05)
            error = 0.05 * float(true[name].mean())
            torch.testing.assert_close(found[name], true[name], rtol=0.1, atol=error)
        parts = diagonal(net, (x, y), batch_size=32)
        assert all(torch.allclose(parts[name], found[name]) for name in found)


@settings(max_examples=8)
@given(st.integers(1, 6), st.integers(0, 100))
def test_curvature_of_two_parts_of_the_data_adds_up(cut: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(7, 3, dtype=torch.float64, generator=source)
    y = torch.randint(0, 2, (7,), generator=source)
    for how in ("ggn", "fisher", "hessian"):
        first, second, whole = (
            diagonal(net, (x[part], y[part]), how=how)
            for part in (slice(cut), slice(cut, None), slice(None))
        )
        for name in whole:
            torch.testing.assert_close(first[name] + second[name], whole[name])


def test_piecewise_linear_networks_have_the_same_two_diagonals(named: Callable[..., Any]) -> None:
    problem = named("relu", "classification")
    ggn, hessian = (diagonal(problem.net, problem.data, how=how) for how in ("ggn", "hessian"))
    for name in ggn:
        torch.testing.assert_close(ggn[name], hessian[name])


@pytest.mark.parametrize("how", list(DIAGONALS))
def test_network_is_left_as_it_was(named: Callable[..., Any], how: str) -> None:
    problem = named("convolutional", "regression")
    before = copy.deepcopy(problem.net.state_dict())
    diagonal(problem.net, problem.data, kind="regression", how=how, n_samples=2)
    assert problem.net.training
    assert all(module.training for module in problem.net.modules())
    assert all(leaf.grad is None for leaf in problem.net.parameters())
    for name, tensor in problem.net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_frozen_parameters_have_curvature_too(named: Callable[..., Any]) -> None:
    problem = named("relu", "classification")
    expected = diagonal(problem.net, problem.data)
    found = diagonal(problem.net.requires_grad_(False), problem.data)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_images_stored_as_bytes_are_normalised() -> None:
    pixels = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)
    data = Dataset(pixels, torch.tensor([0, 1]), torch.tensor(10.0), torch.tensor(0.1))
    net = nn.Sequential(nn.Conv2d(3, 2, 2), nn.Flatten())
    plain = diagonal(net, ((pixels.float() - 10) * 0.1, data.y))
    found = diagonal(net, data)
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_what_is_refused() -> None:
    data = torch.zeros(1, 300), torch.zeros(1).long()
    with pytest.raises(ConfigError, match="unknown kind of curvature 'gnn'; did you mean 'ggn'"):
        diagonal(nn.Linear(300, 2), data, how="gnn")
    with pytest.raises(ConfigError, match=r"n_samples=0; .*1"):
        diagonal(nn.Linear(300, 2), data, how="hutchinson", n_samples=0)
    with pytest.raises(ConfigError, match="60,200 parameters, allowed up to 50,000; use how='ggn'"):
        diagonal(nn.Linear(300, 200), data, how="hessian")


@pytest.mark.slow
def test_a_real_network_costs_a_few_passes() -> None:
    """LeNet-5: squares of single gradients, without forming them, against one after another."""
    from netdial.nets import build

    net = build("lenet5", input_shape=(1, 28, 28), n_outputs=10)
    x = torch.randn(24, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = torch.arange(24) % 10
    found = diagonal(net, (x, y), how="fisher")
    slow = {name: torch.zeros_like(leaf) for name, leaf in net.named_parameters()}
    for i in range(24):
        loss = nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(net.parameters()))
        for name, grad in zip(slow, grads, strict=True):
            slow[name] += grad.square()
    for name in slow:
        scale = float(slow[name].max())
        torch.testing.assert_close(found[name], slow[name], rtol=1e-3, atol=1e-5 * scale)
    ggn = diagonal(net, (x, y))
    assert all(
        math.isfinite(float(leaf.sum())) and bool((leaf >= 0).all()) for leaf in ggn.values()
    )


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_without_units_has_no_curvature() -> None:
    """The layers beside it have theirs."""

    class WithNone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.none = nn.Linear(3, 2), nn.Linear(3, 0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.last(x)
            return scores.add(self.none(x).sum(dim=1, keepdim=True))

    net = WithNone()
    data = torch.randn(7, 3), torch.randint(2, (7,))
    found, alone = diagonal(net, data), diagonal(net.last, data)
    assert found["none.weight"].shape == (0, 3)
    torch.testing.assert_close(found["last.weight"], alone["weight"])


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("how", ["fisher", "ggn"])
def test_what_torch_differentiates_wrongly_side_by_side_goes_one_by_one(
    how: str, rows: int
) -> None:
    """Examples of PReLU were added up where there are as many vectors as examples, or one."""
    net = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4), nn.Linear(4, 2))
    x, y = torch.randn(rows, 3), torch.arange(rows) % 2
    found = diagonal(net, (x, y), kind="classification", how=how)["1.weight"]
    alone = [
        diagonal(net, (x[i : i + 1], y[i : i + 1]), kind="classification", how=how)
        for i in range(rows)
    ]
    out, due = net(x), torch.zeros(4)
    for i in range(rows):
        probs = out[i].softmax(0).detach()
        for k in range(2):
            (slope,) = torch.autograd.grad(
                -out[i].log_softmax(0)[k], net[1].weight, retain_graph=True
            )
            due += (probs[k] if how == "ggn" else float(y[i] == k)) * slope.square()
    torch.testing.assert_close(found, due)
    torch.testing.assert_close(sum(one["1.weight"] for one in alone), due)


def test_torch_says_nothing_of_how_it_runs_single_examples() -> None:
    """Recurrent layers have no batched form there; the warning asks users to file an issue with torch."""
    net = nn.Sequential(nn.Unflatten(1, (3, 1)), Last(nn.LSTM(1, 2, batch_first=True)))
    assert diagonal(net, (torch.randn(5, 3), torch.randint(2, (5,))))


class Last(nn.Module):
    """The last state of a recurrent layer."""

    def __init__(self, cell: nn.LSTM) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.cell(x)[0][:, -1]
        return found
