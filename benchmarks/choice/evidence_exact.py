"""Largest relative error of the Laplace evidence against the exact one, on Bayesian linear regression.

Random problems from well to badly determined, with features alike and of different scales, in float64. Laplace's method with
the whole curvature is exact on them, at the mode and, with its first-order term, anywhere. A lower bound must lie below: that
of the best mean-field posterior (closed form), and that of a family trained over λ from 0.5 to 2 and read at λ = 1, which
cannot beat it. Their gaps are in nats, on the first problem of each case; the family's shows how far training got.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from benchmarks.common.result import Result
from netdial.evidence.estimators import linear
from netdial.evidence.estimators.laplace import laplace
from netdial.train.fit import fit


@dataclass(frozen=True)
class Case:
    """N, D, variances of prior and noise, and over how many decades the scales of the features are spread."""

    n: int
    d: int
    prior_var: float
    noise_var: float
    decades: float = 0.0


CASES = [
    Case(50, 3, 1.0, 0.25),
    Case(200, 20, 0.3, 1.0),
    Case(20, 20, 1.0, 0.1),
    Case(15, 40, 2.0, 0.5),
    Case(60, 8, 10.0, 0.01, decades=2.0),
]


@dataclass(frozen=True)
class Problem:
    """A case with numbers: features Φ ``[N, D]`` and targets ``[N, 1]``."""

    case: Case
    features: Tensor
    targets: Tensor

    @property
    def exact(self) -> float:
        """The log evidence in nats."""
        return linear.log_evidence(
            self.features,
            self.targets,
            prior_var=self.case.prior_var,
            noise_var=self.case.noise_var,
        )

    def laplace(self, mean: Tensor, *, first_order: bool) -> float:
        """The Laplace evidence at some weights ``[D]``."""
        return laplace(
            network(mean),
            (self.features, self.targets),
            kind="regression",
            structure="full",
            prior_var=self.case.prior_var,
            noise_var=self.case.noise_var,
            first_order=first_order,
        ).log_evidence

    def mean_field(self) -> tuple[Tensor, Tensor]:
        """Mean and variances of the best diagonal normal; its mean is the mode."""
        mean, precision = linear.posterior(
            self.features,
            self.targets,
            prior_var=self.case.prior_var,
            noise_var=self.case.noise_var,
        )
        return mean, 1 / precision.diagonal()

    def bound(self, mean: Tensor, var: Tensor) -> float:
        """The evidence lower bound of a diagonal normal in nats."""
        return linear.bound(
            mean,
            var,
            self.features,
            self.targets,
            prior_var=self.case.prior_var,
            noise_var=self.case.noise_var,
        )


def measure(*, quick: bool = False) -> Result:
    """Returns the largest relative error over the problems.

    Raises:
        RuntimeError: a lower bound lies above what it bounds.
    """
    seeds = (0,) if quick else (0, 1, 2, 3, 4)
    rows = []
    for index, case in enumerate(CASES):
        problems = [draw(case, seed=100 * index + seed) for seed in seeds]
        gaps = [mean_field_gap(problem) for problem in problems]
        trained = trained_gap(problems[0], quick)
        if min(gaps) < 0 or trained < gaps[0]:
            raise RuntimeError(
                f"{case}: gaps {gaps}, trained {trained}; a bound lies above what it bounds"
            )
        rows.append(
            {**asdict(case), **errors(problems), "mean-field gap": gaps[0], "family's gap": trained}
        )
    return Result(
        "evidence-exact",
        max(max(line["at the mode"], line["elsewhere"]) for line in rows),
        "relative",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline="log N(y | 0, σ² 1 + s² Φ Φᵀ); every bound lies below it",
        floor="0; the rounding of float64, 1e-16, grows with the condition of the problem",
        rows=rows,
    )


def draw(case: Case, *, seed: int) -> Problem:
    """Returns a random problem, its weights drawn from the prior."""
    source = torch.Generator().manual_seed(seed)
    features = torch.randn(case.n, case.d, dtype=torch.float64, generator=source)
    reach = case.decades / 2
    features *= torch.logspace(-reach, reach, case.d, dtype=torch.float64)
    weights = torch.randn(case.d, 1, dtype=torch.float64, generator=source)
    noise = torch.randn(case.n, 1, dtype=torch.float64, generator=source)
    targets = math.sqrt(case.prior_var) * features @ weights + math.sqrt(case.noise_var) * noise
    return Problem(case, features, targets)


def errors(problems: list[Problem]) -> dict[str, float]:
    """Returns relative errors of Laplace's method, the largest over problems."""
    mode, elsewhere = [], []
    for problem in problems:
        mean, _ = problem.mean_field()
        mode.append(abs(problem.laplace(mean, first_order=False) / problem.exact - 1))
        elsewhere.append(abs(problem.laplace(mean + 1, first_order=True) / problem.exact - 1))
    return {"at the mode": max(mode), "elsewhere": max(elsewhere)}


def mean_field_gap(problem: Problem) -> float:
    """Returns how far below the exact evidence the best mean-field bound lies, in nats."""
    return problem.exact - problem.bound(*problem.mean_field())


def network(weights: Tensor) -> nn.Linear:
    """Returns the linear network with weights ``[D]``."""
    net = nn.Linear(len(weights), 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(weights)
    return net


def trained_gap(problem: Problem, quick: bool) -> float:
    """Returns how far below the exact evidence the bound of a trained family lies at λ = 1, in nats.

    Families have unit noise: inputs and targets are divided by the noise's deviation, which changes neither the weights nor
    their posterior.
    """
    scale = math.sqrt(problem.case.noise_var)
    family = fit(
        network(torch.zeros(problem.case.d)),
        (problem.features / scale, problem.targets / scale),
        kind="regression",
        objective="scaled-kl",
        lam=(0.5, 2.0),
        regions=4,
        prior_var=problem.case.prior_var,
        epochs=300 if quick else 2000,
        batch_size=problem.case.n,
        groups=4,
        sampling="whole",
        lr=0.03,
        precision="64-true",
        accelerator="cpu",
    )
    fields = family.fields_at([1.0])
    assert fields.var is not None
    return problem.exact - problem.bound(fields.mean[0].detach(), fields.var[0].detach())
