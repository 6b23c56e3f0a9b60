"""Centred map: a vector that all complexity values share, and piecewise-linear deviations from it.

``field(u) = base + Σ_j c_j(u) δ_j`` with the hat functions c_j of the piecewise-linear map (2022 paper, eq. 13). As functions
of u these are the same fields, since the c_j sum to one; training takes another path. Every group of a batch moves the
base, so what all members have in common is learned from the whole batch and not from the part that a group sees, and a
member moves up to twice as fast. Own deviation from the papers.

Shapes: L complexity values, N regions, P numbers of the tree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from netdial.core.layout import Layout
from netdial.family.maps.basis import BasisMap, hats, knots
from netdial.family.maps.seam import MAPS, MapOptions


@MAPS.add("centred")
class CentredMap(BasisMap):
    """Deviations at N + 1 knots, then the base: pivots ``[N + 2, P]``."""

    @classmethod
    def start(cls, layout: Layout, initial: Tensor, options: MapOptions) -> CentredMap:
        """Returns the map whose value is ``initial`` ``[P]`` everywhere: the base, without deviations."""
        deviations = initial.new_zeros(knots(options), len(initial))
        return cls(layout, torch.cat([deviations, initial[None]]))

    def coefficients(self, unit: Tensor) -> Tensor:
        """Returns hat functions and 1, ``[L, N + 2]``."""
        found = hats(unit, self.pivots.shape[0] - 2)
        return torch.cat([found, torch.ones_like(found[:, :1])], dim=1)

    def cut(self, name: str, dim: int, keep: Tensor) -> CentredMap:
        """Returns the map with a dimension of one leaf cut; it commutes with evaluation."""
        return CentredMap(*self._cut_pivots(name, dim, keep))
