"""Noise of a regression, from rows that were held out: its variances along λ, and intervals of new targets.

Residuals of training rows are too small where a member over-fits, those of held-out rows are sound. At each λ of a grid two
variances are estimated for each target: the mean squared error of the mean weights; and, for a normal posterior, the noise
variance under which the held-out rows are most likely, as mixtures of normals around draws of the weights.

Shapes: B examples, S draws, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.measure.path import outputs, predictive
from netdial.task import NoiseCurve, Regression
from netdial.task.rehearsal import admit

_DRAWS = 32
FEWEST = 8
"""Held-out rows that it takes to estimate a variance."""
_MOST = 2000
_FLOOR = 1e-8
_SEARCH, _GRID = (math.log(1e-3), math.log(2)), 25
_STEPS = 60


@dataclass(frozen=True)
class Intervals:
    """Central intervals of new targets ``[B, T]``, in the units of the data if the family knows them.

    Attributes:
        lower, upper: their ends.
        mean: mean of the predictive distribution.
        level: probability that a target lies inside.
    """

    lower: Tensor
    upper: Tensor
    mean: Tensor
    level: float

    def covered(self, targets: Tensor) -> Tensor:
        """Returns which targets ``[B, T]``, in the same units, lie inside."""
        return (targets >= self.lower) & (targets <= self.upper)


def calibrate(
    family: Family,
    data: Data,
    *,
    lams: int | Sequence[float] = 9,
    n_samples: int = _DRAWS,
    seed: int = 0,
) -> Regression:
    """Estimates the noise of a regression family from rows that it was not trained on, and notes it in the family.

    ``fit`` does so by itself when it is given validation data.

    Args:
        family: the family; its task then has variances along λ, which likelihoods and intervals use from then on.
        data: held-out rows, at least 8; of more than 2,000 so many are looked at, evenly spaced.
        lams: complexity values, or how many to space evenly over the range.
        n_samples: S, draws of the weights; ignored for points.
        seed: seed of the draws.

    Raises:
        ConfigError: the family's task is no regression.
        DataError: there are too few rows.
    """
    part, task = admit(family.net, data, None, family.task, "held-out part")
    if not isinstance(task, Regression):
        raise ConfigError(
            f"calibrate: the family's task is {task.name}; only a regression has a noise variance"
        )
    if len(part) < FEWEST:
        raise DataError(f"calibrate: {len(part)} held-out rows; give at least {FEWEST}")
    if len(part) > _MOST:
        part = part.select(torch.linspace(0, len(part) - 1, _MOST).long())
    values = sorted(set(family.lams(lams)))
    noise, error = [], []
    for lam in values:
        of_noise, of_error = _variances(family, lam, part, n_samples, seed)
        noise.append(tuple(of_noise.tolist()))
        error.append(tuple(of_error.tolist()))
    known = replace(task, curve=NoiseCurve(tuple(values), tuple(noise), tuple(error)))
    family.learns(known, family.n_data)
    return known


def _variances(
    family: Family, lam: float, part: Dataset, n_samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Returns the noise variance and the mean squared error of the mean weights ``[T]``, float64."""
    targets = part.y.cpu().double()
    least = _FLOOR * targets.var(dim=0).clamp_min(_FLOOR)
    error = (outputs(family.export(lam), part).double() - targets).square().mean(dim=0)
    error = torch.maximum(error, least)
    if family.log_std is None:
        return error, error
    draws = predictive(family, lam, part, n_samples=n_samples, seed=seed).double()
    return most_likely(draws, targets, error), error


def most_likely(draws: Tensor, targets: Tensor, error: Tensor) -> Tensor:
    """Returns the σ² ``[T]`` under which targets are most likely, Σ_n log (1/S) Σ_s N(y_n | f_sn, σ²), to about 1 %.

    The search is over σ²/error from 1/1000 to 2, on a logarithmic grid that is refined once.

    Args:
        draws: f ``[S, B, T]``.
        targets: y ``[B, T]``.
        error: mean squared error of the mean weights ``[T]``.
    """
    squares = (draws - targets).square()
    low, high = torch.full_like(error, _SEARCH[0]), torch.full_like(error, _SEARCH[1])
    best = low
    for _ in range(2):
        grid = low + (high - low) * torch.linspace(0, 1, _GRID).to(error)[:, None]
        worth = torch.stack([_log_likelihood(squares, error * at.exp()) for at in grid])
        top = worth.argmax(dim=0)
        best = grid.gather(0, top[None])[0]
        low = grid.gather(0, (top - 1).clamp_min(0)[None])[0]
        high = grid.gather(0, (top + 1).clamp_max(_GRID - 1)[None])[0]
    return error * best.exp()


def _log_likelihood(squares: Tensor, var: Tensor) -> Tensor:
    """Returns the log-likelihood of each target ``[T]`` of squared errors ``[S, B, T]``, up to a constant."""
    each = torch.logsumexp(-0.5 * squares / var, dim=0) - 0.5 * var.log()
    return each.sum(dim=0)


def intervals(
    family: Family,
    data: Data | Tensor,
    lam: float,
    *,
    level: float = 0.9,
    n_samples: int = _DRAWS,
    seed: int = 0,
) -> Intervals:
    """Returns central intervals of new targets of the member at λ.

    The predictive distribution is the mixture of normals around draws of the weights, or one normal around a point.

    Args:
        family: a regression family whose noise is known: ``fit`` was given validation data, or see ``calibrate``.
        data: inputs ``[B, ...]``, or data with targets, which are not looked at.
        lam: complexity value.
        level: probability that a target lies inside, between 0 and 1.
        n_samples: S, draws of the weights.
        seed: seed of the draws.

    Raises:
        ConfigError: the noise is not known, or an option is out of range.
    """
    if not 0 < level < 1:
        raise ConfigError(f"intervals: level={level:g}; expected a probability between 0 and 1")
    here = family.task.at(lam) if isinstance(family.task, Regression) else None
    if here is None or not here.noise_var:
        raise ConfigError(
            "intervals: the noise of this family is not known; train a regression with validation data (valid=), or call "
            "netdial.measure.calibrate(family, held_out)"
        )
    if isinstance(data, Tensor):
        data = data, data.new_zeros(len(data), len(here.noise_var), dtype=torch.float32)
    part, _ = admit(family.net, data, None, family.task)
    if family.log_std is None:
        means, spread = outputs(family.export(lam), part)[None], here.error_var
    else:
        means, spread = (
            predictive(family, lam, part, n_samples=n_samples, seed=seed),
            here.noise_var,
        )
    means, std = means.double(), torch.tensor(spread, dtype=torch.float64).sqrt()
    tail = (1 - level) / 2
    ends = [quantile(means, std, p) for p in (tail, 1 - tail)]
    lower, upper, mean = (
        found if here.scale is None else here.scale.restore(found)
        for found in (*ends, means.mean(dim=0))
    )
    return Intervals(lower, upper, mean, level)


def quantile(means: Tensor, std: Tensor, p: float) -> Tensor:
    """Returns the quantile ``[B, T]`` of the mixture of normals around S means ``[S, B, T]`` with deviations ``[T]``."""
    reach = std * torch.special.ndtri(torch.tensor([p], dtype=torch.float64)).abs() + 1e-12
    low, high = means.amin(dim=0) - reach, means.amax(dim=0) + reach
    for _ in range(_STEPS):
        middle = (low + high) / 2
        below = torch.special.ndtr((middle - means) / std).mean(dim=0) < p
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    found: Tensor = (low + high) / 2
    return found
