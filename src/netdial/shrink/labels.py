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
        self._parent = np.zeros(1, dtype=np.int64)

    def fresh(self, count: int) -> Labels:
        """Returns new atoms ``[count]``, each a class of its own."""
        start = len(self._parent)
        made = np.arange(start, start + count, dtype=np.int64)
        self._parent = np.concatenate([self._parent, made])
        return made

    def find(self, atoms: Labels) -> Labels:
        """Returns the names of the classes, of the same shape."""
        root = self._parent[atoms]
        while True:
            above = self._parent[root]
            if np.array_equal(above, root):
                break
            root = above
        self._parent[atoms] = root
        return root

    def join(self, one: Labels, other: Labels) -> None:
        """Joins classes pairwise; the arrays broadcast against each other."""
        left, right = np.broadcast_arrays(one, other)
        for a, b in zip(left.ravel().tolist(), right.ravel().tolist(), strict=True):
            a, b = self._root(a), self._root(b)
            if a != b:
                self._parent[max(a, b)] = min(a, b)

    def is_free(self, atoms: Labels) -> bool:
        """Whether any of the atoms is not fixed."""
        return bool((self.find(atoms) != FIXED).any())

    def _root(self, atom: int) -> int:
        while self._parent[atom] != atom:
            self._parent[atom] = self._parent[self._parent[atom]]
            atom = int(self._parent[atom])
        return atom


@dataclass(frozen=True)
class Value:
    """What is known of a tensor while the graph is read: its labels, one array per dimension."""

    labels: tuple[Labels, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape on the example."""
        return tuple(len(axis) for axis in self.labels)


@dataclass(frozen=True)
class Number:
    """A size or something computed from sizes, with its value on the example; it follows when the network is cut."""

    value: object


def fixed(shape: tuple[int, ...]) -> Value:
    """Returns a tensor of which nothing can be cut."""
    return Value(tuple(np.zeros(size, dtype=np.int64) for size in shape))
