"""Rate: how many bits codes of weights take, before anything is written.

Two models. ``context_bits`` is the length of an adaptive code: whether a weight is zero is told by what was told of its
neighbours, which value a weight has by how often each was seen (Krichevsky & Trofimov 1981; the length depends on counts alone,
so nothing has to be coded to know it). ``presence`` is the law that decisions about single weights are made by: the probability
that a place is occupied, from how full its row and its column are.

Shapes: a tensor ``[O, ...]`` is a matrix ``[R, C]`` of O rows; a vector is one row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netdial.compression.codebook import Codebook

Array = np.ndarray[Any, Any]

VALUE_BITS = 32
"""Bits of a value in a table, and of a number that is kept exactly."""

_LEAST, _MOST = 1e-4, 0.98
"""Bounds of a probability of presence: no place is certain."""
_COUNTED = (0, 1, 2, 3, 3)
"""Context by the number of occupied neighbours among four."""


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns rows and columns of a tensor as a matrix.

    >>> as_matrix((6, 3, 5, 5)), as_matrix((10,))
    ((6, 75), (1, 10))
    """
    if len(shape) < 2:
        return 1, math.prod(shape)
    return shape[0], math.prod(shape[1:])


def entropy_bits(codes: Array) -> float:
    """Returns n times the entropy of the codes, in bits.

    >>> entropy_bits(np.array([0, 0, 1, 1]))
    4.0
    """
    counts = np.bincount(codes.reshape(-1)).astype(np.float64)
    counts = counts[counts > 0]
    return float((counts * np.log2(counts.sum() / counts)).sum()) if len(counts) else 0.0


def adaptive_bits(counts: Array) -> float:
    """Returns the length of an adaptive code of symbols that are met so often, in bits (½ added to each count).

    >>> round(adaptive_bits(np.array([8.0, 0.0])), 2), round(adaptive_bits(np.array([4.0, 4.0])), 2)
    (2.35, 9.87)
    """
    total, kinds = float(counts.sum()), len(counts)
    if kinds < 2 or not total:
        return 0.0
    lgamma = np.vectorize(math.lgamma)
    nats = math.lgamma(total + kinds / 2) - math.lgamma(kinds / 2)
    nats -= float(lgamma(counts + 0.5).sum()) - kinds * math.lgamma(0.5)
    return nats / math.log(2)


def context_bits(codes: Array) -> float:
    """Returns the length of an adaptive code of a tensor of codes, in bits; 0 is what is not there."""
    whole = codes.reshape(as_matrix(codes.shape))
    there = whole != 0
    used = np.unique(whole[there], return_counts=True)[1].astype(np.float64)
    bits = adaptive_bits(used)
    context = _context(there)
    for number in range(int(context.max(initial=0)) + 1):
        here = there[context == number]
        occupied = float(here.sum())
        bits += adaptive_bits(np.array([len(here) - occupied, occupied]))
    return bits


def _context(there: Array) -> Array:
    """Returns the context of each place: occupied neighbours told before it, and how full its column and row are."""
    left = np.zeros((*there.shape, 4), dtype=np.int64)
    left[:, 1:, 0], left[:, 2:, 1] = there[:, :-1], there[:, :-2]
    left[1:, :, 2], left[2:, :, 3] = there[:-1], there[:-2]
    near = np.array(_COUNTED)[left.sum(axis=2)]
    above = np.cumsum(there, axis=0) - there
    rows = np.arange(len(there))[:, None]
    column = np.digitize((above + 0.4) / (rows + 0.8), (0.02, 0.06, 0.15, 0.4))
    before = np.cumsum(there, axis=1) - there
    row = np.digitize((before + 0.4) / (np.arange(there.shape[1]) + 0.8), (0.01, 0.05, 0.2))
    found: Array = (near * 5 + column) * 4 + row
    return found


def book_bits(book: Codebook) -> float:
    """Returns what a tensor of shared values takes: its codes, and the table of its values but for 0."""
    return context_bits(book.codes) + VALUE_BITS * int((book.values != 0).sum())


def presence(kept: Tensor) -> Tensor:
    """Returns the probability ``[R, C]`` that a place is occupied, of which are ``[R, C]``: row times column over all."""
    there = kept.to(torch.float32)
    rows, columns = there.mean(dim=1, keepdim=True), there.mean(dim=0, keepdim=True)
    if len(there) == 1:
        columns = rows.expand_as(columns)  # its own columns would know each place
    whole = there.mean().clamp_min(_LEAST)
    return (rows * columns / whole).clamp(_LEAST, _MOST)


def cost_of_presence(kept: Tensor, value_bits: float) -> Tensor:
    """Returns how many bits a weight costs that is there, against one that is not, of the shape of ``kept``.

    Args:
        kept: which weights there are, in the shape of their tensor.
        value_bits: bits to tell which value one has.
    """
    whole = kept.reshape(as_matrix(tuple(kept.shape)))
    there = presence(whole)
    return ((1 - there) / there).log2().add(value_bits).clamp_min(1.0).view(kept.shape)
