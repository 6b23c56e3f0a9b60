"""Distributions of structure parameters γ: posteriors of choices and gates, temperature schedules, enumeration of structures.

The posteriors are those of ``family.posteriors``, so that a family can hold structure beside weights under one λ.
"""

from netdial.family.posteriors import (
    Bernoulli,
    BinaryConcrete,
    Categorical,
    Dirichlet,
    GumbelSoftmax,
    StructurePosterior,
    check_gamma,
    check_temperature,
    straight_through,
    vertex,
)
from netdial.structure.distributions.enumeration import Diversity, around
from netdial.structure.distributions.temperatures import Anneal

__all__ = [
    "Anneal",
    "Bernoulli",
    "BinaryConcrete",
    "Categorical",
    "Dirichlet",
    "Diversity",
    "GumbelSoftmax",
    "StructurePosterior",
    "around",
    "check_gamma",
    "check_temperature",
    "straight_through",
    "vertex",
]
