"""The seam of maps: what a map λ -> parameters must offer.

A map gives one field (means, or log standard deviations) of every leaf of a network at once. To add a map, write one
class in one file of this folder, decorate it with ``@MAPS.add("name")`` and import it in ``__init__``; the contract
tests pick it up by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from netdial.core.layout import Layout
from netdial.core.registry import Registry

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True)
class MapOptions:
    """Settings that maps may read.

    Attributes:
        regions: N of the piecewise-linear map.
        hidden: width of the hidden layer of the low-rank map.
        rows: unit coordinates of the rows of the table map.
        additive: True for a field in log space (log_std), where a gate is added instead of multiplied.
        seed: seed of any random start.
    """

    regions: int = 5
    hidden: int = 50
    rows: tuple[float, ...] = ()
    additive: bool = False
    seed: int = 0


class Map(Protocol):
    """λ -> one field of all leaves. Concrete maps are ``nn.Module`` whose parameters are what training moves.

    Laws, tested for every registered map: ``start`` gives ``initial`` at every coordinate;
    ``map.cut(name, dim, keep)(u)`` is ``map(u)`` with that leaf's dimension indexed by ``keep``.
    """

    layout: Layout

    @classmethod
    def start(cls, layout: Layout, initial: Float[Tensor, " P"], options: MapOptions) -> Any:
        """Returns the map whose value is ``initial`` ``[P]`` at every coordinate."""

    def __call__(self, unit: Float[Tensor, " L"]) -> Float[Tensor, "L P"]:
        """Returns fields ``[L, P]`` at unit coordinates ``[L]``."""

    def cut(self, name: str, dim: int, keep: Int[Tensor, " C"]) -> Any:
        """Returns the map with a dimension of one leaf cut."""


MAPS: Registry[Any] = Registry("map")
