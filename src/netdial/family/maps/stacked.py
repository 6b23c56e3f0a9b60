"""Several piecewise-linear maps as one, so that one training run moves several families.

The knots of all of them stand in a row, N + 1 of each, and map s is read at the coordinates between its own knots; the
regions between the last knot of one map and the first of the next are never visited. So nothing that runs a piecewise map
needs to know, and each map gets the gradients that it would get alone.

Shapes: S maps of N regions, L complexity values, P numbers of the tree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from netdial.core.layout import Layout
from netdial.family.maps.basis import PiecewiseMap


class StackedMap(PiecewiseMap):
    """S piecewise-linear maps side by side, pivots ``[S (N + 1), P]``; see ``family.stacking``."""

    def __init__(self, layout: Layout, pivots: Tensor, count: int) -> None:
        super().__init__(layout, pivots)
        self.count = count

    @property
    def regions(self) -> int:
        """N, regions of each map."""
        return len(self.pivots) // self.count - 1

    def everywhere(self, unit: Tensor) -> Tensor:
        """Returns the coordinates ``[S L]`` of unit coordinates ``[L]`` in every map, map after map."""
        first = torch.arange(self.count, dtype=unit.dtype, device=unit.device) * (self.regions + 1)
        places = first[:, None] + unit * self.regions
        return (places / (len(self.pivots) - 1)).flatten()

    def join(self) -> None:
        """Gives every pivot the gradient of the first of its map."""
        if self.pivots.grad is not None:
            grads = self.pivots.grad.view(self.count, self.regions + 1, -1)
            grads.copy_(grads[:, :1].expand_as(grads))

    def cut(self, name: str, dim: int, keep: Tensor) -> StackedMap:
        """Returns the maps with a dimension of one leaf cut."""
        return StackedMap(*self._cut_pivots(name, dim, keep), self.count)
