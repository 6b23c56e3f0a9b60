"""Sharing: the few values that stand for all weights of a tensor.

    kmeans      values that lie where the weights are (Lloyd 1982; Han et al. 2016, §3, with its three starts)
    uniform     multiples of a step
    entropy     values and codes together at the least of distortion + price · bits (Chou, Lookabaugh & Gray 1989); weights
                that are worth less than their bits become 0

Distortion is that of the loss: ½ h (w - v)², h the second derivative of the loss in a weight (for a posterior 1/σ²), so the
price says how many bits of loss a bit of the file is worth. Which number of values, or which step, is the one of least cost.

Shapes: n weights, k values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from netdial.compression.pipeline.rate import VALUE_BITS
from netdial.core.errors import ConfigError, NonFiniteError
from netdial.core.noise import derive_seed
from netdial.core.registry import Registry

Array = np.ndarray[Any, Any]
Start = Callable[[Array, int, int], Array]

STARTS: Registry[Start] = Registry("start")
"""(sorted weights, k, seed) -> values to begin with."""

_ROUNDS, _CHUNK = 60, 1 << 20


@STARTS.add("linear")
def linear(weights: Array, k: int, seed: int) -> Array:
    """Returns values evenly between the smallest and the largest weight: large ones, which matter, have values near."""
    return np.linspace(weights[0], weights[-1], k)


@STARTS.add("density")
def density(weights: Array, k: int, seed: int) -> Array:
    """Returns values between which there are equally many weights."""
    found: Array = np.quantile(weights, (np.arange(k) + 0.5) / k)
    return found


@STARTS.add("random")
def random(weights: Array, k: int, seed: int) -> Array:
    """Returns k weights at random, each at most once."""
    source = np.random.default_rng(derive_seed(seed, "k-means"))
    return np.sort(source.choice(weights, k, replace=False))


def kmeans(
    weights: Array, k: int, *, start: str = "linear", pull: Array | None = None, seed: int = 0
) -> Array:
    """Returns at most k values, rising, such that the squared distance of weights to the nearest one is least.

    Args:
        weights: ``[n]``, finite.
        k: values, 1 or more; no more are returned than there are different weights.
        start: where values begin: ``linear``, ``density`` or ``random``.
        pull: how much each squared distance counts ``[n]``; all alike by default.
        seed: seed of the random start.

    Raises:
        ConfigError: k is below 1, or the start is unknown.
        NonFiniteError: a weight is not finite.
    """
    begin = STARTS[start]
    if k < 1:
        raise ConfigError(f"k={k}: a tensor needs 1 value or more beside 0")
    _check_finite(weights)
    order = np.argsort(weights, kind="stable")
    x = weights[order].astype(np.float64)
    different = np.unique(x)
    if len(different) <= k:
        return different
    mass = np.ones(len(x)) if pull is None else np.maximum(pull[order].astype(np.float64), 1e-300)
    sums = np.concatenate([[0.0], np.cumsum(mass)]), np.concatenate([[0.0], np.cumsum(mass * x)])
    values = begin(x, k, seed).astype(np.float64)
    ends: Array = np.empty(0)
    for _ in range(_ROUNDS):
        edges = np.searchsorted(x, (values[1:] + values[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(x)]])
        if np.array_equal(edges, ends):
            break
        ends = edges
        total = np.diff(sums[0][edges])
        middle = np.diff(sums[1][edges]) / np.where(total > 0, total, 1)
        values = np.sort(np.where(total > 0, middle, values))
    filled = np.diff(ends) > 0
    return values[filled]


def nearest(weights: Array, values: Array) -> Array:
    """Returns the place of the nearest value of each weight; values rise."""
    found: Array = np.searchsorted((values[1:] + values[:-1]) / 2, weights)
    return found


@dataclass(frozen=True, eq=False)
class Shared:
    """Weights by few values.

    Attributes:
        codes: place in ``values`` of each weight ``[n]``.
        values: float64 ``[k]``; the first is 0.
        loss: what sharing costs in bits of the loss, by second derivatives.
        bits: what codes and table take.
    """

    codes: Array
    values: Array
    loss: float
    bits: float


def share(
    weights: Array,
    k: int,
    *,
    pull: Array | None = None,
    start: str = "linear",
    seed: int = 0,
) -> Shared:
    """Returns weights by k values and 0; a weight that is 0 stays so, others never become it.

    Arguments and errors are those of ``kmeans``; ``pull`` are second derivatives of the loss.
    """
    _check_finite(weights)
    there = weights != 0
    inside = weights[there]
    if not len(inside):
        return Shared(np.zeros(weights.shape, np.int32), np.zeros(1), 0.0, 0.0)
    mass = None if pull is None else pull[there]
    values = kmeans(inside, k, start=start, pull=mass, seed=seed)
    codes = np.zeros(weights.shape, np.int32)
    codes[there] = nearest(inside, values) + 1
    return _measured(weights, codes, np.concatenate([[0.0], values]), pull)


def uniform(weights: Array, step: float, pull: Array | None = None) -> Shared:
    """Returns weights by the nearest multiples of a step.

    Raises:
        ConfigError: the step is not a positive number.
        NonFiniteError: a weight is not finite.
    """
    _check_finite(weights)
    if not (math.isfinite(step) and step > 0):
        raise ConfigError(f"step={step!r}: expected a positive number")
    multiples = np.rint(weights / step).astype(np.int64)
    kinds = np.unique(np.concatenate([[0], multiples.reshape(-1)]))
    ranked = np.concatenate([[0], kinds[kinds != 0]])
    place = np.searchsorted(kinds, multiples)
    codes = np.array([int(np.flatnonzero(ranked == kind)[0]) for kind in kinds], np.int32)[place]
    return _measured(weights, codes, ranked * step, pull)


def entropy(
    weights: Array,
    pull: Array,
    price: float,
    k: int,
    *,
    zero: Array | None = None,
    start: str = "linear",
    seed: int = 0,
) -> Shared:
    """Returns weights by at most k values and 0 at the least distortion + price · bits (a local minimum).

    Args:
        weights: ``[n]``; what is 0 stays 0.
        pull: second derivatives of the loss ``[n]``.
        price: bits of loss that a bit of the file is worth, 0 or more.
        k: values to begin with.
        zero: bits that a weight saves beyond those of its value when it becomes 0 ``[n]``; None lets none become 0.
        start: where values begin.
        seed: seed of the random start.

    Raises:
        ConfigError, NonFiniteError: as ``kmeans``; or the price is negative.
    """
    if not price >= 0:
        raise ConfigError(f"price={price!r}: expected 0 or more bits of loss for a bit of the file")
    begun = share(weights, k, pull=pull, start=start, seed=seed)
    there = weights != 0
    x, mass = weights[there].astype(np.float64), np.maximum(pull[there].astype(np.float64), 0)
    extra = np.full(len(x), -np.inf) if zero is None else zero[there].astype(np.float64)
    codes, values = begun.codes[there], begun.values.copy()
    for _ in range(_ROUNDS):
        lengths = _lengths(codes, len(values))
        chosen = _cheapest(x, mass, values, price, lengths, extra)
        counts = np.bincount(chosen, weights=mass, minlength=len(values))
        sums = np.bincount(chosen, weights=mass * x, minlength=len(values))
        moved = np.where(counts > 0, sums / np.where(counts > 0, counts, 1), values)
        moved[0] = 0.0
        if np.array_equal(chosen, codes) and np.allclose(moved, values, rtol=1e-12, atol=0):
            break
        codes, values = chosen, moved
    whole = np.zeros(weights.shape, np.int64)
    whole[there] = codes
    used = np.unique(np.concatenate([[0], whole.reshape(-1)]))
    return _measured(weights, np.searchsorted(used, whole).astype(np.int32), values[used], pull)


def _cheapest(
    x: Array, mass: Array, values: Array, price: float, lengths: Array, extra: Array
) -> Array:
    """Returns for each weight the value of least cost, chunk by chunk."""
    found = np.empty(len(x), np.int64)
    rows = max(1, _CHUNK // len(values))
    for at in range(0, len(x), rows):
        part = slice(at, at + rows)
        off = x[part, None] - values
        cost = mass[part, None] * off * off / (2 * math.log(2)) + price * lengths
        cost[:, 0] -= (price if price > 0 else 1.0) * extra[part]
        found[part] = cost.argmin(axis=1)
    return found


def _lengths(codes: Array, k: int) -> Array:
    """Returns the bits of each code by how often it is met; a code that nobody has costs as if one had."""
    counts = np.bincount(codes, minlength=k).astype(np.float64)
    lengths: Array = np.log2(max(counts.sum(), 1) / np.maximum(counts, 0.5))
    lengths[0] = 0.0  # what a zero takes is told by ``zero``
    return lengths


def _measured(weights: Array, codes: Array, values: Array, pull: Array | None) -> Shared:
    mass = 1.0 if pull is None else np.maximum(pull, 0)
    off = weights.astype(np.float64) - values[codes]
    counts = np.bincount(codes.reshape(-1), minlength=len(values)).astype(np.float64)
    counts = counts[counts > 0]
    bits = float((counts * np.log2(counts.sum() / counts)).sum()) if len(counts) else 0.0
    loss = float((mass * off * off).sum()) / (2 * math.log(2))
    return Shared(codes, values, loss, bits + VALUE_BITS * (len(values) - 1))


def _check_finite(weights: Array) -> None:
    bad = int((~np.isfinite(weights)).sum())
    if bad:
        raise NonFiniteError(
            f"{bad} of {weights.size} weights are NaN or infinite; such a network cannot be compressed, train it again"
        )
