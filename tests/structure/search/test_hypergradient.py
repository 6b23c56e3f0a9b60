"""Hypergradients against bilevel problems whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.structure.search.shared.hypergradient import Order, hypergradient

RATE = 0.3


def quadratic(seed: int = 0) -> dict[str, Tensor]:
    """L = ½ w'Aw - w'Bγ, Q = ½ ‖w - c‖² + ½ ‖γ - d‖²."""
    source = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64)

    root = draw(5, 5)
    given = {"a": root @ root.T / 5, "b": draw(5, 3), "c": draw(5), "d": draw(3)}
    given |= {"w": draw(5).requires_grad_(), "g": draw(3).requires_grad_()}
    return given


def losses(p: dict[str, Tensor]) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    def train(weights: Sequence[Tensor], structure: Sequence[Tensor]) -> Tensor:
        (w,), (g,) = weights, structure
        return w @ p["a"] @ w / 2 - w @ p["b"] @ g

    def valid(weights: Sequence[Tensor], structure: Sequence[Tensor]) -> Tensor:
        (w,), (g,) = weights, structure
        return (w - p["c"]).square().sum() / 2 + (g - p["d"]).square().sum() / 2

    return train, valid


def analytic(p: dict[str, Tensor]) -> Tensor:
    after = p["w"] - RATE * (p["a"] @ p["w"] - p["b"] @ p["g"])
    return (p["g"] - p["d"] + RATE * p["b"].T @ (after - p["c"])).detach()


@pytest.mark.parametrize("order", ["exact", "finite"])
@pytest.mark.parametrize("number", range(5))
def test_second_order_is_the_analytic_gradient(order: Order, number: int) -> None:
    p = quadratic(number)
    found = hypergradient(*losses(p), [p["w"]], [p["g"]], RATE, order).gradient[0]
    error = (found - analytic(p)).norm() / analytic(p).norm()
    assert error < 1e-10


def test_first_order_is_another_gradient_and_is_exact_at_rate_0() -> None:
    p = quadratic()
    first = hypergradient(*losses(p), [p["w"]], [p["g"]], RATE, "first").gradient[0]
    assert torch.allclose(first, p["g"] - p["d"])
    assert (first - analytic(p)).norm() / analytic(p).norm() > 0.1
    for order in ("exact", "finite"):
        still = hypergradient(*losses(p), [p["w"]], [p["g"]], 0.0, order).gradient[0]  # type: ignore[arg-type]
        assert torch.equal(still, first)


@pytest.mark.parametrize(("order", "within"), [("exact", 1e-7), ("finite", 1e-7)])
def test_on_a_network_it_is_the_slope_of_the_loss_after_a_step(order: Order, within: float) -> None:
    source = torch.Generator().manual_seed(3)
    x, y = (torch.randn(12, n, generator=source, dtype=torch.float64) for n in (3, 1))
    w1, w2 = (torch.randn(*s, generator=source, dtype=torch.float64) for s in ((3, 4), (4, 1)))
    gate = torch.tensor([0.3, -0.2], dtype=torch.float64)

    def loss(rows: slice) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]:
        def of(weights: Sequence[Tensor], structure: Sequence[Tensor]) -> Tensor:
            mix = structure[0].softmax(0)
            inside = x[rows] @ weights[0]
            return (
                ((mix[0] * inside.tanh() + mix[1] * inside) @ weights[1] - y[rows]).square().mean()
            )

        return of

    train, valid = loss(slice(0, 6)), loss(slice(6, 12))

    def after(g: Tensor) -> float:
        leaves = [w.clone().requires_grad_() for w in (w1, w2)]
        slopes = torch.autograd.grad(train(leaves, [g]), leaves)
        moved = [w - RATE * s for w, s in zip(leaves, slopes, strict=True)]
        return valid(moved, [g]).item()

    step = 1e-5
    ways = torch.eye(2, dtype=torch.float64) * step
    numeric = torch.tensor([(after(gate + way) - after(gate - way)) / (2 * step) for way in ways])
    leaves = [w.clone().requires_grad_() for w in (w1, w2)]
    found = hypergradient(train, valid, leaves, [gate.clone().requires_grad_()], RATE, order)
    assert (found.gradient[0] - numeric).norm() / numeric.norm() < within
    assert found.train is not None
    assert float(found.valid) == pytest.approx(after(gate))
    assert all(w.grad is None for w in leaves), "it leaves the weights alone"


def test_weights_that_a_loss_does_not_use_count_as_constant() -> None:
    p = quadratic()
    spare = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    train, valid = losses(p)
    for order in ("exact", "finite"):
        found = hypergradient(
            lambda w, g: train(w[:1], g),
            lambda w, g: valid(w[:1], g),
            [p["w"], spare],
            [p["g"]],
            RATE,
            order,  # type: ignore[arg-type]
        )
        assert torch.allclose(found.gradient[0], analytic(p))


def test_an_unknown_order_is_refused() -> None:
    p = quadratic()
    with pytest.raises(ConfigError, match="second"):
        hypergradient(*losses(p), [p["w"]], [p["g"]], RATE, "second")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rate=-1"):
        hypergradient(*losses(p), [p["w"]], [p["g"]], -1.0, "exact")
