"""Regression with a group penalty on the columns of the weights: convex, solved until a duality gap proves it.

    min over A, b of    (1/N) Σ_i loss(y_i, A x_i + b)  +  λ Σ_j ||A_:j||_2            (ShrinkNets draft, eqs. 5 and 7)

One group is one input. The loss is ||y - z||² (not halved) or, for classes, the cross-entropy in nats; N is the number of
examples, b is not penalised and may be left out, and the √n of eq. 4 is part of λ. ``minimise`` is accelerated proximal
gradient descent (Beck and Teboulle 2009) with restarts (O'Donoghue and Candès 2015); ``solve`` calls it on a growing set of
columns. With U the slopes of the loss, every s U with ||(s/N) U^T x_:j|| ≤ λ and columns of mean 0 gives a lower bound of
the minimum (Fenchel); the distance to it is the duality gap.

Shapes: N examples, p inputs, n targets or classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from netdial.core.errors import ConfigError, DataError, NonFiniteError, ShapeError

Kind = Literal["linear", "logistic"]
THRESHOLD = 1e-3
"""A column whose weights are all smaller counts as removed (draft, §4.4)."""
EVERY = 20
"""Steps between two questions whether a descent is done."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Data of a multi-target linear or multi-class logistic regression, float64.

    Attributes:
        x: inputs ``[N, p]``.
        y: targets ``[N, n]`` for ``linear``, classes ``[N]`` int64 for ``logistic``.
        kind: which loss.
        intercept: whether there is a bias b.
        n_outputs: n; needed where the classes present may be fewer.

    Raises:
        ShapeError: inputs and targets do not fit.
        DataError: a number is not finite, or a class is outside 0 ... n - 1.
        ConfigError: unknown kind.
    """

    x: Tensor
    y: Tensor
    kind: Kind
    intercept: bool = True
    n_outputs: int = 0

    def __post_init__(self) -> None:
        """Checks shapes and numbers and turns them into float64."""
        linear = self.kind == "linear"
        if self.kind not in ("linear", "logistic"):
            raise ConfigError(f"Problem(kind={self.kind!r}); allowed: linear, logistic")
        fits = self.x.ndim == 2 and self.y.ndim == (2 if linear else 1)
        if not fits or len(self.x) != len(self.y) or not len(self.x):
            raise ShapeError(
                f"Problem: x is {list(self.x.shape)} and y {list(self.y.shape)}; expected [N, p] with "
                f"{'[N, n]' if linear else '[N]'} for kind={self.kind!r} and N > 0"
            )
        if not bool(self.x.isfinite().all() & self.y.isfinite().all()):
            raise DataError(
                "Problem: x or y holds a number that is not finite; drop or fill such rows"
            )
        count = self.y.shape[1] if linear else self.n_outputs or int(self.y.max()) + 1
        if not linear and not 0 <= int(self.y.min()) <= int(self.y.max()) < count:
            raise DataError(f"Problem: classes must lie in 0 ... {count - 1}; give n_outputs")
        object.__setattr__(self, "n_outputs", count)
        object.__setattr__(self, "x", self.x.to(torch.float64))
        object.__setattr__(self, "y", self.y.to(torch.float64 if linear else torch.int64))

    def columns(self, keep: Tensor) -> Problem:
        """Returns the problem with some of the inputs, int64 or bool ``[p]``."""
        return replace(self, x=self.x[:, keep])

    def outputs(self, weights: Tensor, bias: Tensor) -> Tensor:
        """Returns z = A x + b ``[N, n]``."""
        return self.x @ weights.T + bias

    def fit(self, outputs: Tensor) -> float:
        """Returns the mean over examples of ||y - z||², or of the cross-entropy in nats."""
        if self.kind == "linear":
            return float((outputs - self.y).square().sum()) / len(self.y)
        return float(cross_entropy(outputs, self.y))

    def slopes(self, outputs: Tensor) -> Tensor:
        """Returns the slopes U ``[N, n]`` of each example's loss: 2 (z - y), or softmax(z) - onehot(y)."""
        if self.kind == "linear":
            return 2 * (outputs - self.y)
        found = outputs.softmax(dim=1)
        found[torch.arange(len(found)), self.y] -= 1
        return found

    def gradient(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients for A ``[n, p]`` and for b ``[n]``, zero when there is none."""
        bias = slopes.mean(dim=0) if self.intercept else slopes.new_zeros(self.n_outputs)
        return slopes.T @ self.x / len(self.x), bias

    @cached_property
    def lipschitz(self) -> float:
        """A bound of the curvature: 2 or 1/2 times the largest eigenvalue of [x, 1]^T [x, 1] / N."""
        x = torch.cat([self.x, self.x.new_ones(len(self.x), 1)], 1) if self.intercept else self.x
        if not x.shape[1]:
            return 1.0
        gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
        largest = float(torch.linalg.eigvalsh(gram)[-1]) / len(x)
        return max((2.0 if self.kind == "linear" else 0.5) * largest, 1e-12)

    @cached_property
    def null(self) -> tuple[Tensor, float]:
        """The best b ``[n]`` for A = 0, and its loss; a class that is absent has the bias log of 1e-12."""
        if self.kind == "linear":
            bias = self.y.mean(dim=0)
        else:
            shares = self.y.bincount(minlength=self.n_outputs).double() / len(self.y)
            bias = shares.clamp_min(1e-12).log()
        if not self.intercept:
            bias = torch.zeros_like(bias)
        return bias, self.fit(bias.expand(len(self.y), -1))


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
class Point:
    """Where a descent stands: A ``[n, p]``, b ``[n]``, their outputs ``[N, n]``, fit and objective; steps taken."""

    weights: Tensor
    bias: Tensor
    outputs: Tensor
    fit: float
    objective: float
    n_steps: int = 0

    def beyond(self, other: Point, share: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns A, b and outputs, continued from ``other`` through this point by a share of their distance."""
        return (
            torch.lerp(other.weights, self.weights, 1 + share),
            torch.lerp(other.bias, self.bias, 1 + share),
            torch.lerp(other.outputs, self.outputs, 1 + share),
        )


def point(problem: Problem, penalty: Penalty, weights: Tensor, bias: Tensor) -> Point:
    """Returns the point with these weights."""
    outputs = problem.outputs(weights, bias)
    fit = problem.fit(outputs)
    return Point(weights, bias, outputs, fit, fit + penalty.value(weights))


def minimise(
    problem: Problem,
    penalty: Penalty,
    start: tuple[Tensor, Tensor],
    *,
    stop: Callable[[Point], bool],
    max_steps: int,
) -> Point:
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
    problem: Problem, penalty: Penalty, now: Point, before: Point, share: float, curvature: float
) -> tuple[Point, float]:
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


