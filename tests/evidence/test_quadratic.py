"""The evidence of a quadratic: derivatives against finite differences, and the search for its optimum."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from netdial.curvature import Factors
from netdial.curvature.precision import DenseBlock, DiagonalBlock, KroneckerBlock
from netdial.evidence.estimators.quadratic import RANGE, Quadratic, minimise

F64 = torch.float64


def quadratic(seed: int, *, first_order: bool, count: int = 30) -> Quadratic:
    """Two dense leaves, a layer with weight and bias, and a leaf without correlations."""
    source = torch.Generator().manual_seed(seed)

    def psd(size: int) -> Tensor:
        root = torch.randn(size, size, dtype=F64, generator=source)
        return root @ root.T + 0.1 * torch.eye(size, dtype=F64)

    dense, other = psd(5), torch.rand(3, dtype=F64, generator=source)
    factors = Factors("w", "b", psd(3), psd(2))
    whole = torch.block_diag(dense, factors.dense(), torch.diag(other))
    sizes = {"d": 3, "e": 2, "w": 4, "b": 2, "o": 3}
    slope = torch.randn(14, dtype=F64, generator=source)
    return Quadratic(
        blocks=[
            DenseBlock(("d", "e"), (3, 2), dense),
            KroneckerBlock(factors),
            DiagonalBlock("o", other),
        ],
        weights={n: torch.randn(s, dtype=F64, generator=source) for n, s in sizes.items()},
        slope=dict(zip(sizes, slope.split(list(sizes.values())), strict=True)),
        energy=40 + 0.5 * float(slope @ torch.linalg.solve(whole, slope)),  # 40 at the lowest
        count=count,
        first_order=first_order,
    )


@settings(max_examples=12)
@given(st.integers(0, 100), st.booleans(), st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_derivatives_are_those_of_finite_differences(
    seed: int, first_order: bool, at: list[float]
) -> None:
    problem = quadratic(seed, first_order=first_order)
    point, step = torch.tensor(at, dtype=F64), 1e-5
    here = problem.at(point)
    pairs = [(problem.at(point + step * e), problem.at(point - step * e)) for e in torch.eye(6)]
    slope = torch.tensor([(up.value - down.value) / (2 * step) for up, down in pairs], dtype=F64)
    torch.testing.assert_close(here.gradient, slope, rtol=1e-5, atol=1e-6)
    second = torch.stack([(up.gradient - down.gradient) / (2 * step) for up, down in pairs])
    torch.testing.assert_close(here.second, second, rtol=1e-5, atol=1e-5)
    if not first_order:
        assert torch.linalg.eigvalsh(here.second).min() > 0


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("start", [-12.0, 0.0, 12.0])
def test_the_optimum_is_stationary_and_values_never_rise(first_order: bool, start: float) -> None:
    problem = quadratic(1, first_order=first_order)
    directions = torch.eye(6, dtype=F64)
    at, point, values, stationary = minimise(
        problem.at, torch.full((6,), start, dtype=F64), directions
    )
    assert stationary
    assert values == sorted(values, reverse=True)
    assert values[-1] == point.value == problem.at(at).value
    inside = (at > RANGE[0]) & (at < RANGE[1])
    assert inside.any()
    assert point.gradient[inside].abs().max() < 1e-5
    assert (point.gradient[at == RANGE[0]] >= 0).all()
    assert (point.gradient[at == RANGE[1]] <= 0).all()


def test_only_the_given_directions_are_moved() -> None:
    problem = quadratic(2, first_order=False)
    start = torch.tensor([0.0, 0.5, -1.0, 2.0, 1.0, 25.0], dtype=F64)
    together = torch.tensor([[1.0], [1.0], [0.0], [0.0], [0.0], [0.0]], dtype=F64)
    at, point, _, stationary = minimise(problem.at, start, together)
    assert stationary
    moved = at - start
    assert moved[0] == pytest.approx(float(moved[1]))
    assert moved[0] != 0
    assert not moved[2:].any(), "what is outside the range stays there unless it is to be moved"
    assert float(point.gradient[:2].sum()) == pytest.approx(0, abs=1e-6)


def test_without_directions_nothing_is_looked_for() -> None:
    problem = quadratic(3, first_order=False)
    start = torch.zeros(6, dtype=F64)
    at, point, values, stationary = minimise(problem.at, start, torch.zeros(6, 0).double())
    assert torch.equal(at, start)
    assert values == [point.value]
    assert stationary


def test_without_noise_the_terms_are_energy_and_complexity() -> None:
    problem = quadratic(4, first_order=False, count=0)
    point = problem.at(torch.zeros(6, dtype=F64))
    assert point.fit == problem.energy
    assert point.value == point.fit + point.complexity
    with_noise = quadratic(4, first_order=False, count=30).at(torch.zeros(6, dtype=F64))
    assert with_noise.fit == pytest.approx(problem.energy + 15 * math.log(2 * math.pi))
