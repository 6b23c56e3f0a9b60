"""Temperature schedules: τ as a function of how far a search has come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from netdial.core.errors import ConfigError, unknown
from netdial.family.posteriors import check_temperature

Shape = Literal["constant", "linear", "exponential", "cosine"]
SHAPES: tuple[Shape, ...] = ("constant", "linear", "exponential", "cosine")


@dataclass(frozen=True)
class Anneal:
    """A temperature that goes from ``start`` to ``end``.

    >>> tau = Anneal(5.0, 0.05)
    >>> [round(tau(progress), 2) for progress in (0, 0.5, 1)]
    [5.0, 0.5, 0.05]

    Attributes:
        start: τ at the start, above 0.
        end: τ at the end, above 0.
        shape: ``exponential`` (equal factors in equal times), ``linear``, ``cosine``, or ``constant`` (``start`` all along).
    """

    start: float = 1.0
    end: float = 0.1
    shape: Shape = "exponential"

    def __post_init__(self) -> None:
        check_temperature(self.start)
        check_temperature(self.end)
        if self.shape not in SHAPES:
            raise unknown("shape of a temperature schedule", self.shape, SHAPES)

    def __call__(self, progress: float) -> float:
        """Returns τ.

        Args:
            progress: share of the search that is over, 0 … 1.

        Raises:
            ConfigError: it is not in that range.
        """
        if not 0 <= progress <= 1:
            raise ConfigError(f"progress={progress}; expected a share from 0 to 1")
        if self.shape == "constant":
            return self.start
        if self.shape == "exponential":
            return float(self.start * (self.end / self.start) ** progress)
        gone = progress if self.shape == "linear" else 0.5 * (1 - math.cos(math.pi * progress))
        return self.start + gone * (self.end - self.start)
