"""The 729 cells: four nodes, an edge between any two, and on each edge nothing, an identity, or a linear layer on the ReLU.

A network is a linear layer from the inputs to H numbers (node 0), the cell, and a linear layer on the ReLU of node 3. A node is
the sum of what its edges bring. This is the shape of the cells of NAS-Bench-201 (Dong & Yang 2020), with linear layers for
convolutions.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

from netdial.core.errors import ConfigError

NODES = 4
EDGES: tuple[tuple[int, int], ...] = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target of each edge, in the order in which a cell names its operations."""

OPERATIONS = ("none", "skip", "relu-linear")

Cell = tuple[int, ...]
"""Number of the operation on each edge."""

CELLS: tuple[Cell, ...] = tuple(itertools.product(range(len(OPERATIONS)), repeat=len(EDGES)))
"""All cells, the operation of the last edge changing fastest; a cell's place here is its index."""

NONE, SKIP, LINEAR = range(3)
_LETTERS = "nsr"


def cell_code(cell: Cell) -> str:
    """Returns six letters, one for each edge: n for none, s for skip, r for relu-linear.

    >>> cell_code((2, 0, 1, 0, 0, 2))
    'rnsnnr'
    """
    return "".join(_LETTERS[operation] for operation in cell)


def cell_index(code: str) -> int:
    """Returns the index of a cell from its six letters.

    >>> CELLS[cell_index("rnsnnr")]
    (2, 0, 1, 0, 0, 2)

    Raises:
        ConfigError: it is not six letters of n, s and r.
    """
    if len(code) != len(EDGES) or not set(code) <= set(_LETTERS):
        raise ConfigError(
            f"cell {code!r}; expected six letters of n (none), s (skip), r (relu-linear)"
        )
    return functools.reduce(lambda found, letter: 3 * found + _LETTERS.index(letter), code, 0)


class Live(NamedTuple):
    """The edges of a cell that lie on a way from node 0 to node 3.

    Where there are none, the network brings nothing: its outputs are 0.

    Attributes:
        linear: numbers of those with a linear layer.
        skip: numbers of those with an identity.
    """

    linear: tuple[int, ...]
    skip: tuple[int, ...]


def live_edges(cell: Cell) -> Live:
    """Returns the edges that have an effect on the output."""
    present = [edge for edge, operation in zip(EDGES, cell, strict=True) if operation != NONE]
    fed, heard = {0}, {NODES - 1}
    for source, target in present:  # sorted by target
        fed |= {target} if source in fed else set()
    for source, target in sorted(present, key=lambda edge: -edge[0]):
        heard |= {source} if target in heard else set()
    found: dict[int, list[int]] = {SKIP: [], LINEAR: []}
    for number, ((source, target), operation) in enumerate(zip(EDGES, cell, strict=True)):
        if operation != NONE and source in fed and target in heard:
            found[operation].append(number)
    return Live(tuple(found[LINEAR]), tuple(found[SKIP]))
