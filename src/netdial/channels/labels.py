"""Labels: which channel lies at which index of a tensor, followed through a network.

Every index of every dimension of a leaf gets an *atom*. Operations carry atoms from inputs to outputs, and *join* those that
can only go together (both sides of an addition, a convolution's column and the channel it reads). What is left at the end
are classes of atoms: channels. Atom 0 is *fixed*: inputs, outputs, batch, positions, and whatever is joined with them.

Shapes: n atoms; the labels of a tensor are one int64 array per dimension, as long as the dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]

FIXED = 0


class Atoms:
    """Classes of atoms (a disjoint-set forest over arrays); the smallest member names its class, so 0 stays fixed."""

    def __init__(self) -> None:
        self._room = np.zeros(1024, dtype=np.int64)
        self._count = 1

    def fresh(self, count: int) -> Labels:
        """Returns new atoms ``[count]``, each a class of its own."""
        start, self._count = self._count, self._count + count
        if self._count > len(self._room):
            more = np.zeros(2 * self._count - len(self._room), dtype=np.int64)
            self._room = np.concatenate([self._room, more])
        made = np.arange(start, self._count, dtype=np.int64)
        self._room[start : self._count] = made
        return made

    def find(self, atoms: Labels) -> Labels:
        """Returns the names of the classes, of the same shape."""
        parent = self._room
        root = parent[atoms]
        while True:
            above = parent[root]
            if np.array_equal(above, root):
                break
            parent[root] = root = parent[above]  # halves every path
        parent[atoms] = root
        return root

    def join(self, one: Labels, other: Labels) -> None:
        """Joins classes pairwise; the arrays broadcast against each other."""
        left, right = (part.ravel() for part in np.broadcast_arrays(one, other))
        while True:
            left, right = self.find(left), self.find(right)
            apart = left != right
            if not apart.any():
                return
            left, right = left[apart], right[apart]
            np.minimum.at(self._room, np.maximum(left, right), np.minimum(left, right))

    def is_free(self, atoms: Labels) -> bool:
        """Whether any of the atoms is not fixed."""
        return bool((self.find(atoms) != FIXED).any())


@dataclass(frozen=True)
class Value:
    """What is known of a tensor while the graph is read: its labels, one array per dimension."""

    labels: tuple[Labels, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape on the example."""
        return tuple(len(axis) for axis in self.labels)


@dataclass(frozen=True)
class SizeNumber:
    """A size or something computed from sizes; it follows when the network is cut.

    Attributes:
        value: what it is on the example.
        sources: labels of the dimensions that it is computed from.
    """

    value: object
    sources: tuple[Labels, ...] = ()


def fixed(shape: tuple[int, ...]) -> Value:
    """Returns a tensor of which nothing can be cut."""
    return Value(tuple(np.zeros(size, dtype=np.int64) for size in shape))
