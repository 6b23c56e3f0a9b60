"""Penalties: closed forms of one step, what a resting switch satisfies, and why the draft's way needs another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.errors import ConfigError, NonFiniteError, ShapeError
from netdial.shrinking.penalty import decay, proximal, step_switches, subgradient

numbers = st.floats(-3, 3)
strengths = st.floats(0, 2)
rates = st.floats(1e-3, 1)


def switch(*values: float, grad: list[float] | None = None) -> nn.Parameter:
    theta = nn.Parameter(torch.tensor(values, dtype=torch.float64))
    if grad is not None:
        theta.grad = torch.tensor(grad, dtype=torch.float64)
    return theta


def steps_to_zero(lam: float, way: Callable[[nn.Parameter, torch.optim.Optimizer], None]) -> int:
    """Updates until a switch at 0.5 that no loss reads is at 0 or beyond."""
    theta = nn.Parameter(torch.tensor([0.5]))
    optimizer = torch.optim.Adam([theta], lr=1e-3)
    for step in range(1, 2000):
        theta.grad = torch.zeros_like(theta)
        way(theta, optimizer)
        if float(theta.detach()) <= 0:
            return step
    return -1


@pytest.mark.parametrize("lam", [1e-5, 1e-3, 1e-1])
def test_under_adam_a_subgradient_means_the_same_for_every_lambda(lam: float) -> None:
    def way(theta: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        subgradient({"s": theta}, lam)
        optimizer.step()

    assert 499 <= steps_to_zero(lam, way) <= 503


@pytest.mark.parametrize(("lam", "expected"), [(1.0, 500), (2.0, 250), (10.0, 50), (0.01, -1)])
def test_proximal_steps_get_there_in_proportion_to_lambda(lam: float, expected: int) -> None:
    def way(theta: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        step_switches({"s": theta}, lam, rate=1e-3)

    assert steps_to_zero(lam, way) == pytest.approx(expected, abs=1)


def test_a_subgradient_passes_zero_and_a_proximal_step_rests_on_it() -> None:
    rough, exact = switch(0.25, -0.25), switch(0.25, -0.25)
    optimizer = torch.optim.SGD([rough], lr=0.1)
    for _ in range(10):
        rough.grad = None
        subgradient({"s": rough}, 1.0)
        optimizer.step()
        step_switches({"s": exact}, 1.0, rate=0.1)
    assert rough.abs().min() > 0.04
    assert exact.tolist() == [0, 0]
    assert not bool(torch.signbit(exact).any())


@given(theta=numbers, lam=strengths, rate=rates)
def test_proximal_solves_its_own_problem(theta: float, lam: float, rate: float) -> None:
    """The result minimises (x - θ)²/2 + rate λ |x|: no point of a fine grid is better."""
    moved = torch.tensor([theta], dtype=torch.float64)
    proximal(moved, lam, rate=rate)

    def cost(x: Tensor) -> Tensor:
        return 0.5 * (x - theta).square() + rate * lam * x.abs()

    grid = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    assert float(cost(moved)[0]) <= float(cost(grid).min()) + 1e-12
    expected = max(abs(theta) - rate * lam, 0)
    assert moved.abs().item() == pytest.approx(expected, abs=1e-12)


@given(values=st.lists(numbers, min_size=1, max_size=5), lam=strengths, rate=rates, data=st.data())
def test_a_step_is_a_gradient_step_and_a_soft_threshold(
    values: list[float], lam: float, rate: float, data: st.DataObject
) -> None:
    grad = data.draw(st.lists(numbers, min_size=len(values), max_size=len(values)))
    weight = data.draw(st.lists(strengths, min_size=len(values), max_size=len(values)))
    theta = switch(*values, grad=grad)
    step_switches({"s": theta}, lam, rate=rate, weights={"s": torch.tensor(weight).double()})
    for found, t, g, w in zip(
        theta.tolist(), values, grad, torch.tensor(weight).tolist(), strict=True
    ):
        ahead = t - rate * g
        size = max(abs(ahead) - rate * lam * w, 0)
        assert found == pytest.approx(size if ahead > 0 else -size, abs=1e-12)
    assert theta.grad is not None and theta.grad.tolist() == grad


OPTIMISERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.05),
    "momentum": lambda params: torch.optim.SGD(params, lr=0.02, momentum=0.9),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "adagrad": lambda params: torch.optim.Adagrad(params, lr=0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_switch_at_rest_has_a_gradient_of_lambda_under_every_optimiser(name: str) -> None:
    """Channels of growing use: weak ones rest at 0 with a gradient below λ, the others where it is λ."""
    lam, worth = 0.2, torch.tensor([0.05, 1.0, 1.5, 2.0], dtype=torch.float64)
    theta = nn.Parameter(torch.ones(4, dtype=torch.float64))
    w = nn.Parameter(torch.full((4,), 0.8, dtype=torch.float64))
    optimizer = OPTIMISERS[name]([w])
    for _ in range(1500):
        theta.grad = w.grad = None
        loss = 0.5 * (theta * w - worth).square().sum() + 0.1 * w.square().sum()
        loss.backward()
        optimizer.step()
        step_switches({"s": theta}, lam, rate=0.05)
    theta.grad = None
    (0.5 * (theta * w.detach() - worth).square().sum()).backward()
    assert theta.grad is not None
    alive = theta.detach() != 0
    assert alive.tolist() == [False, True, True, True]
    assert torch.allclose(theta.grad[alive], -lam * theta.detach()[alive].sign(), atol=2e-3)
    assert bool((theta.grad[~alive].abs() <= lam).all())


def test_subgradient_adds_to_the_gradient_that_is_there() -> None:
    theta, bare = switch(2, -3, 0, grad=[1, 1, 1]), switch(-1)
    held = theta.grad
    subgradient({"a": theta, "b": bare}, 0.5, weights={"a": torch.tensor([1.0, 2, 3]), "b": 4})
    assert theta.grad is held
    assert held is not None and held.tolist() == [1.5, 0, 1]
    assert bare.grad is not None and bare.grad.tolist() == [-2]


def test_a_switch_without_a_gradient_is_pulled_all_the_same() -> None:
    theta = switch(1.0)
    step_switches({"s": theta}, 1.0, rate=0.25)
    assert theta.tolist() == [0.75]
    assert theta.requires_grad


def test_decay_is_that_of_adamw() -> None:
    ours, theirs = switch(1, -2), switch(1, -2, grad=[0, 0])
    torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.6).step()
    decay([ours], 0.3, rate=0.1)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-15)


def test_decay_in_the_first_norm_is_a_soft_threshold() -> None:
    w = switch(1, -0.02, 0.5)
    decay([w], 0.3, rate=0.1, p=1)
    assert w.tolist() == pytest.approx([0.97, 0, 0.47])
    assert w[1] == 0


@pytest.mark.parametrize("step", [subgradient, partial(step_switches, rate=0.1)])
@pytest.mark.parametrize("where", ["theta", "grad"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named_and_nothing_moves(
    step: Callable[[dict[str, Tensor], float], None], where: str, value: float
) -> None:
    good, bad = switch(1.0, grad=[0.5]), switch(1.0, 1.0, grad=[0, 0])
    with torch.no_grad():
        target = bad if where == "theta" else bad.grad
        assert target is not None
        target[1] = value
    thetas = {"switch_fc1": good, "switch_fc2": bad}
    message = r"switch_fc2: theta or its gradient .* 1 of 2 channels, first in 1"
    with pytest.raises(NonFiniteError, match=message):
        step(thetas, 0.1)
    assert good.tolist() == [1.0]
    assert good.grad is not None and good.grad.tolist() == [0.5]


def test_what_is_out_of_range_is_refused() -> None:
    thetas = {"switch_fc": switch(1.0, 2.0)}
    with pytest.raises(ConfigError, match="lam=-1; expected a finite number, 0 or more"):
        step_switches(thetas, -1, rate=0.1)
    with pytest.raises(ConfigError, match="lam=nan"):
        subgradient(thetas, float("nan"))
    with pytest.raises(ConfigError, match=r"rate=0\): expected a positive step"):
        step_switches(thetas, 1, rate=0)
    with pytest.raises(ConfigError, match="did you mean 'switch_fc'"):
        step_switches(thetas, 1, rate=0.1, weights={"switch_fd": 1.0})
    with pytest.raises(ConfigError, match="weight of switch_fc: -1 among them"):
        step_switches(thetas, 1, rate=0.1, weights={"switch_fc": torch.tensor([1.0, -1])})
    with pytest.raises(
        ShapeError, match=r"weight of switch_fc is \[3\], expected one number or \[2\]"
    ):
        subgradient(thetas, 1, weights={"switch_fc": torch.ones(3)})
    with pytest.raises(ConfigError, match="p=0; allowed: 1, 2"):
        decay([], 1, rate=1, p=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lam2=inf"):
        decay([], float("inf"), rate=1)
    with pytest.raises(ConfigError, match="2 rate lam2 = 2 is above 1"):
        decay([], 1, rate=1)
    assert thetas["switch_fc"].tolist() == [1, 2]
