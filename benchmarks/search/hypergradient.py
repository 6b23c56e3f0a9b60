"""Largest relative error of second-order hypergradients on bilevel problems whose gradient is known."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.common.result import Result
from netdial.structure.search.shared.hypergradient import ORDERS, Order, Tensors, hypergradient

_RATES = (0.01, 0.1, 0.5)


def measure(*, quick: bool) -> Result:
    """Asks for all orders on quadratic problems and on small networks; the quick version has fewer of each."""
    seeds = range(4 if quick else 32)
    errors: dict[str, list[float]] = {}
    for seed in seeds:
        for rate in _RATES:
            for name, problem in (("quadratic", _Quadratic(seed)), ("network", _Network(seed))):
                right = problem.gradient(rate)
                for label, found in _answers(problem, rate).items():
                    error = float((found - right).norm() / right.norm())
                    errors.setdefault(f"{name}, {label}", []).append(error)
    rows = [
        {"problem": label, "median": sorted(found)[len(found) // 2], "largest": max(found)}
        for label, found in errors.items()
    ]
    value = {
        label: max(errors[label])
        for label in ("quadratic, exact", "quadratic, finite", "network, exact", "network, finite")
    }
    return Result(
        "hypergradient",
        value,
        "relative error",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="finite differences divided as (p - n) / 2 * eps, as several implementations do: "
        f"{min(errors['quadratic, p - n over 2 times eps']):.3g} at least on the quadratic problems; first order: "
        f"{sorted(errors['quadratic, first'])[len(errors['quadratic, first']) // 2]:.3g} in the median",
        floor="rounding in double precision; a finite difference on a network also errs by its third derivatives",
        rows=rows,
    )


class _Quadratic:
    """L = ½ w'Aw - w'Bγ and Q = ½ ‖w - c‖² + ½ ‖γ - d‖², 40 weights and 12 structure parameters."""

    def __init__(self, seed: int) -> None:
        source = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=source, dtype=torch.float64)

        root = draw(40, 40)
        self._a, self._b = root @ root.T / 40, draw(40, 12)
        self._c, self._d = draw(40), draw(12)
        self.weights: Tensors = [draw(40).requires_grad_()]
        self.structure: Tensors = [draw(12).requires_grad_()]

    def train(self, weights: Tensors, structure: Tensors) -> Tensor:
        (w,), (g,) = weights, structure
        return w @ self._a @ w / 2 - w @ self._b @ g

    def valid(self, weights: Tensors, structure: Tensors) -> Tensor:
        (w,), (g,) = weights, structure
        return (w - self._c).square().sum() / 2 + (g - self._d).square().sum() / 2

    def gradient(self, rate: float) -> Tensor:
        """Returns γ - d + ξ B'(w' - c), w' = w - ξ (Aw - Bγ)."""
        w, g = self.weights[0].detach(), self.structure[0].detach()
        after = w - rate * (self._a @ w - self._b @ g)
        return g - self._d + rate * self._b.T @ (after - self._c)


class _Network:
    """A layer of tanh units mixed with itself without them; its gradient by autograd through the step of training."""

    def __init__(self, seed: int) -> None:
        source = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=source, dtype=torch.float64)

        self._x, self._y = draw(2, 16, 4), draw(2, 16, 1)
        self.weights: Tensors = [draw(4, 6).requires_grad_(), draw(6, 1).requires_grad_()]
        self.structure: Tensors = [draw(2).requires_grad_()]

    def train(self, weights: Tensors, structure: Tensors) -> Tensor:
        return self._loss(weights, structure, 0)

    def valid(self, weights: Tensors, structure: Tensors) -> Tensor:
        return self._loss(weights, structure, 1)

    def _loss(self, weights: Tensors, structure: Tensors, part: int) -> Tensor:
        mix, inside = structure[0].softmax(0), self._x[part] @ weights[0]
        outputs = (mix[0] * inside.tanh() + mix[1] * inside) @ weights[1]
        return (outputs - self._y[part]).square().mean()

    def gradient(self, rate: float) -> Tensor:
        """Returns the gradient with the step of training as a part of the graph."""
        slopes = torch.autograd.grad(
            self.train(self.weights, self.structure), list(self.weights), create_graph=True
        )
        moved = [w - rate * s for w, s in zip(self.weights, slopes, strict=True)]
        (found,) = torch.autograd.grad(self.valid(moved, self.structure), list(self.structure))
        return found


def _answers(problem: _Quadratic | _Network, rate: float) -> dict[str, Tensor]:
    """Returns the gradients of all orders, and one whose finite difference is divided wrongly."""

    def ask(order: Order) -> Tensor:
        found = hypergradient(
            problem.train, problem.valid, problem.weights, problem.structure, rate, order
        )
        return found.gradient[0]

    answers: dict[str, Tensor] = {order: ask(order) for order in ORDERS}
    answers["p - n over 2 times eps"] = _misdivided(problem, rate)
    return answers


def _misdivided(problem: _Quadratic | _Network, rate: float) -> Tensor:
    """Returns the hypergradient with (p - n) / 2 * ε in place of (p - n) / 2ε."""
    slopes = torch.autograd.grad(
        problem.train(problem.weights, problem.structure), list(problem.weights)
    )
    moved = [w - rate * s for w, s in zip(problem.weights, slopes, strict=True)]
    outer = problem.valid(moved, problem.structure)
    direct, *along = torch.autograd.grad(outer, [*problem.structure, *moved], allow_unused=True)
    step = 0.01 / float(torch.stack([v.square().sum() for v in along]).sum().sqrt())
    ends = []
    for sign in (step, -step):
        shifted = [w + sign * v for w, v in zip(problem.weights, along, strict=True)]
        loss = problem.train(shifted, problem.structure)
        ends.append(torch.autograd.grad(loss, list(problem.structure))[0])
    found = -rate * (ends[0] - ends[1]) / 2 * step
    return found if direct is None else direct + found
