"""Posteriors of leaves, one in one file each: ``seam`` says what each must offer, ``structure`` what those of choices add."""

from netdial.family.posteriors.categorical import Categorical
from netdial.family.posteriors.dirichlet import Dirichlet
from netdial.family.posteriors.gates import Bernoulli, BinaryConcrete
from netdial.family.posteriors.gumbel_softmax import GumbelSoftmax
from netdial.family.posteriors.normal import Normal
from netdial.family.posteriors.point import Point
from netdial.family.posteriors.seam import (
    POSTERIORS,
    WEIGHTS,
    Divergence,
    Field,
    Posterior,
    Values,
)
from netdial.family.posteriors.structure import (
    GammaDomain,
    StructurePosterior,
    check_gamma,
    check_temperature,
    straight_through,
    vertex,
)

__all__ = [
    "POSTERIORS",
    "WEIGHTS",
    "Bernoulli",
    "BinaryConcrete",
    "Categorical",
    "Dirichlet",
    "Divergence",
    "Field",
    "GammaDomain",
    "GumbelSoftmax",
    "Normal",
    "Point",
    "Posterior",
    "StructurePosterior",
    "Values",
    "check_gamma",
    "check_temperature",
    "straight_through",
    "vertex",
]
