"""Families: networks indexed by a complexity value λ."""

from netdial.family.domain import Domain
from netdial.family.family import Family, FamilyConfig
from netdial.family.maps import MAPS, Map, MapOptions
from netdial.family.posterior import Fields, kl_between, symmetrised_kl

__all__ = [
    "MAPS",
    "Domain",
    "Family",
    "FamilyConfig",
    "Fields",
    "Map",
    "MapOptions",
    "kl_between",
    "symmetrised_kl",
]
