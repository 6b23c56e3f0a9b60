"""Law of a regression's errors: a scale for each target, tails, and half-widths of intervals, along λ.

Errors of target t follow a Student's law of squared scale s_t² and ν degrees of freedom, or a normal law (1/ν = 0):

    log p(e) = log Γ((ν+1)/2) - log Γ(ν/2) - ½ log(π ν s²) - (ν+1)/2 log(1 + e²/(ν s²)),   variance s² / (1 - 2/ν)

Few rows with errors of many standard deviations, as tables of prices or of employment have, would else set the variance of all
others. Half-widths of intervals come from no law: they are quantiles of held-out errors (split conformal prediction; Lei et
al. 2018), noted at the probabilities ``LEVELS``.

Shapes: L complexity values, Q levels, T targets, M members, B examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.errors import ConfigError

Row = tuple[float, ...]
Rows = tuple[Row, ...]

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Probabilities at which half-widths are noted."""

UNKNOWN = (
    "the noise of this family is not known, since no rows were held out: train with a validation part of 8 rows or more "
    "(valid=), or call netdial.measure.calibrate(family, held_out)"
)
"""What is said wherever the noise is needed and not known."""

_LIGHT = 1e-4
"""1/ν below which a Student's law is taken for the normal one; they differ by less than rounding in float32."""


def log_density(squares: Tensor, var: Tensor, tails: float | Sequence[float] = 0.0) -> Tensor:
    """Returns the log density of errors with these squares ``[..., B, T]``, in nats.

    Args:
        squares: squared errors; with one law for each member, ``[M, B, T]``.
        var: squared scales ``[T]``, or of each member ``[M, 1, T]``.
        tails: 1/ν, or of each member ``[M]``.
    """
    if not isinstance(tails, float | int):
        each = [
            log_density(*one)
            for one in zip(squares, var.expand(len(squares), 1, -1), tails, strict=True)
        ]
        return torch.stack(each)
    ratio = squares / var
    if tails < _LIGHT:
        return -0.5 * (ratio + var.log() + math.log(2 * math.pi))
    nu = 1 / tails
    constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(math.pi * nu)
    return constant - 0.5 * var.log() - 0.5 * (nu + 1) * torch.log1p(tails * ratio)


def half_width(reach: Rows, level: float, count: int) -> Tensor:
    """Returns half the width of a central interval in units of the scale ``[T]``, float64.

    Half-widths are piecewise linear in the quantile z of the normal law that belongs to the level, from 0 at z = 0, and in
    proportion to z beyond the last of ``LEVELS``.

    Args:
        reach: half-widths ``[Q, T]`` at ``LEVELS``; empty for those of the normal law.
        level: probability inside, in (0, 1).
        count: T.
    """
    z = _normal(level)
    if not reach:
        return torch.full((count,), z, dtype=torch.float64)
    knots = [0.0, *(_normal(at) for at in LEVELS)]
    values = torch.tensor([[0.0] * count, *reach], dtype=torch.float64)
    if z >= knots[-1]:
        return values[-1] * z / knots[-1]
    right = next(i for i, knot in enumerate(knots) if knot > z)
    part = (z - knots[right - 1]) / (knots[right] - knots[right - 1])
    return torch.lerp(values[right - 1], values[right], part)


def held_out_reach(scores: Tensor) -> Rows:
    """Returns half-widths ``[Q, T]`` at ``LEVELS`` from absolute errors of held-out rows in units of the scale ``[B, T]``.

    That at probability p is the error of rank ⌈(B + 1) p⌉, which a new error exceeds with a probability of at most 1 - p. Where
    there are too few rows for it, the largest error is stretched as a normal law would have it.
    """
    ordered, rows = scores.double().sort(dim=0)[0].clamp_min(1e-12), len(scores)
    found = []
    for level in LEVELS:
        rank = math.ceil((rows + 1) * level - 1e-9)
        stretch = 1.0 if rank <= rows else _normal(level) / _normal(rows / (rows + 1))
        found.append(tuple((ordered[min(rank, rows) - 1] * stretch).tolist()))
    return tuple(found)


def _normal(level: float) -> float:
    """Returns half the width of the central interval of a standard normal."""
    return float(torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=torch.float64)))


@dataclass(frozen=True)
class NoiseCurve:
    """Laws of the errors along λ in units of standardised targets; between λ logarithms are interpolated, and 1/ν as it is.

    Attributes:
        lams: L complexity values, rising.
        noise: squared scales ``[L, T]`` of the noise around draws from the posterior; variances if ``tails`` is 0.
        error: squared scales ``[L, T]`` of the errors of the mean weights.
        tails: 1/ν ``[L]``; empty for normal laws.
        reach: half-widths of intervals ``[L, Q, T]`` at ``LEVELS`` around the mean of the draws, in units of
            √(noise + variance of the draws); empty for those of the normal law.
        error_reach: the same around the outputs of the mean weights, in units of √error.
    """

    lams: Row
    noise: Rows
    error: Rows
    tails: Row = ()
    reach: tuple[Rows, ...] = ()
    error_reach: tuple[Rows, ...] = ()

    def __post_init__(self) -> None:
        """Refuses values that are no laws along λ."""
        rows = [*self.noise, *self.error]
        if not len(self.lams) == len(self.noise) == len(self.error) or not self.lams:
            raise ConfigError(
                f"noise: {len(self.lams)} values of lam, {len(self.noise)} and {len(self.error)} rows of variances; "
                "expected as many of each, at least one"
            )
        if not _positive(rows) or not min(self.lams) > 0:
            raise ConfigError("noise: expected a positive variance for each lam and target")
        if self.tails and (
            len(self.tails) != len(self.lams) or not all(0 <= tail < 0.5 for tail in self.tails)
        ):
            raise ConfigError("noise: expected tails (1/ν) from 0 to below ½ for each lam")
        for reach in (self.reach, self.error_reach):
            if reach and (
                len(reach) != len(self.lams)
                or any(len(each) != len(LEVELS) for each in reach)
                or not _positive([*self.noise, *(row for each in reach for row in each)])
            ):
                raise ConfigError(
                    f"noise: expected positive half-widths at {len(LEVELS)} levels for each lam and target"
                )

    def at(self, lam: float) -> dict[str, Row | Rows | float]:
        """Returns the law at λ, that of the nearest end beyond the range: values of ``Regression``'s attributes."""
        place, last = math.log(lam), len(self.lams) - 1
        knots = [math.log(each) for each in self.lams]
        right = min(next((i for i, knot in enumerate(knots) if knot > place), last), last)
        left = max(right - 1, 0)
        width = knots[right] - knots[left]
        part = min(max((place - knots[left]) / width, 0.0), 1.0) if width else 0.0

        def mixed(rows: Sequence[Row]) -> Row:
            pairs = zip(rows[left], rows[right], strict=True)
            return tuple(a ** (1 - part) * b**part for a, b in pairs)

        def stacked(reach: Sequence[Rows]) -> Rows:
            return tuple(mixed(level) for level in zip(*reach, strict=True)) if reach else ()

        tails = self.tails or (0.0,) * len(self.lams)
        return {
            "noise_var": mixed(self.noise),
            "error_var": mixed(self.error),
            "tails": (1 - part) * tails[left] + part * tails[right],
            "reach": stacked(self.reach),
            "error_reach": stacked(self.error_reach),
        }


def _positive(rows: Sequence[Row]) -> bool:
    """Returns whether rows are of one length and hold positive, finite numbers."""
    positive = all(0 < value < math.inf for row in rows for value in row)
    return positive and len({len(row) for row in rows}) == 1
