"""Objectives: fit and complexity of a member, always apart; and how members are weighted in training."""

from netdial.objective.base import BOUNDS, LAPLACE, OBJECTIVES, Objective, Terms
from netdial.objective.objectives import ard, l1, l2, log_sum, scaled_kl, scaled_prior
from netdial.objective.weightings import WEIGHTINGS, balanced, uniform

__all__ = [
    "BOUNDS",
    "LAPLACE",
    "OBJECTIVES",
    "WEIGHTINGS",
    "Objective",
    "Terms",
    "ard",
    "balanced",
    "l1",
    "l2",
    "log_sum",
    "scaled_kl",
    "scaled_prior",
    "uniform",
]
