"""Posteriors of leaves, one in one file each. See ``seam`` for what a posterior must offer."""

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

__all__ = [
    "POSTERIORS",
    "WEIGHTS",
    "Divergence",
    "Field",
    "Normal",
    "Point",
    "Posterior",
    "Values",
]
