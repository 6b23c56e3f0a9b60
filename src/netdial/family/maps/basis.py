"""Basis maps: a field is a weighted sum of pivot vectors, ``field(u) = Σ_j c_j(u) pivot_j``.

Linear, piecewise-linear and table maps differ in the coefficients alone, so all complexity values of a step cost one
matrix product. Sources: Grebenkova et al. 2022, eq. 12 (linear) and eq. 13 (piecewise-linear).

Deviation: both equations are written in λ. Here, as in the authors' experiments, the coordinate is the unit
coordinate of log λ, and the linear map is held by its two end values instead of slope and offset
(``b1 = pivot_1 - pivot_0``, ``b2 = pivot_0``): the same functions, better conditioned.

Shapes: L complexity values, J pivots, P numbers of the tree.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.core.layout import Layout
from netdial.family.maps.seam import MAPS, MapOptions


class BasisMap(nn.Module):
    """A map that is linear in its pivots ``[J, P]``."""

    def __init__(self, layout: Layout, pivots: Tensor) -> None:
        super().__init__()
        self.layout = layout
        self.pivots = nn.Parameter(pivots)

    def coefficients(self, unit: Tensor) -> Tensor:
        """Returns the weights ``[L, J]`` of the pivots at unit coordinates ``[L]``."""
        raise NotImplementedError

    def forward(self, unit: Tensor) -> Tensor:
        """Returns fields ``[L, P]`` at unit coordinates ``[L]``."""
        return self.coefficients(unit).to(self.pivots) @ self.pivots

    def _cut_pivots(self, name: str, dim: int, keep: Tensor) -> tuple[Layout, Tensor]:
        layout, positions = self.layout.cut(name, dim, keep)
        return layout, self.pivots.detach().index_select(1, positions.to(self.pivots.device))


def knots(options: MapOptions) -> int:
    """Returns the number of knots of a piecewise map: one more than regions.

    Raises:
        ConfigError: there is no region.
    """
    if options.regions < 1:
        raise ConfigError(f"piecewise map: regions={options.regions}; expected at least 1")
    return options.regions + 1


def hats(unit: Tensor, regions: int) -> Tensor:
    """Returns the hat functions ``[L, N + 1]`` of N equal regions at unit coordinates ``[L]``."""
    knot = torch.arange(regions + 1, dtype=unit.dtype, device=unit.device)
    distance = torch.sub(knot, unit[:, None], alpha=regions).abs()
    return (1 - distance).clamp_min(0)


@MAPS.add("piecewise")
class PiecewiseMap(BasisMap):
    """Piecewise-linear over N equal regions of the unit coordinate (2022 paper, eq. 13), N + 1 pivots.

    The coefficients are hat functions: they are non-negative, sum to one, and at most two differ from zero.
    """

    @classmethod
    def start(cls, layout: Layout, initial: Tensor, options: MapOptions) -> PiecewiseMap:
        """Returns the map whose value is ``initial`` ``[P]`` everywhere."""
        return cls(layout, initial.repeat(knots(options), 1))

    @property
    def regions(self) -> int:
        """N, regions of the unit coordinate."""
        return len(self.pivots) - 1

    def coefficients(self, unit: Tensor) -> Tensor:
        """Returns hat functions ``[L, N + 1]``."""
        return hats(unit, len(self.pivots) - 1)

    def join(self) -> None:
        """Gives every pivot the gradient of the first, so that equal pivots stay equal."""
        if self.pivots.grad is not None:
            self.pivots.grad.copy_(self.pivots.grad[:1].expand_as(self.pivots))

    def towards_knots(self, unit: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Returns unit coordinates of which a share, drawn at random, is moved to the nearest knot."""
        moved = torch.rand(unit.shape, generator=generator, dtype=unit.dtype) < share
        return torch.where(moved, (unit * self.regions).round() / self.regions, unit)

    def cut(self, name: str, dim: int, keep: Tensor) -> PiecewiseMap:
        """Returns the map with a dimension of one leaf cut; it commutes with evaluation."""
        return type(self)(*self._cut_pivots(name, dim, keep))


@MAPS.add("linear")
class LinearMap(PiecewiseMap):
    """Linear in the unit coordinate (2022 paper, eq. 12): the piecewise-linear map with a single region."""

    @classmethod
    def start(cls, layout: Layout, initial: Tensor, options: MapOptions) -> LinearMap:
        """Returns the map whose value is ``initial`` ``[P]`` everywhere."""
        return cls(layout, initial.repeat(2, 1))


@MAPS.add("table")
class TableMap(BasisMap):
    """One independent row per complexity value: directly trained networks, many at once.

    Several rows may stand at the same value (one for each seed); asked for that value, the map gives the first.
    """

    def __init__(self, layout: Layout, pivots: Tensor, rows: Tensor) -> None:
        super().__init__(layout, pivots)
        self.rows: Tensor
        self.register_buffer("rows", rows)

    @classmethod
    def start(cls, layout: Layout, initial: Tensor, options: MapOptions) -> TableMap:
        """Returns the map whose rows are all ``initial`` ``[P]``."""
        if not options.rows:
            raise ConfigError("table map: give the unit coordinates of its rows")
        rows = torch.tensor(options.rows, dtype=torch.float64)
        return cls(layout, initial.repeat(len(rows), 1), rows)

    def forward(self, unit: Tensor) -> Tensor:
        """Returns the rows at unit coordinates ``[L]``: all of them as they are, or a selection."""
        if torch.equal(unit, self.rows):
            return self.pivots
        return self.pivots[self._row(unit)]

    def coefficients(self, unit: Tensor) -> Tensor:
        """Returns the selection of rows, one-hot ``[L, J]``."""
        return nn.functional.one_hot(self._row(unit), self.pivots.shape[0]).to(unit.dtype)

    def cut(self, name: str, dim: int, keep: Tensor) -> TableMap:
        """Returns the map with a dimension of one leaf cut; it commutes with evaluation."""
        return TableMap(*self._cut_pivots(name, dim, keep), self.rows)

    def _row(self, unit: Tensor) -> Tensor:
        distance = (unit[:, None] - self.rows).abs()
        nearest = distance.argmin(dim=1)
        if bool((distance.gather(1, nearest[:, None]) > 1e-6).any()):
            raise ConfigError(
                "table map: a complexity value has no row; directly trained networks exist only at the values they "
                "were trained for"
            )
        return nearest
