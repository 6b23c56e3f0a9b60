"""Objectives: fit and complexity of a member, always apart, in nats per example.

    scaled-kl     L1(λ) = E_q log p(D|w) - λ KL(q || N(0, α))            (Grebenkova et al. 2022, eq. 4; trained: eq. 14)
    scaled-prior  L2(λ) = E_q log p(D|w) - KL(q || N(0, α/λ))            (eq. 5; trained: eq. 15)
    l2            L3(λ) = log p(D|w) - λ ‖w‖²                            (eq. 6; trained: eq. 16; no factor ½)
    l1            log p(D|w) - λ ‖w‖₁                                    (for pruning and retraining, Han et al. 2015)
    log-sum       log p(D|w) - λ ε Σ log(1 + |w|/ε), ε = √α / 10         (for pruning; Candès, Wakin & Boyd 2008)
    ard           L1 with a prior variance for each weight, at its optimum (automatic relevance determination)

Here a minimised quantity is ``(fit + complexity)`` with ``fit = -E log p(D|w) / N`` and complexity the penalty divided by N,
so that λ = 1 under scaled-kl is the negative evidence lower bound per example.

Two slips of the paper, found by algebra and held by the tests:

- Equation (8) states L1(λ) - L2(λ) ∝ -(λ + 1) log det A⁻¹_ps. For P parameters it is, exactly,
  ``((λ - 1)/2) (log det A⁻¹_ps + P - P log α) - (P/2) log λ``: the factor is (λ - 1)/2, and vanishes at λ = 1,
  where both are the evidence lower bound.
- Theorem 1 (3) sets m = m₀/λ for m examples seen through L1(λ) and a sample of m₀. Then the divergence enters
  L1(λ)/m as λ/m = λ²/m₀ and the evidence lower bound per example as 1/m₀. They agree for every m when m₀ = m/λ:
  λ divides the number of examples. (In the limit of the theorem both vanish, so it holds either way.)

Shapes: K members, b examples of each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netdial.objective.base import BOUNDS, LAPLACE, OBJECTIVES

if TYPE_CHECKING:
    from netdial.family.fields import Fields

_NORMAL = (*BOUNDS, *LAPLACE, "waic", "psis-loo")


@OBJECTIVES.add(
    "scaled-kl",
    tempered=True,
    scales=True,
    estimators=(*_NORMAL, "wbic", "thermodynamic"),
    why="members are tempered posteriors p(w) p(D|w)^(1/λ): E log p - KL bounds the evidence at every λ, the "
    "objective itself only at λ = 1; under the training prior a perfect family peaks at λ = 1, so let the re-fitted prior "
    "(eb-elbo, mdl) choose",
)
def scaled_kl(fields: Fields, lam: Tensor, prior_var: float) -> Tensor:
    """Returns λ KL(q || N(0, α)) in nats ``[K]`` (2022 paper, eq. 4)."""
    return lam * fields.kl(torch.full_like(lam, prior_var))


@OBJECTIVES.add(
    "scaled-prior",
    prior_var=lambda lam, alpha: alpha / lam,
    estimators=_NORMAL,
    why="λ indexes the prior N(0, α/λ): the objective is an evidence lower bound at every λ, and choosing by it is "
    "type-II maximum likelihood; there is no temperature, so wbic and thermodynamic do not apply",
)
def scaled_prior(fields: Fields, lam: Tensor, prior_var: float) -> Tensor:
    """Returns KL(q || N(0, α/λ)) in nats ``[K]`` (2022 paper, eq. 5)."""
    return fields.kl(prior_var / lam)


@OBJECTIVES.add(
    "l2",
    posterior="point",
    prior_var=lambda lam, alpha: 1 / (2 * lam),
    range=(1e-2, 10.0),
    estimators=LAPLACE,
    default=("laplace-kronecker",),
    why="members are points under a prior of precision 2λ: no divergence and no draws, so only the Laplace evidence applies",
)
def l2(fields: Fields, lam: Tensor, prior_var: float) -> Tensor:
    """Returns λ ‖w‖² in nats ``[K]`` (2022 paper, eq. 6): a Gaussian prior of precision 2λ, whatever α."""
    return lam * fields.square_norm()


@OBJECTIVES.add(
    "ard",
    prior_var=None,
    fitted_prior=True,
    tempered=True,
    scales=True,
    range=(1e-3, 10.0),
    estimators=("ard-elbo", "eb-elbo", "mdl", "mdl-two-part", "waic", "psis-loo"),
    default=("ard-elbo",),
    why="members are tempered posteriors under a prior variance for each weight, fitted: ard-elbo bounds the evidence of "
    "that prior at every λ, and a perfect family peaks at λ = 1",
)
def ard(fields: Fields, lam: Tensor, prior_var: float) -> Tensor:
    """Returns λ KL(q || N(0, diag s²)) in nats ``[K]``, each s² at its optimum μ² + σ², whatever α.

    Automatic relevance determination: every weight has a prior variance of its own, fitted by type-II likelihood
    (MacKay 1994; Tipping 2001; with variational posteriors, Kharitonov et al. 2018). The scaled KL with an empirical prior
    in place of one α: it pulls a weight that the data say nothing of to relative density 1, so members prune well.
    """
    return lam * fields.relevance()


@OBJECTIVES.add(
    "l1",
    posterior="point",
    range=(1e-2, 10.0),
    why="members are points under a Laplace prior, which has no second derivative at zero: choose λ on validation data",
)
def l1(fields: Fields, lam: Tensor, prior_var: float) -> Tensor:
    """Returns λ ‖w‖₁ in nats ``[K]`` (Han et al. 2015, §3.1): a Laplace prior of scale 1/λ, whatever α."""
    return lam * fields.absolute_norm()


@OBJECTIVES.add(
    "log-sum",
    posterior="point",
    range=(1e-2, 10.0),
    why="members are points under a prior with a kink at zero and heavy tails: choose λ on validation data",
)
def log_sum(fields: Fields, lam: Tensor, prior_var: float) -> Tensor:
    """Returns ``λ ε Σ log(1 + |w|/ε)`` in nats ``[K]``, ε = √α / 10 (Candès, Wakin & Boyd 2008, §2).

    A weight near zero is pulled as under ``l1``, by λ; one of size ε by half of that, a large one hardly. So those that stay
    are not made small, and many more can be removed without retraining. As ε grows it becomes ``l1``.
    """
    return lam * fields.log_norm(scale_of_logs(prior_var))


def scale_of_logs(prior_var: float) -> float:
    """Returns ε, the size of weights that ``log-sum`` pulls half as much as those near zero: a tenth of √α."""
    return 0.1 * math.sqrt(prior_var)
