"""Cascading Indian buffet process: a prior over layered structures, draws of its posterior, and networks of its structures."""

from netdial.structure.buffet.cascade import Cascade, enumerate_cascades
from netdial.structure.buffet.chain import CascadeChain, CascadeDraw
from netdial.structure.buffet.linear_gaussian import LinearGaussian
from netdial.structure.buffet.network import CascadeNetwork, EdgeLinear
from netdial.structure.buffet.prior import CascadingBuffet

__all__ = [
    "Cascade",
    "CascadeChain",
    "CascadeDraw",
    "CascadeNetwork",
    "CascadingBuffet",
    "EdgeLinear",
    "LinearGaussian",
    "enumerate_cascades",
]
