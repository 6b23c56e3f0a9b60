"""Schedules: plain functions from an optimiser step to a factor; and length and rate of training where nobody says.

A family needs some thousand steps, however few rows there are: 25 passes in batches of 256, which suit 54,000 images, are 25
steps for a table of 200 rows, and leave most of the loss where it was (measured: `docs/experiments.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]

_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 4000, 10, 250
USUAL_RATE = 4e-3
"""Peak learning rate of Adam."""
_COLUMNS, _ROWS_A_COLUMN = 45, 2
"""Columns at which a family of perceptrons has that rate; rows for each column from which more columns do not lower it."""
_BATCHES = (32, 64, 128, 256)
_PER_BATCH = 50
"""Batches in an epoch up to which batches stay as small as they are."""


def constant() -> Schedule:
    """Returns the schedule that is 1 at every step."""
    return lambda step: 1.0


def cosine(steps: int) -> Schedule:
    """Returns a half cosine from 1 at step 0 to 0 at the end."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0)))


def onecycle(steps: int, rise: float = 0.3, start: float = 0.04) -> Schedule:
    """Returns a rise along a half cosine from ``start`` to 1, then a fall to 0 (Smith & Topin 2018).

    >>> schedule = onecycle(100)
    >>> [round(schedule(step), 2) for step in (0, 30, 65, 100)]
    [0.04, 1.0, 0.5, 0.0]

    Args:
        steps: length of the cycle in optimiser steps.
        rise: share of the cycle spent rising.
        start: factor at step 0.
    """
    top = max(rise * steps, 1.0)

    def factor(step: int) -> float:
        if step < top:
            return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / top))
        return 0.5 * (1 + math.cos(math.pi * min((step - top) / max(steps - top, 1.0), 1.0)))

    return factor


def linear_warmup(steps: float) -> Schedule:
    """Returns a straight rise from 0 to 1 over ``steps``, 1 from then on; 1 everywhere if ``steps`` is 0."""
    return lambda step: min((step + 1) / steps, 1.0) if steps > 0 else 1.0


def usual_batch_size(n_rows: int) -> int:
    """Returns the usual number of examples in a batch, 32 to 256.

    >>> [usual_batch_size(n) for n in (100, 5_000, 54_000)]
    [32, 128, 256]
    """
    return next((size for size in _BATCHES if n_rows <= _PER_BATCH * size), _BATCHES[-1])


def usual_epochs(steps: int) -> int:
    """Returns the usual number of epochs of so many steps each: 10 to 250, for some 4,000 steps where it can be.

    >>> [usual_epochs(steps) for steps in (4, 20, 211, 1_000)]
    [250, 200, 19, 10]
    """
    return min(max(round(_STEPS / steps), _FEWEST_EPOCHS), _MOST_EPOCHS)


def usual_rate(n_rows: int, n_columns: int) -> float:
    """Returns the usual peak learning rate of Adam for a family of perceptrons of so many inputs: 0.001 to 0.016.

    It falls with the columns to the power of 0.7, where there are more than 45 only as long as rows are few beside them: a low
    rate keeps a network from fitting rows that are fewer than its inputs, and with many rows it is training that is too slow.
    Measured, see the experiments; there is no theory behind it.

    >>> [round(usual_rate(n, c), 4) for n, c in ((150, 10), (300, 45), (150, 784), (50_000, 784))]
    [0.0115, 0.004, 0.001, 0.004]
    """
    power = 0.7
    if n_columns > _COLUMNS:
        power /= 1 + (n_rows / (_ROWS_A_COLUMN * n_columns)) ** 2
    rate = USUAL_RATE * math.pow(_COLUMNS / n_columns, power)
    return min(max(rate, USUAL_RATE / 4), USUAL_RATE * 4)
