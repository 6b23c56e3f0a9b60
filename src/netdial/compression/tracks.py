"""Tracks: the tensors of a family of networks, whose few different values move along λ.

All members share the codes. A value stands for a *track*: what it is at J knots, evenly apart on the scale of log λ, and linear
between them. So a family takes the positions and symbols of one network, and J small numbers for each value.

In a file a leaf is a codebook of the tracks' means over the knots. The tensor ``~``, int8, says how far they are from it:
leaf after leaf in the order of the file an exponent e and ``[J, k]`` whole numbers m, so that value j of track i is
mean_i + m_ji 2^e; for a leaf that is the same for every λ e is -128, and nothing follows. What is kept exactly is an array
``[J, ...]``, statistics of normalisation layers are arrays ``[cells, ...]``.

Shapes: J knots, k tracks other than 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from netdial.compression.codebook import Codebook
from netdial.core.errors import CheckpointError

Array = np.ndarray[Any, Any]

MOVES = "~"
"""Name of the tensor that says how values move."""

_MOST, _STILL = 127, -128


@dataclass(frozen=True, eq=False)
class Track:
    """A leaf of a family.

    Attributes:
        codes: int32 of the leaf's shape; 0 stands for 0 at every λ.
        values: float64 ``[k, J]``, the values of codes 1 … k at the knots.
    """

    codes: Array
    values: Array

    def at_knots(self) -> Array:
        """Returns the leaf at the knots, float32 ``[J, ...]``."""
        knots = self.values.shape[1]
        values = np.concatenate([np.zeros((1, knots)), self.values]).astype(np.float32)
        found: Array = np.moveaxis(values[self.codes], -1, 0)
        return found


def stored(leaves: Mapping[str, Track | Array]) -> dict[str, Codebook | Array]:
    """Returns the tensors of a file that hold leaves; values are rounded, tracks that nobody has are left out."""
    found: dict[str, Codebook | Array] = {}
    moves: list[Array] = []
    for name, leaf in leaves.items():
        if isinstance(leaf, Track):
            found[name], off = _split(leaf)
            moves += _rounded(off)
        else:
            found[name] = leaf
    told = np.concatenate(moves) if moves else np.zeros(0, np.int8)
    return {MOVES: told, **found} if (told != _STILL).any() else found


def _split(track: Track) -> tuple[Codebook, Array]:
    """Returns codes and means of the tracks that are in use, and how far they are from them ``[k, J]``."""
    used, codes = np.unique(np.concatenate([[0], track.codes.reshape(-1)]), return_inverse=True)
    values = track.values[used[1:] - 1]
    order = np.argsort(values.mean(axis=1), kind="stable")
    place = np.concatenate([[0], 1 + np.argsort(order)])
    means = _rising(values[order].mean(axis=1))
    book = Codebook(place[codes[1:]].reshape(track.codes.shape), np.concatenate([[0], means]))
    return book, values[order] - means[:, None]


def _rounded(off: Array) -> list[Array]:
    """Returns an exponent, and moves as multiples of that power of two, knot after knot; the exponent alone if all are 0."""
    largest = float(np.abs(off).max(initial=0.0))
    exponent = max(math.ceil(math.log2(largest / _MOST)), _STILL + 1) if largest > 0 else _STILL
    moves = np.rint(off / 2.0**exponent)
    if exponent == _STILL or not moves.any():
        return [np.array([_STILL], np.int8)]
    return [np.array([exponent], np.int8), moves.T.reshape(-1).astype(np.int8)]


def _rising(means: Array) -> Array:
    """Returns rising means as numbers of half precision, if it can hold them, all different and none 0."""
    half = means.astype(np.float16)
    step: Any = np.float16 if np.isfinite(half).all() else np.float32
    found = means.astype(step)
    for at in range(len(found)):
        if at and found[at] <= found[at - 1]:
            found[at] = np.nextafter(found[at - 1], step(np.inf))
        if found[at] == 0:
            found[at] = np.nextafter(step(0), step(np.inf))
    return found.astype(np.float64)


def at_knots(tensors: Mapping[str, Codebook | Array], knots: int) -> dict[str, Array]:
    """Returns the leaves at the knots ``[J, ...]`` from the tensors of a file; arrays that are kept exactly are as they are.

    Raises:
        CheckpointError: moves do not go with their leaf.
    """
    found = tracks_of(tensors, knots)
    return {n: one.at_knots() if isinstance(one, Track) else one for n, one in found.items()}


def tracks_of(tensors: Mapping[str, Codebook | Array], knots: int) -> dict[str, Track | Array]:
    """Returns leaves by name, and arrays that are kept exactly, from the tensors of a file.

    Raises:
        CheckpointError: moves do not go with their leaves.
    """
    moves = tensors.get(MOVES)
    if moves is not None and (
        isinstance(moves, Codebook) or moves.dtype != np.int8 or moves.ndim != 1
    ):
        raise _amiss()
    found: dict[str, Track | Array] = {}
    place = 0
    for name, tensor in tensors.items():
        if not isinstance(tensor, Codebook):
            found |= {name: tensor} if name != MOVES else {}
            continue
        zero = int(tensor.values.size > 0 and tensor.values[0] == 0)
        means = tensor.values[zero:].astype(np.float64)
        values = np.repeat(means[:, None], knots, axis=1)
        if moves is not None:
            exponent = int(moves[place]) if place < len(moves) else 0
            size = means.size * knots if exponent != _STILL else 0
            here = moves[place + 1 : place + 1 + size].astype(np.float64)
            if here.size < size or place >= len(moves):
                raise _amiss()
            values = values + (2.0**exponent * here.reshape(knots, -1).T if size else 0.0)
            place += 1 + size
        found[name] = Track(tensor.codes + (1 - zero), values)
    if moves is not None and place != len(moves):
        raise _amiss()
    return found


def _amiss() -> CheckpointError:
    return CheckpointError(
        "values move in another way than the leaves have them; restore the file from a copy"
    )