@dataclass(frozen=True, eq=False)
class Solution:
    """A certified solution of the group lasso.

    Attributes:
        weights: A ``[n, p]``.
        bias: b ``[n]``.
        lam: λ.
        fit: the loss alone, mean over examples.
        objective: the loss and the penalty.
        gap: duality gap: the objective is at most this far above the minimum.
        kkt: largest violation of the optimality conditions, relative to λ: |∇_j + λ A_:j / ||A_:j||| for columns that are
            there, (||∇_j|| - λ)₊ for the others.
        n_steps: gradient steps.
    """

    weights: Tensor
    bias: Tensor
    lam: float
    fit: float
    objective: float
    gap: float
    kkt: float
    n_steps: int


def lam_max(problem: Problem) -> float:
    """Returns the smallest λ for which A = 0 is optimal: max over j of ||(1/N) U^T x_:j|| at A = 0 and the best b.

    For ``linear`` with intercept that is (2/N) ||(Y - mean)^T x_:j||; for ``logistic`` U is the class shares minus onehot(y).
    """
    bias, _ = problem.null
    gradient, _ = problem.gradient(problem.slopes(bias.expand(len(problem.y), -1)))
    return float(gradient.norm(dim=0).max())


def solve(
    problem: Problem,
    lam: float,
    *,
    start: tuple[Tensor, Tensor] | None = None,
    tolerance: float = 1e-8,
    max_steps: int = 200_000,
) -> Solution:
    """Returns the minimum of eq. 7, with its certificate.

    Args:
        problem: the data.
        lam: λ > 0.
        start: A and b of a nearby λ; None for A = 0.
        tolerance: largest duality gap, relative to the loss of A = 0.
        max_steps: gradient steps in all; what is reached by then is returned with its gap.

    Raises:
        ConfigError: λ or the tolerance is not positive.
    """
    if not (lam > 0 and tolerance > 0):
        raise ConfigError(f"solve(lam={lam:g}, tolerance={tolerance:g}): both must be positive")
    null, height = problem.null
    weights = problem.x.new_zeros(problem.n_outputs, problem.x.shape[1])
    weights, bias = (weights, null) if start is None else (start[0].clone(), start[1])
    penalty, steps, allowed = GroupNorm(lam), 0, tolerance * max(height, 1e-300)
    working = weights.any(dim=0)
    while True:
        gradient, _ = problem.gradient(problem.slopes(problem.outputs(weights, bias)))
        norms = gradient.norm(dim=0).masked_fill(working, 0)
        count = min(int((norms > lam).sum()), max(10, int(working.sum())))
        working = working.index_fill(0, norms.topk(count).indices, True)
        part = problem.columns(working)

        def near(at: Point, part: Problem = part) -> bool:
            return _gap(part, lam, at.weights, at.bias)[0] <= 0.5 * allowed

        found = minimise(
            part, penalty, (weights[:, working], bias), stop=near, max_steps=max_steps - steps
        )
        weights[:, working], bias, steps = found.weights, found.bias, steps + found.n_steps
        gap, bias = _gap(problem, lam, weights, bias)
        if gap <= allowed or steps >= max_steps:
            return certified(problem, lam, weights, bias, n_steps=steps)


