"""Accelerated proximal gradient descent on a problem and a penalty of its columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from netdial.core.errors import NonFiniteError
from netdial.papers.lasso.problem import LinearProblem

EVERY = 20
"""Steps between two questions whether a descent is done."""


class Penalty(Protocol):
    """What is added to the loss, and the step that lowers it."""

    def value(self, weights: Tensor) -> float:
        """Returns the penalty of A ``[n, p]``."""

    def step(self, target: Tensor, curvature: float, weights: Tensor) -> Tensor:
        """Returns weights no worse than ``weights`` for curvature / 2 ||A - target||² + penalty; the best, if convex."""


@dataclass(frozen=True)
class GroupNorm:
    """λ Σ_j ||A_:j||_2, eq. 5."""

    lam: float

    def value(self, weights: Tensor) -> float:
        """Returns the penalty."""
        return self.lam * float(weights.norm(dim=0).sum())

    def step(self, target: Tensor, curvature: float, weights: Tensor) -> Tensor:
        """Returns the minimum: columns shortened by λ / curvature, zero when they were no longer than that."""
        norms = target.norm(dim=0).clamp_min(1e-300)
        shorter: Tensor = target * (1 - self.lam / (curvature * norms)).clamp_min(0)
        return shorter


@dataclass(frozen=True)
class Ridge:
    """strength · ||A||_F²."""

    strength: float

    def value(self, weights: Tensor) -> float:
        """Returns the penalty."""
        return self.strength * float(weights.square().sum())

    def step(self, target: Tensor, curvature: float, weights: Tensor) -> Tensor:
        """Returns the minimum."""
        return target * (curvature / (curvature + 2 * self.strength))


@dataclass(frozen=True, eq=False)
class Iterate:
    """Where a descent stands: A ``[n, p]``, b ``[n]``, their outputs ``[N, n]``, fit and objective; steps taken."""

    weights: Tensor
    bias: Tensor
    outputs: Tensor
    fit: float
    objective: float
    n_steps: int = 0

    def beyond(self, other: Iterate, share: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns A, b and outputs, continued from ``other`` through this point by a share of their distance."""
        return (
            torch.lerp(other.weights, self.weights, 1 + share),
            torch.lerp(other.bias, self.bias, 1 + share),
            torch.lerp(other.outputs, self.outputs, 1 + share),
        )


def point(problem: LinearProblem, penalty: Penalty, weights: Tensor, bias: Tensor) -> Iterate:
    """Returns the point with these weights."""
    outputs = problem.outputs(weights, bias)
    fit = problem.fit(outputs)
    return Iterate(weights, bias, outputs, fit, fit + penalty.value(weights))


def minimise(
    problem: LinearProblem,
    penalty: Penalty,
    start: tuple[Tensor, Tensor],
    *,
    stop: Callable[[Iterate], bool],
    max_steps: int,
) -> Iterate:
    """Returns where accelerated proximal gradient descent stops; the objective never rises.

    Args:
        problem: the data.
        penalty: convex or not; if not, the descent ends near a stationary point.
        start: A ``[n, p]`` and b ``[n]``.
        stop: asked after every ``EVERY`` steps.
        max_steps: the descent ends after these at the latest.

    Raises:
        NonFiniteError: the objective is not finite.
    """
    now = before = point(problem, penalty, *start)
    curvature, pace = problem.lipschitz * (1.0 if problem.kind == "linear" else 0.125), 1.0
    for step in range(1, max_steps + 1):
        following = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        new, curvature = _step(problem, penalty, now, before, (pace - 1) / following, curvature)
        if new.objective > now.objective and pace > 1:
            new, curvature = _step(problem, penalty, now, now, 0.0, curvature)
            following = 1.0
        if not new.objective < float("inf"):
            raise NonFiniteError(f"step {step}: the objective is {new.objective}; scale the data")
        before, now, pace = now, replace(new, n_steps=step), following
        if step % EVERY == 0 and stop(now):
            break
    return now


def _step(
    problem: LinearProblem,
    penalty: Penalty,
    now: Iterate,
    before: Iterate,
    share: float,
    curvature: float,
) -> tuple[Iterate, float]:
    """Returns the point after one step, and the curvature that bounded the loss along it."""
    weights, bias, outputs = now.beyond(before, share)
    slope_w, slope_b = problem.gradient(problem.slopes(outputs))
    while True:
        stepped = penalty.step(weights - slope_w / curvature, curvature, now.weights)
        new = point(problem, penalty, stepped, bias - slope_b / curvature)
        if curvature >= problem.lipschitz:
            return new, curvature
        far_w, far_b = new.weights - weights, new.bias - bias
        rise = float((slope_w * far_w).sum() + slope_b @ far_b)
        bend = float(far_w.square().sum() + far_b.square().sum())
        height = problem.fit(outputs)
        if new.fit <= height + rise + curvature / 2 * bend + 1e-13 * abs(height):
            return new, curvature
        curvature = min(2 * curvature, problem.lipschitz)
