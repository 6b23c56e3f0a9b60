"""Noise of a regression, from rows that were held out: its law along λ, and intervals of new targets.

Residuals of training rows are too small where a member over-fits, those of held-out rows are sound. At each λ of a grid two
laws are estimated for each target: that of the errors of the mean weights; and, for a normal posterior, that of the noise under
which the held-out rows are most likely, as mixtures around draws of the weights. Both are normal, or Student's with the degrees
of freedom that make the errors likeliest, if that gains more than ½ log (number of errors) nats.

Intervals are as wide as held-out errors ask for, whatever their law (``task.noise.held_out_reach``): a new row lies inside with
at least the probability that was asked for if it is drawn as the held-out rows were. λ is often chosen on the same rows; a
choice among few members makes intervals a little too narrow.

Shapes: B examples, S draws, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from torch import Tensor

from netdial.core.arguments import Count, checked
from netdial.core.errors import ConfigError, DataError, ShapeError
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.measure.forward import FamilyForward, Forward, outputs, predictive
from netdial.measure.portrait import ROUNDED
from netdial.task import DenseRegression, NoiseCurve, Regression, Task
from netdial.task.noise import UNKNOWN, Rows, half_width, held_out_reach, log_density
from netdial.task.rehearsal import admit

_DRAWS = 32
FEWEST = 8
"""Held-out rows that it takes to estimate a variance."""
_MOST = 2000
_FLOOR = 1e-8
_SEARCH, _GRID, _PASSES = (math.log(1e-5), math.log(2)), 25, 3
_TAILS = (1 / 30, 1 / 10, 1 / 5, 1 / 3)


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

    def covered(self, targets: Tensor | Dataset) -> Tensor:
        """Returns which targets ``[B, T]`` lie inside; half-widths are held-out errors, and a row with that error does.

        Args:
            targets: in the units of the intervals; or the rows themselves, ``splits.test``, which know their units.

        Raises:
            ShapeError: there are not as many as there are intervals.
        """
        if isinstance(targets, Dataset):
            y = targets.y.to(self.lower)
            y = y if targets.target is None else targets.target.restore(y)
        else:
            y = torch.as_tensor(targets).to(self.lower)
        y = y[:, None] if y.ndim == 1 else y
        if y.shape != self.lower.shape:
            raise ShapeError(
                f"covered: targets {list(y.shape)} for intervals {list(self.lower.shape)}; give one for each interval"
            )
        slack = (self.upper - self.lower) / 2 * ROUNDED
        return (y >= self.lower - slack) & (y <= self.upper + slack)


@checked
@in_usual_modes
def calibrate(
    family: Family,
    data: Data,
    *,
    lams: int | Sequence[float] = 9,
    n_samples: Count = _DRAWS,
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
    part, task = admit(family.net, data, None, family.task, "held-out part", family.columns)
    if not isinstance(task, Regression):
        raise ConfigError(
            f"calibrate: the family's task is {task.name}; only a regression has a noise variance"
        )
    if len(part) < FEWEST:
        raise DataError(f"calibrate: {len(part)} held-out rows; give at least {FEWEST}")
    if len(part) > _MOST:
        part = part.select(torch.linspace(0, len(part) - 1, _MOST).long())
    values = sorted(set(family.lams(lams)))
    return note_noise(family, task, part.y, FamilyForward(family, part), values, n_samples, seed)


def lacks_noise(task: Task | None, rows: int) -> TypeGuard[Regression]:
    """Returns whether a task is a regression whose noise is not known, and so many held-out rows can tell it."""
    return isinstance(task, Regression) and not task.noise_var and rows >= FEWEST


def with_errors(task: Task, outputs: Tensor, targets: Tensor) -> Task:
    """Returns the task of a network whose errors on held-out rows are its noise, as that of members is; else the task.

    Args:
        task: what is predicted.
        outputs: of the network on the rows ``[B, ...]``.
        targets: of these rows.
    """
    if not lacks_noise(task, len(targets)):
        return task
    law = law_of(outputs.double().cpu() - targets.cpu().double(), targets.cpu())
    rows = ((law.var,), (law.var,), (law.tails,), (law.reach,), (law.reach,))
    return replace(task, curve=NoiseCurve((1.0,), *rows))


def under_errors(task: Task, outputs: Tensor, targets: Tensor) -> Task:
    """Returns the task whose likelihood is under the errors of one network; arguments as of ``with_errors``."""
    if isinstance(task, DenseRegression):
        squares = (outputs.double().cpu() - targets.double().cpu()).square()
        return replace(task, noise_var=max(float(squares.mean()), _FLOOR))
    found = with_errors(task, outputs, targets)
    return task if found is task else found.at(1.0).plugged_in()


def forget_noise(family: Family) -> None:
    """Forgets the noise that was estimated of a regression: its weights have changed, and so have its errors."""
    if isinstance(family.task, Regression) and family.task.curve is not None:
        family.learns(replace(family.task, curve=None), family.n_data)


def note_noise(
    family: Family,
    task: Regression,
    targets: Tensor,
    forward: Forward,
    values: Sequence[float],
    n_samples: int = _DRAWS,
    seed: int = 0,
) -> Regression:
    """Notes in a family the noise of held-out targets ``[B, T]`` whose outputs ``forward`` gives; see ``calibrate``."""
    targets = targets.cpu().double()
    samples = n_samples if family.is_random else 0
    laws = [_laws(forward, lam, targets, samples, seed) for lam in values]
    around, plain = zip(*laws, strict=True)
    curve = NoiseCurve(
        tuple(values),
        tuple(law.var for law in around),
        tuple(law.var for law in plain),
        tuple(law.tails for law in plain),
        tuple(law.reach for law in around),
        tuple(law.reach for law in plain),
    )
    known = replace(task, curve=curve)
    family.learns(known, family.n_data)
    return known


@dataclass(frozen=True)
class Law:
    """Law of the errors of T targets; see ``task.noise``.

    Attributes:
        var: squared scales ``[T]``.
        tails: 1/ν; 0 for the normal law.
        reach: half-widths of intervals ``[Q, T]`` in units of the scale.
    """

    var: tuple[float, ...]
    tails: float
    reach: Rows


def law_of(errors: Tensor, targets: Tensor) -> Law:
    """Returns the law of errors ``[B, T]`` that a network makes on held-out targets ``[B, T]``."""
    errors, targets = errors.double(), targets.double()
    squares, mean = errors.square()[None], _mean_square(errors, targets)
    fits = {0.0: mean} | {tail: _likeliest(squares, mean, tail) for tail in _TAILS}
    worth = {tail: float(_log_likelihood(squares, var, tail).sum()) for tail, var in fits.items()}
    tails = max(worth, key=worth.__getitem__)
    if len(errors) < FEWEST or worth[tails] - worth[0.0] < 0.5 * math.log(errors.numel()):
        tails = 0.0
    var = fits[tails]
    return Law(tuple(var.tolist()), tails, held_out_reach(errors.abs() / var.sqrt()))


def _mean_square(errors: Tensor, targets: Tensor) -> Tensor:
    """Returns mean squared errors ``[T]``, positive."""
    spread = targets.var(dim=0, correction=0).clamp_min(_FLOOR)
    return torch.maximum(errors.square().mean(dim=0), _FLOOR * spread)


def _laws(
    forward: Forward, lam: float, targets: Tensor, n_samples: int, seed: int
) -> tuple[Law, Law]:
    """Returns the laws of the noise around draws, and of the errors of the mean weights."""
    errors = forward.means(lam).double() - targets
    plain = law_of(errors, targets)
    if not n_samples:
        return plain, plain
    draws = forward.draws(lam, n_samples, seed).double()
    var = most_likely(draws, targets, _mean_square(errors, targets), plain.tails)
    scores = (draws.mean(dim=0) - targets).abs() / _spread(draws, var)
    return Law(tuple(var.tolist()), plain.tails, held_out_reach(scores)), plain


def _spread(draws: Tensor, var: Tensor) -> Tensor:
    """Returns the scale of new targets ``[B, T]``: that of the noise and the spread of the draws ``[S, B, T]``."""
    return (var + draws.var(dim=0, correction=0)).sqrt()


def most_likely(draws: Tensor, targets: Tensor, error: Tensor, tails: float = 0.0) -> Tensor:
    """Returns the s² ``[T]`` under which targets are most likely, Σ_n log (1/S) Σ_s p(y_n | f_sn, s²), to 1 %.

    The search is over s²/error from 1/100,000 to 2, on a logarithmic grid that is refined twice.

    Args:
        draws: f ``[S, B, T]``.
        targets: y ``[B, T]``.
        error: mean squared error of the mean weights ``[T]``.
        tails: 1/ν.
    """
    return _likeliest((draws - targets).square(), error, tails)


def _likeliest(squares: Tensor, error: Tensor, tails: float) -> Tensor:
    low, high = torch.full_like(error, _SEARCH[0]), torch.full_like(error, _SEARCH[1])
    best = low
    for _ in range(_PASSES):
        grid = low + (high - low) * torch.linspace(0, 1, _GRID).to(error)[:, None]
        worth = torch.stack([_log_likelihood(squares, error * at.exp(), tails) for at in grid])
        top = worth.argmax(dim=0)
        best = grid.gather(0, top[None])[0]
        low = grid.gather(0, (top - 1).clamp_min(0)[None])[0]
        high = grid.gather(0, (top + 1).clamp_max(_GRID - 1)[None])[0]
    return error * best.exp()


def _log_likelihood(squares: Tensor, var: Tensor, tails: float) -> Tensor:
    """Returns the log-likelihood of each target ``[T]`` of squared errors ``[S, B, T]``."""
    each = torch.logsumexp(log_density(squares, var, tails), dim=0) - math.log(len(squares))
    return each.sum(dim=0)


@checked
@in_usual_modes
def intervals(
    family: Family,
    data: Data | Tensor,
    lam: float,
    *,
    level: float = 0.9,
    n_samples: Count = _DRAWS,
    seed: int = 0,
) -> Intervals:
    """Returns central intervals of new targets of the member at λ.

    They lie around the mean of the draws, or the output of the weights for points. Their width is in proportion to
    √(s² + variance of the draws) at each row, times what held-out rows ask for.

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
        raise ConfigError(f"intervals: {UNKNOWN}")
    if isinstance(data, Tensor):
        data = data, data.new_zeros(len(data), len(here.noise_var), dtype=torch.float32)
    part, _ = admit(family.net, data, None, family.task, columns=family.columns)
    if not family.is_random:
        centre = outputs(family.export(lam), part).double()
        var, reach = here.error_var or here.noise_var, here.error_reach
        draws = centre[None]
    else:
        draws = predictive(family, lam, part, n_samples=n_samples, seed=seed).double()
        centre, var, reach = draws.mean(dim=0), here.noise_var, here.reach
    spread = _spread(draws, torch.tensor(var, dtype=torch.float64))
    half = spread * half_width(reach, level, spread.shape[-1])
    lower, upper, mean = (
        found if here.scale is None else here.scale.restore(found)
        for found in (centre - half, centre + half, centre)
    )
    return Intervals(lower, upper, mean, level)
