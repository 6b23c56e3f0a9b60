"""Schedules: plain functions from an optimiser step to a factor."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


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
