"""Low-rank map: every weight matrix moves along an outer product that depends on λ.

Source: Grebenkova et al. 2021, eq. 5: G(λ) = (f(λ) U₁)ᵀ (f(λ) U₂) + B with f: R -> R^h one hidden layer (h = 50, ReLU).
A leaf of shape [m, n, ...] is the matrix [m, n···]. A leaf with fewer than two dimensions has a single factor, f(λ) U + B.

Start: U₂ = 0, so that the map equals B everywhere, as a low-rank adapter starts; kinks of f are spread over [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from netdial.core.layout import Layout
from netdial.core.noise import generator
from netdial.family.maps.seam import MAPS, MapOptions


@MAPS.add("lowrank")
class LowRankMap(nn.Module):
    """(f(u) U₁)ᵀ (f(u) U₂) + B for matrices, f(u) U₂ + B for vectors; f(u) = ReLU(slope u + offset)."""

    def __init__(
        self, layout: Layout, base: Tensor, hidden: tuple[Tensor, Tensor], factors: list[Tensor]
    ) -> None:
        super().__init__()
        self.layout = layout
        self.base = nn.Parameter(base)
        self.slope, self.offset = (nn.Parameter(part) for part in hidden)
        self.factors = nn.ParameterList([nn.Parameter(factor) for factor in factors])

    @classmethod
    def start(cls, layout: Layout, initial: Tensor, options: MapOptions) -> LowRankMap:
        """Returns the map whose value is ``initial`` ``[P]`` everywhere."""
        source, width = generator(options.seed, "lowrank"), options.hidden
        sign = torch.where(torch.rand(width, generator=source) < 0.5, -1.0, 1.0)
        kinks = torch.rand(width, generator=source)
        factors = []
        for shape in layout.shapes:
            rows, columns = _matrix(shape)
            factors.append(torch.randn(width, rows, generator=source) / math.sqrt(width))
            factors.append(torch.zeros(width, columns))
        hidden = (sign.to(initial), (-sign * kinks).to(initial))
        return cls(layout, initial.clone(), hidden, [factor.to(initial) for factor in factors])

    def forward(self, unit: Tensor) -> Tensor:
        """Returns fields ``[L, P]`` at unit coordinates ``[L]``."""
        hidden = (unit.to(self.slope)[:, None] * self.slope + self.offset).relu()
        moves = []
        for index, shape in enumerate(self.layout.shapes):
            right = hidden @ self.factors[2 * index + 1]
            if len(shape) < 2:
                moves.append(right)
            else:
                left = hidden @ self.factors[2 * index]
                moves.append((left[:, :, None] * right[:, None, :]).flatten(1))
        return self.base + torch.cat(moves, dim=1)

    def cut(self, name: str, dim: int, keep: Tensor) -> LowRankMap:
        """Returns the map with a dimension of one leaf cut; it commutes with evaluation."""
        layout, positions = self.layout.cut(name, dim, keep)
        index = self.layout.names.index(name)
        shape = self.layout.shapes[index]
        factors = [factor.detach().clone() for factor in self.factors]
        if len(shape) >= 2 and dim == 0:
            factors[2 * index] = factors[2 * index][:, keep]
        else:
            columns = torch.arange(math.prod(shape[1:]) if len(shape) >= 2 else shape[0])
            grid = columns.view(shape[1:] if len(shape) >= 2 else shape)
            kept = grid.index_select(dim - 1 if len(shape) >= 2 else 0, keep).reshape(-1)
            factors[2 * index + 1] = factors[2 * index + 1][:, kept]
        hidden = (self.slope.detach().clone(), self.offset.detach().clone())
        return LowRankMap(layout, self.base.detach()[positions], hidden, factors)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], math.prod(shape[1:])) if len(shape) >= 2 else (1, math.prod(shape))
