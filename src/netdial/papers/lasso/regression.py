"""ShrinkNets' own problem for one layer: y ~ A diag(β) x + b with an L1 penalty on β and a norm on A (draft, eqs. 8 and 9).

    min over A, β, b of   (1/N) Σ_i loss(y_i, A diag(β) x_i + b)  +  λ ||β||_1  +  λ2 ||A||_p^p,       p = 1 or 2

Only B = A diag(β) reaches the loss, and A_:j / c with c β_j gives the same B for every c. The best c has a closed form, so the
problem in B has the penalty

    p = 2:  κ Σ_j r_j^(2/3),  r_j = ||B_:j||_2,  κ = 3/2 (2 λ² λ2)^(1/3),  min of λ|β| + λ2 r²/β² at β = (2 λ2 r² / λ)^(1/3)
    p = 1:  κ Σ_j r_j^(1/2),  r_j = ||B_:j||_1,  κ = 2 (λ λ2)^(1/2),       min of λ|β| + λ2 r/|β| at β = (λ2 r / λ)^(1/2)

Both grow slower than the norm: not convex, a zero column is always a local minimum, and long columns are shortened less than
under a group penalty, which is why ShrinkNets fit closer at equal sparsity. λ and λ2 act through κ alone.

Shapes: N examples, p inputs (columns), n targets or classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.papers.lasso.descent import Iterate, minimise, point
from netdial.papers.lasso.group_lasso import Solution, solve
from netdial.papers.lasso.problem import LinearProblem

Power = Literal[1, 2]


@dataclass(frozen=True)
class Switched:
    """λ ||β||_1 + λ2 ||A||_p^p at the best scale of every column, as a function of B = A diag(β).

    Attributes:
        lam: λ > 0.
        lam2: λ2 > 0; with 0 there is no minimum (Proposition A.3).
        p: 1 or 2.

    Raises:
        ConfigError: a factor is not positive or p is another number.
    """

    lam: float
    lam2: float
    p: Power = 2

    def __post_init__(self) -> None:
        """Refuses factors for which there is no minimum."""
        if self.p not in (1, 2):
            raise ConfigError(f"Switched(p={self.p!r}); allowed: 1, 2")
        if not (self.lam > 0 and self.lam2 > 0):
            raise ConfigError(
                f"Switched(lam={self.lam:g}, lam2={self.lam2:g}): both must be positive; with lam2=0 the objective falls "
                "for ever along A / c, c β (draft, Proposition A.3)"
            )

    @property
    def kappa(self) -> float:
        """The factor κ of the penalty on B."""
        if self.p == 2:
            return 1.5 * math.pow(2 * self.lam**2 * self.lam2, 1 / 3)
        return 2.0 * math.sqrt(self.lam * self.lam2)

    @property
    def power(self) -> float:
        """The power of the column's length: 2/3 or 1/2."""
        return 2 / 3 if self.p == 2 else 1 / 2

    def value(self, weights: Tensor) -> float:
        """Returns κ Σ_j ||B_:j||^power."""
        return self.kappa * float(weights.norm(p=self.p, dim=0).pow(self.power).sum())

    def factors(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Returns A ``[n, p]`` and β ``[p]`` ≥ 0 of the best scale with A diag(β) = B; both are 0 where B_:j is."""
        length = weights.norm(p=self.p, dim=0)
        if self.p == 2:
            beta = (2 * self.lam2 * length.square() / self.lam).pow(1 / 3)
        else:
            beta = (self.lam2 * length / self.lam).sqrt()
        return torch.where(beta > 0, weights / beta.clamp_min(1e-300), 0.0), beta

    def step(self, target: Tensor, curvature: float, weights: Tensor) -> Tensor:
        """Returns B after the best A, β in turn, for curvature / 2 ||A diag(β) - target||² + penalty, from the best scale.

        The step in β is a soft threshold at λ, which sets columns to exactly 0; there they stay.
        """
        _, beta = self.factors(weights)
        pull, square = curvature * beta * target, curvature * beta.square()
        if self.p == 2:
            a = pull / (square + 2 * self.lam2)
        else:
            shrunk = pull.sign() * (pull.abs() - self.lam2).clamp_min(0)
            a = torch.where(square > 0, shrunk / square.clamp_min(1e-300), 0.0)
        along = curvature * (a * target).sum(dim=0)
        size = curvature * a.square().sum(dim=0)
        shorter = (along - self.lam).clamp_min(0) / size.clamp_min(1e-300)
        return a * torch.where(size > 0, shorter, 0.0)

    def beneath(self, reached: float) -> float:
        """Returns the λ of a group penalty (eq. 5) that lies below this one wherever the objective is at most ``reached``.

        The loss is not negative, so no column can be longer than R with κ R^power = reached; and a concave power lies above
        its chord, r^power ≥ r R^(power - 1).
        """
        longest = math.pow(reached / self.kappa, 1 / self.power)
        return self.kappa * math.pow(longest, self.power - 1)

    def violation(self, weights: Tensor, gradient: Tensor) -> float:
        """Returns how far columns that are not 0 are from stationary, the worst of them, relative to the penalty's pull."""
        a, beta = self.factors(weights)
        alive = beta > 0
        if not bool(alive.any()):
            return 0.0
        a, pull = a[:, alive], (beta * gradient)[:, alive]
        if self.p == 2:
            return float(
                ((pull + 2 * self.lam2 * a).norm(dim=0) / (2 * self.lam2 * a.norm(dim=0))).max()
            )
        off = torch.where(
            a != 0, (pull + self.lam2 * a.sign()).abs(), (pull.abs() - self.lam2).clamp_min(0)
        )
        return float(off.max()) / self.lam2


@dataclass(frozen=True, eq=False)
class ShrunkSolution:
    """Where a descent ended.

    Attributes:
        weights: A ``[n, p]``.
        switches: β ``[p]``, ≥ 0 (one of the 2^k sign patterns of Proposition A.4).
        bias: b ``[n]``.
        fit: the loss alone.
        objective: eq. 8.
        violation: distance from stationarity, relative, of the worst column that is not 0.
        n_steps: gradient steps.
    """

    weights: Tensor
    switches: Tensor
    bias: Tensor
    fit: float
    objective: float
    violation: float
    n_steps: int

    @property
    def product(self) -> Tensor:
        """B = A diag(β) ``[n, p]``, what reaches the outputs."""
        return self.weights * self.switches


def objective(
    problem: LinearProblem,
    a: Tensor,
    beta: Tensor,
    bias: Tensor,
    *,
    lam: float,
    lam2: float,
    p: float,
) -> float:
    """Returns eq. 8 for any A ``[n, p]``, β ``[p]`` and b ``[n]``; λ2 = 0 gives eq. 6.

    What the draft's appendix says of it, and where it slips:
    A.1, with columns of length 1 and λ2 = 0 the minimum is the group lasso's: at β_j = ||A_:j||, not its square.
    A.2, it is not convex: its candidates (0, 2) and (2, 0) give y², not 0, and (1, 1) gives (1 - x)², not x, which shows it
    for x > 2 only; (1, 1/x) and (-1, -1/x) with (0, 0) between them do for every x.
    A.3, with λ2 = 0 there is no minimum: unless A = 0 minimises the loss, which the proof leaves out.
    A.4, it has 2^k global minima: k counts the switches that are not 0 there, not all of them.
    """
    fit = problem.fit(problem.outputs(a * beta, bias))
    return fit + lam * float(beta.abs().sum()) + lam2 * float(a.abs().pow(p).sum())


def random_start(problem: LinearProblem, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns B ``[n, p]`` and b ``[n]`` as the draft starts: β from N(0, 1), A uniform within ± 1/√p, b the best for B = 0."""
    n, p = problem.n_outputs, problem.x.shape[1]
    beta = torch.randn(p, generator=source, dtype=torch.float64)
    a = (2 * torch.rand(n, p, generator=source, dtype=torch.float64) - 1) / p**0.5
    return a * beta, problem.null[0]


def shrink(
    problem: LinearProblem,
    penalty: Switched,
    start: tuple[Tensor, Tensor],
    *,
    tolerance: float = 1e-4,
    max_steps: int = 20_000,
) -> ShrunkSolution:
    """Returns the stationary point that proximal descent from ``start`` leads to.

    Columns that reach 0 stay there, so they leave the data, as killed neurons leave a network.

    Args:
        problem: the data.
        penalty: λ, λ2 and p.
        start: B ``[n, p]`` and b ``[n]``.
        tolerance: relative violation at which the descent ends.
        max_steps: it ends after these at the latest.
    """
    weights, bias, steps = start[0].clone(), start[1], 0
    while True:
        alive = weights.any(dim=0)
        part = problem.columns(alive)

        def done(at: Iterate, part: LinearProblem = part) -> bool:
            few = float(at.weights.any(dim=0).double().mean()) < 0.7
            return few or _violation(part, penalty, at) <= tolerance

        if not bool(alive.any()):
            break
        left = max_steps - steps
        found = minimise(part, penalty, (weights[:, alive], bias), stop=done, max_steps=left)
        weights[:, alive], bias, steps = found.weights, found.bias, steps + found.n_steps
        if steps >= max_steps or _violation(part, penalty, found) <= tolerance:
            break
    end = point(problem, penalty, weights, bias)
    a, beta = penalty.factors(weights)
    worst = _violation(problem, penalty, end)
    return ShrunkSolution(a, beta, bias, end.fit, end.objective, worst, steps)


def _violation(problem: LinearProblem, penalty: Switched, at: Iterate) -> float:
    gradient, _ = problem.gradient(problem.slopes(at.outputs))
    return penalty.violation(at.weights, gradient)


def lower_bound(
    problem: LinearProblem,
    penalty: Switched,
    reached: float,
    *,
    start: tuple[Tensor, Tensor] | None = None,
    max_steps: int = 150,
) -> tuple[float, Solution]:
    """Returns a number that eq. 8 is nowhere below, and the convex solution that proves it.

    That is the dual value of the group lasso with the penalty of ``Switched.beneath``. It is not tight, but certain.

    Args:
        problem: the data.
        penalty: λ, λ2 and p.
        reached: an objective that was reached, > 0.
        start: A and b of a nearby convex solution.
        max_steps: gradient steps for the convex solution; with fewer, the bound is lower and no less certain.
    """
    found = solve(
        problem, penalty.beneath(reached), start=start, tolerance=1e-3, max_steps=max_steps
    )
    return found.objective - found.gap, found
