"""Sequences of incidence matrices: which units of a layer feed on which units of the next, until a layer has no units."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from netdial.core.errors import ConfigError, ShapeError

Matrix = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Cascade:
    """A layered structure above some visible units.

    Entry (j, k) of matrix m says that unit k of layer m + 1 is a parent of unit j of layer m; layer 0 is visible. Every
    unit above has a child. A layer without units ends the sequence and is not written down.

    Attributes:
        visible: units of layer 0.
        matrices: incidence matrices, ``[K_m, K_(m+1)]`` each.
    """

    visible: int
    matrices: tuple[Matrix, ...] = ()

    def __post_init__(self) -> None:
        if self.visible < 1:
            raise ConfigError(f"visible={self.visible}; expected at least one visible unit")
        rows = self.visible
        for number, matrix in enumerate(self.matrices):
            if matrix.ndim != 2 or matrix.shape[0] != rows or matrix.shape[1] < 1:
                raise ShapeError(
                    f"matrix {number} has shape {list(matrix.shape)}; layer {number} has {rows} units, "
                    f"so [{rows}, at least 1] is expected"
                )
            if matrix.dtype != np.bool_:
                raise ShapeError(f"matrix {number} has type {matrix.dtype}; expected booleans")
            if not matrix.any(axis=0).all():
                childless = int((~matrix.any(axis=0)).argmax())
                raise ConfigError(f"unit {childless} of layer {number + 1} has no child")
            rows = matrix.shape[1]

    @classmethod
    def of(cls, visible: int, matrices: Sequence[Sequence[Sequence[int]]]) -> Cascade:
        """Returns a cascade from nested lists of 0 and 1."""
        return cls(visible, tuple(np.array(matrix, dtype=bool) for matrix in matrices))

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each layer, the visible one first."""
        return (self.visible, *(matrix.shape[1] for matrix in self.matrices))

    @property
    def depth(self) -> int:
        """Layers above the visible one."""
        return len(self.matrices)

    @property
    def n_edges(self) -> int:
        """Edges of all matrices."""
        return sum(int(matrix.sum()) for matrix in self.matrices)

    @cached_property
    def key(self) -> tuple[bytes | tuple[int, ...], ...]:
        """A value that is equal for equal cascades, units in this order."""
        return (self.widths, *(np.packbits(matrix).tobytes() for matrix in self.matrices))

    @cached_property
    def canonical(self) -> tuple[bytes | tuple[int, ...], ...]:
        """The least key of all orders of the hidden units: equal for cascades that differ by their order alone.

        Looks at all orders, so it is for small cascades.
        """
        orders = (itertools.permutations(range(width)) for width in self.widths[1:])
        return min((self._ordered(order).key for order in itertools.product(*orders)), key=repr)

    def _ordered(self, orders: Sequence[Sequence[int]]) -> Cascade:
        rows = [range(self.visible), *orders]
        moved = (
            matrix[np.ix_(list(here), list(above))]
            for matrix, here, above in zip(self.matrices, rows, orders, strict=False)
        )
        return Cascade(self.visible, tuple(moved))


def enumerate_cascades(visible: int, max_width: int, max_depth: int) -> Iterator[Cascade]:
    """Yields all cascades of bounded layers, units in all orders.

    There are (2^K - 1)^L matrices of K rows and L columns: this is for a few units.
    """
    yield Cascade(visible)
    if max_depth == 0:
        return
    columns = [c for c in itertools.product((False, True), repeat=visible) if any(c)]
    for width in range(1, max_width + 1):
        for chosen in itertools.product(columns, repeat=width):
            first = np.array(chosen, dtype=bool).T
            for rest in enumerate_cascades(width, max_width, max_depth - 1):
                yield Cascade(visible, (first, *rest.matrices))
