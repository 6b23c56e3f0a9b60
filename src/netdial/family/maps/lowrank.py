"""Low-rank map: every weight matrix moves along an outer product that depends on λ.

Source: Grebenkova et al. 2021, eq. 5: G(λ) = (f(λ) U₁)ᵀ (f(λ) U₂) + B with f: R -> R^h one hidden layer (h = 50, ReLU).
A leaf of shape [m, n, ...] is the matrix [m, n···]. A leaf with fewer than two dimensions has one factor, f(λ) U₂ + B.

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
    """(f(u) U₁)ᵀ (f(u) U₂) + B for matrices, f(u) U₂ + B for vectors; f(u) = ReLU(slope u + offset).

    ``left`` holds U₁ ``[h, rows]`` of each matrix, ``right`` holds U₂ ``[h, columns]`` of each leaf.
    """

    def __init__(
        self,
        layout: Layout,
        base: Tensor,
        hidden: tuple[Tensor, Tensor],
        left: list[Tensor],
        right: list[Tensor],
    ) -> None:
        super().__init__()
        self.layout = layout
        self.base = nn.Parameter(base)
        self.slope, self.offset = (nn.Parameter(part) for part in hidden)
        self.left = nn.ParameterList([nn.Parameter(factor) for factor in left])
        self.right = nn.ParameterList([nn.Parameter(factor) for factor in right])

    @classmethod
    def start(cls, layout: Layout, initial: Tensor, options: MapOptions) -> LowRankMap:
        """Returns the map whose value is ``initial`` ``[P]`` everywhere."""
        source, width = generator(options.seed, "lowrank"), options.hidden
        sign = torch.where(
            torch.rand(width, generator=source, dtype=torch.float32) < 0.5, -1.0, 1.0
        )
        kinks = torch.rand(width, generator=source, dtype=torch.float32)
        left = [
            (
                torch.randn(width, shape[0], generator=source, dtype=torch.float32)
                / math.sqrt(width)
            ).to(initial)
            for shape in layout.shapes
            if _is_matrix(shape)
        ]
        right = [initial.new_zeros(width, math.prod(_columns(shape))) for shape in layout.shapes]
        hidden = (sign.to(initial), (-sign * kinks).to(initial))
        return cls(layout, initial.clone(), hidden, left, right)

    def forward(self, unit: Tensor) -> Tensor:
        """Returns fields ``[L, P]`` at unit coordinates ``[L]``."""
        hidden = (unit.to(self.slope)[:, None] * self.slope + self.offset).relu()
        left, moves = iter(self.left), []
        for shape, factor in zip(self.layout.shapes, self.right, strict=True):
            move = hidden @ factor
            if _is_matrix(shape):
                move = ((hidden @ next(left))[:, :, None] * move[:, None, :]).flatten(1)
            moves.append(move)
        return self.base + torch.cat(moves, dim=1)

    def cut(self, name: str, dim: int, keep: Tensor) -> LowRankMap:
        """Returns the map with a dimension of one leaf cut; it commutes with evaluation."""
        layout, positions = self.layout.cut(name, dim, keep)
        index = self.layout.names.index(name)
        shape = self.layout.shapes[index]
        left = [factor.detach().clone() for factor in self.left]
        right = [factor.detach().clone() for factor in self.right]
        if _is_matrix(shape) and dim == 0:
            place = sum(_is_matrix(earlier) for earlier in self.layout.shapes[:index])
            left[place] = left[place][:, keep]
        else:
            along = dim - 1 if _is_matrix(shape) else dim
            grid = torch.arange(math.prod(_columns(shape))).view(_columns(shape))
            right[index] = right[index][:, grid.index_select(along, keep).reshape(-1)]
        hidden = (self.slope.detach().clone(), self.offset.detach().clone())
        return LowRankMap(layout, self.base.detach()[positions], hidden, left, right)


def _is_matrix(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 2


def _columns(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if _is_matrix(shape) else shape