def certified(
    problem: Problem, lam: float, weights: Tensor, bias: Tensor, *, n_steps: int = 0
) -> Solution:
    """Returns any weights as a solution, with the gap and the violation that they have; b is made the best for A."""
    gap, bias = _gap(problem, lam, weights, bias)
    found = point(problem, GroupNorm(lam), weights, bias)
    gradient, slope = problem.gradient(problem.slopes(found.outputs))
    norms = weights.norm(dim=0)
    pull = gradient + lam * weights / norms.clamp_min(1e-300)
    kkt = torch.where(norms > 0, pull.norm(dim=0), gradient.norm(dim=0) - lam).clamp_min(0).max()
    worst = max(float(kkt), float(slope.norm()))
    return Solution(weights, bias, lam, found.fit, found.objective, gap, worst / lam, n_steps)


def _gap(problem: Problem, lam: float, weights: Tensor, bias: Tensor) -> tuple[float, Tensor]:
    """Returns the duality gap of A with its best b, and that b."""
    bias = best_bias(problem, weights, bias)
    found = point(problem, GroupNorm(lam), weights, bias)
    slopes = problem.slopes(found.outputs)
    gradient, rest = problem.gradient(slopes)
    if float(rest.abs().max()) > 1e-10:
        return float("inf"), bias
    longest = float(gradient.norm(dim=0).max()) if gradient.numel() else 0.0
    scale = min(1.0, lam / max(longest, 1e-300))
    if problem.kind == "linear":
        square, cross = (
            float(slopes.square().mean(0).sum()),
            float((slopes * problem.y).mean(0).sum()),
        )
        scale = min(max(-2 * cross / max(square, 1e-300), 0.0), lam / max(longest, 1e-300))
        lower = -(scale**2) * square / 4 - scale * cross
    else:
        inside = scale * slopes
        inside[torch.arange(len(inside)), problem.y] += 1
        lower = -float(torch.xlogy(inside, inside.clamp_min(1e-300)).sum(dim=1).mean())
    return max(found.objective - lower, 0.0), bias


