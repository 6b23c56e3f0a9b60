"""Families: networks indexed by a complexity value λ."""

from netdial.family.config import FamilyConfig
from netdial.family.domain import Domain
from netdial.family.family import Family
from netdial.family.fields import Fields, kl_between, symmetrised_kl
from netdial.family.maps import MAPS, Map, MapOptions
from netdial.family.posteriors import POSTERIORS, Divergence, Posterior

__all__ = [
    "MAPS",
    "POSTERIORS",
    "Divergence",
    "Domain",
    "Family",
    "FamilyConfig",
    "Fields",
    "Map",
    "MapOptions",
    "Posterior",
    "kl_between",
    "symmetrised_kl",
]
