"""Maps λ -> parameters, one class in one file each. See ``seam`` for what a map must offer."""

from netdial.family.maps import basis, centred, gated, lowrank
from netdial.family.maps.basis import LinearMap, PiecewiseMap, TableMap
from netdial.family.maps.centred import CentredMap
from netdial.family.maps.gated import GatedMap
from netdial.family.maps.lowrank import LowRankMap
from netdial.family.maps.seam import MAPS, Map, MapOptions
from netdial.family.maps.stacked import StackedMap

__all__ = [
    "MAPS",
    "CentredMap",
    "GatedMap",
    "LinearMap",
    "LowRankMap",
    "Map",
    "MapOptions",
    "PiecewiseMap",
    "StackedMap",
    "TableMap",
    "basis",
    "centred",
    "gated",
    "lowrank",
]
