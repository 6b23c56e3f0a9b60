"""Gated map: one weight vector, and for each pre-activation a gate that is affine in log λ.

Source: Bae et al. 2023, "Multi-Rate VAE" (ICLR): each pre-activation is multiplied by a gate of log β. A gate on the
pre-activation ``W x + b`` is the same as a gate on the rows of W and on b, so it is a map of weights like any other.

Here gate(u) = 2 sigmoid(slope u + offset), one for each index of a leaf's first dimension; it starts at 1. For a field in
log space (log_std) the same affine function is added instead.
Deviation: weight and bias of a layer, and mean and log_std, have gates of their own, which contains the tied form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from netdial.core.layout import Layout
from netdial.family.maps.seam import MAPS, MapOptions


@MAPS.add("gated")
class GatedMap(nn.Module):
    """Rows of every leaf, gated by an affine function of the unit coordinate of log λ."""

    def __init__(
        self, layout: Layout, base: Tensor, slope: Tensor, offset: Tensor, additive: bool
    ) -> None:
        super().__init__()
        self.layout = layout
        self.additive = additive
        self.base = nn.Parameter(base)
        self.slope, self.offset = nn.Parameter(slope), nn.Parameter(offset)
        self._row_of: Tensor
        self.register_buffer("_row_of", _row_of(layout), persistent=False)

    @classmethod
    def start(cls, layout: Layout, initial: Tensor, options: MapOptions) -> GatedMap:
        """Returns the map whose value is ``initial`` ``[P]`` everywhere."""
        rows = int(_row_of(layout)[-1]) + 1
        zeros = initial.new_zeros(rows)
        return cls(layout, initial.clone(), zeros, zeros.clone(), options.additive)

    def forward(self, unit: Tensor) -> Tensor:
        """Returns fields ``[L, P]`` at unit coordinates ``[L]``."""
        affine = unit.to(self.slope)[:, None] * self.slope + self.offset
        if self.additive:
            return self.base + affine[:, self._row_of]
        return self.base * (2 * affine.sigmoid())[:, self._row_of]

    def cut(self, name: str, dim: int, keep: Tensor) -> GatedMap:
        """Returns the map with a dimension of one leaf cut; it commutes with evaluation."""
        layout, positions = self.layout.cut(name, dim, keep)
        rows = torch.unique_consecutive(self._row_of[positions])
        slope, offset = self.slope.detach()[rows], self.offset.detach()[rows]
        return GatedMap(layout, self.base.detach()[positions], slope, offset, self.additive)


def _row_of(layout: Layout) -> Tensor:
    """Returns for each flat position ``[P]`` the number of its row, counted through all leaves."""
    pieces, first = [], 0
    for shape in layout.shapes:
        rows = shape[0] if shape else 1
        pieces.append(torch.arange(rows).repeat_interleave(math.prod(shape[1:])) + first)
        first += rows
    return torch.cat(pieces)