def best_bias(problem: Problem, weights: Tensor, bias: Tensor) -> Tensor:
    """Returns the b that is best for A ``[n]``: in closed form, or by damped Newton steps from ``bias``."""
    if not problem.intercept:
        return torch.zeros_like(bias)
    base = problem.x @ weights.T
    if problem.kind == "linear":
        return (problem.y - base).mean(dim=0)
    for _ in range(50):
        slopes = problem.slopes(base + bias)
        slope = slopes.mean(dim=0)
        if float(slope.abs().max()) < 1e-13:
            break
        shares = (base + bias).softmax(dim=1)
        hessian = shares.mean(dim=0).diag() - shares.T @ shares / len(shares)
        hessian += (1 + 1e-12) * hessian.diagonal().mean() / len(hessian)
        step = torch.linalg.lstsq(hessian, slope[:, None]).solution[:, 0]
        step = step * min(1.0, 2.0 / float(step.abs().max().clamp_min(1e-300)))
        height = problem.fit(base + bias)
        while problem.fit(base + bias - step) > height * (1 + 1e-12) and step.abs().max() > 1e-15:
            step = step / 2
        bias = bias - step
    return bias


def sparsity(weights: Tensor, threshold: float = THRESHOLD) -> float:
    """Returns the share of columns of A ``[n, p]`` whose weights are all within ± the threshold; 0 counts exact zeros.

    >>> sparsity(torch.tensor([[1.0, 0.0], [0.0, 1e-4]]))
    0.5
    """
    small = weights.abs() < threshold if threshold > 0 else weights == 0
    return float(small.all(dim=0).double().mean())


def refit(
    problem: Problem,
    keep: Tensor,
    *,
    ridge: float,
    start: tuple[Tensor, Tensor] | None = None,
    max_steps: int = 1000,
) -> Point:
    """Returns the fit without group penalty on the columns ``keep``, zero elsewhere: what the choice of columns alone gives.

    Args:
        problem: the data.
        keep: bool ``[p]``.
        ridge: factor of ||A||² > 0, which makes the fit unique where columns are many or classes separable; part of the
            ``objective`` of the point, not of its ``fit``.
        start: A and b to begin at; ``linear`` needs none, it has a closed form.
        max_steps: L-BFGS steps at most, for ``logistic``.
    """
    part = problem.columns(keep)
    weights = problem.x.new_zeros(problem.n_outputs, problem.x.shape[1])
    if problem.kind == "linear":
        weights[:, keep], bias = _ridge(part, ridge)
    else:
        first, bias = (weights, problem.null[0]) if start is None else start
        weights[:, keep], bias = _logistic_ridge(part, ridge, (first[:, keep], bias), max_steps)
    return point(problem, Ridge(ridge), weights, bias)


def _ridge(problem: Problem, ridge: float) -> tuple[Tensor, Tensor]:
    """Returns A and b of the linear fit with a penalty ridge · ||A||²."""
    x, y = problem.x, problem.y
    shift = x.mean(dim=0) if problem.intercept else x.new_zeros(x.shape[1])
    centre = y.mean(dim=0) if problem.intercept else y.new_zeros(y.shape[1])
    x, y = x - shift, y - centre
    gram = x.T @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(gram, x.T @ y / len(x)).T
    return weights, centre - weights @ shift


def _logistic_ridge(
    problem: Problem, ridge: float, start: tuple[Tensor, Tensor], max_steps: int
) -> tuple[Tensor, Tensor]:
    """Returns A and b of the logistic fit with a penalty ridge · ||A||²."""
    weights, bias = start[0].clone(), start[1].clone()
    optimiser = torch.optim.LBFGS(
        [weights, bias],
        max_iter=max_steps,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def height() -> float:
        at = point(problem, Ridge(ridge), weights, bias)
        pull, bias.grad = problem.gradient(problem.slopes(at.outputs))
        weights.grad = pull + 2 * ridge * weights
        return at.objective

    optimiser.step(height)
    return weights, bias
