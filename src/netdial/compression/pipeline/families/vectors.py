"""Shared tracks: the few vectors that stand for what all weights of a leaf are at the knots.

Vector quantisation with the entropy of the codes (Chou, Lookabaugh & Gray 1989): codes and tracks at the least of distortion +
price · bits. Distortion is ½ Σ_j h_j (w_j - v_j)², with h_j the second derivative of the loss of the member at knot j.

Shapes: n weights, J knots, k tracks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from netdial.compression.tracks import Track
from netdial.core.noise import derive_seed

Array = np.ndarray[Any, Any]

_ROUNDS, _CHUNK = 40, 1 << 22
_MEAN_BITS, _MOVE_BITS = 16, 6


def shared_tracks(
    weights: Array, pull: Array, price: float, counts: Sequence[int], seed: int = 0
) -> Track:
    """Returns a leaf by tracks, as many of these counts as loss + price · bits is least for.

    Args:
        weights: the leaf at the knots ``[J, ...]``; what is 0 at all of them stays so.
        pull: second derivatives of the losses ``[J, ...]``.
        price: bits of loss that a bit is worth.
        counts: numbers of tracks to try.
        seed: where tracks begin.
    """
    shape, knots = weights.shape[1:], len(weights)
    flat, mass = weights.reshape(knots, -1).T, pull.reshape(knots, -1).T
    there = (flat != 0).any(axis=1)
    x, h = flat[there].astype(np.float64), np.maximum(mass[there].astype(np.float64), 1e-300)
    if not len(x):
        return Track(np.zeros(shape, np.int32), np.zeros((0, knots)))
    tried = sorted({min(k, len(x)) for k in counts})
    codes, values, _ = min((_of_size(x, h, price, k, seed) for k in tried), key=lambda one: one[2])
    whole = np.zeros(there.size, np.int32)
    whole[there] = codes + 1
    return Track(whole.reshape(shape), values)


def _of_size(x: Array, h: Array, price: float, k: int, seed: int) -> tuple[Array, Array, float]:
    """Returns codes ``[n]``, tracks ``[k, J]`` and cost, from k tracks to begin with."""
    values = _begin(x, h, k, seed)
    lengths, codes = np.zeros(len(values)), np.zeros(0, np.int64)
    for _ in range(_ROUNDS):
        found = _nearest(x, h, values, price * lengths)
        if np.array_equal(found, codes):
            break
        codes = found
        counts = np.bincount(codes, minlength=len(values)).astype(np.float64)
        total, sums = _summed(codes, h, len(values)), _summed(codes, h * x, len(values))
        values = np.where(total > 0, sums / np.where(total > 0, total, 1), values)
        lengths = np.log2(len(x) / np.maximum(counts, 0.5))
    used, codes = np.unique(codes, return_inverse=True)
    values = values[used]
    counts = np.bincount(codes).astype(np.float64)
    bits = float((counts * np.log2(len(x) / counts)).sum())
    bits += len(values) * (_MEAN_BITS + _MOVE_BITS * x.shape[1])
    loss = float((h * (x - values[codes]) ** 2).sum()) / (2 * math.log(2))
    return codes, values, loss + price * bits


def _summed(codes: Array, rows: Array, k: int) -> Array:
    """Returns the sums ``[k, J]`` of rows ``[n, J]`` by code."""
    return np.stack([np.bincount(codes, column, k) for column in rows.T], axis=1)


def _begin(x: Array, h: Array, k: int, seed: int) -> Array:
    """Returns k tracks of weights far from each other, drawn by their distance (Arthur & Vassilvitskii 2007)."""
    source = np.random.default_rng(derive_seed(seed, "tracks"))
    found = [int(source.integers(len(x)))]
    far = (h * (x - x[found[0]]) ** 2).sum(axis=1)
    while len(found) < k and far.sum() > 0:
        found.append(int(source.choice(len(x), p=far / far.sum())))
        far = np.minimum(far, (h * (x - x[found[-1]]) ** 2).sum(axis=1))
    return x[found].copy()


def _nearest(x: Array, h: Array, values: Array, costs: Array) -> Array:
    """Returns for each weight the track of least cost, chunk by chunk."""
    found = np.empty(len(x), np.int64)
    plain = (h * x * x).sum(axis=1)
    for at in range(0, len(x), max(1, _CHUNK // len(values))):
        part = slice(at, at + max(1, _CHUNK // len(values)))
        off = plain[part, None] - 2 * (h[part] * x[part]) @ values.T + h[part] @ (values.T**2)
        found[part] = (off / (2 * math.log(2)) + costs[: len(values)]).argmin(axis=1)
    return found
