"""Structure: which graph a network has, searched for as its weights are."""

from netdial.structure.cost import StructureCost, StructureCosts
from netdial.structure.derived import DerivedNetwork, derive
from netdial.structure.graph.canonical import CanonicalForm, canonical_form, distinct
from netdial.structure.graph.drawing import to_dot, to_svg
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.operations import ZeroOperation
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.supernet import Supernet

__all__ = [
    "CanonicalForm",
    "DerivedNetwork",
    "Gamma",
    "Genotype",
    "SearchSpace",
    "StructureCost",
    "StructureCosts",
    "Supernet",
    "ZeroOperation",
    "canonical_form",
    "derive",
    "distinct",
    "to_dot",
    "to_svg",
]
