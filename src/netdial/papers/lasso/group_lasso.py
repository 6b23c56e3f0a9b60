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

from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.papers.lasso.descent import GroupNorm, Iterate, Ridge, minimise, point
from netdial.papers.lasso.problem import LinearProblem

THRESHOLD = 1e-3
"""A column whose weights are all smaller counts as removed (draft, §4.4)."""


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


def lam_max(problem: LinearProblem) -> float:
    """Returns the smallest λ for which A = 0 is optimal: max over j of ||(1/N) U^T x_:j|| at A = 0 and the best b.

    For ``linear`` with intercept that is (2/N) ||(Y - mean)^T x_:j||; for ``logistic`` U is the class shares minus onehot(y).
    """
    bias, _ = problem.null
    gradient, _ = problem.gradient(problem.slopes(bias.expand(len(problem.y), -1)))
    return float(gradient.norm(dim=0).max())


def solve(
    problem: LinearProblem,
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

        def near(at: Iterate, part: LinearProblem = part) -> bool:
            return _gap(part, lam, at.weights, at.bias)[0] <= 0.5 * allowed

        found = minimise(
            part, penalty, (weights[:, working], bias), stop=near, max_steps=max_steps - steps
        )
        weights[:, working], bias, steps = found.weights, found.bias, steps + found.n_steps
        gap, bias = _gap(problem, lam, weights, bias)
        if gap <= allowed or steps >= max_steps:
            return certified(problem, lam, weights, bias, n_steps=steps)


def certified(
    problem: LinearProblem, lam: float, weights: Tensor, bias: Tensor, *, n_steps: int = 0
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


def _gap(problem: LinearProblem, lam: float, weights: Tensor, bias: Tensor) -> tuple[float, Tensor]:
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


def best_bias(problem: LinearProblem, weights: Tensor, bias: Tensor) -> Tensor:
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
    problem: LinearProblem,
    keep: Tensor,
    *,
    ridge: float,
    start: tuple[Tensor, Tensor] | None = None,
    max_steps: int = 1000,
) -> Iterate:
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


def _ridge(problem: LinearProblem, ridge: float) -> tuple[Tensor, Tensor]:
    """Returns A and b of the linear fit with a penalty ridge · ||A||²."""
    x, y = problem.x, problem.y
    shift = x.mean(dim=0) if problem.intercept else x.new_zeros(x.shape[1])
    centre = y.mean(dim=0) if problem.intercept else y.new_zeros(y.shape[1])
    x, y = x - shift, y - centre
    gram = x.T @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(gram, x.T @ y / len(x)).T
    return weights, centre - weights @ shift


def _logistic_ridge(
    problem: LinearProblem, ridge: float, start: tuple[Tensor, Tensor], max_steps: int
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
