"""Size in the loss of a search: FBNet's product with a logarithm of the latency, a sum, a hinge, a multiplier.

Sizes are expected ones (``SizeTable.expected``) in any unit, latencies in milliseconds; all return the loss that is minimised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, unknown

LatencyUnit = Literal["s", "ms", "us"]
_PER_MS: dict[str, float] = {"s": 1e-3, "ms": 1.0, "us": 1e3}


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name}={value}; expected a finite number above 0")


def _from_zero(name: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ConfigError(f"{name}={value}; expected a finite number from 0 on")


@dataclass(frozen=True)
class FbnetTerm:
    """L · λ₁ log^λ₂ LAT: the logarithm to the power λ₂, not the logarithm of a power (Wu et al. 2019).

    Attributes:
        weight: λ₁, above 0.
        power: λ₂, above 0.
        unit: of LAT, in which every latency has to be above 1, or its logarithm is no positive number.
    """

    weight: float = 0.2
    power: float = 0.6
    unit: LatencyUnit = "us"

    def __post_init__(self) -> None:
        _positive("weight", self.weight)
        _positive("power", self.power)
        if self.unit not in _PER_MS:
            raise unknown("unit", self.unit, _PER_MS)

    def check(self, lowest_ms: float) -> None:
        """Refuses the unit if the fastest structure does not take more than 1 in it.

        Raises:
            ConfigError: it does not; the units that would do are named.
        """
        if lowest_ms * _PER_MS[self.unit] > 1:
            return
        fit = [unit for unit, factor in _PER_MS.items() if lowest_ms * factor > 1]
        raise ConfigError(
            f"latency {lowest_ms * _PER_MS[self.unit]:.4g} {self.unit} is not above 1, so log(LAT) is not above 0; "
            f"choose a smaller unit: {' or '.join(fit) or 'none of s, ms, us is small enough'}"
        )

    def __call__(self, loss: Tensor, lat: Tensor) -> Tensor:
        """Returns L · λ₁ (log LAT)^λ₂.

        Raises:
            ConfigError: a latency is at most 1 in the unit.
        """
        self.check(float(lat.detach().min()))
        return loss * self.weight * torch.log(lat * _PER_MS[self.unit]) ** self.power


@dataclass(frozen=True)
class AdditiveTerm:
    """L + λ₁ size / scale.

    Attributes:
        weight: λ₁, at least 0.
        scale: the size that costs λ₁, for example the largest.
    """

    weight: float
    scale: float

    def __post_init__(self) -> None:
        _from_zero("weight", self.weight)
        _positive("scale", self.scale)

    def __call__(self, loss: Tensor, size: Tensor) -> Tensor:
        """Returns the sum."""
        return loss + self.weight * size / self.scale


@dataclass(frozen=True)
class HingeTerm:
    """L + λ₁ |L| max(0, size / limit - 1): nothing below the limit.

    The factor |L|, held, is the loss of the moment, so that λ₁ needs no unit of it.

    Attributes:
        limit: the limit.
        weight: λ₁, at least 0: what a size of twice the limit adds, in units of the loss.
    """

    limit: float
    weight: float = 2.0

    def __post_init__(self) -> None:
        _positive("limit", self.limit)
        _from_zero("weight", self.weight)

    def __call__(self, loss: Tensor, size: Tensor) -> Tensor:
        """Returns the loss with the hinge."""
        return loss + self.weight * loss.detach().abs() * (size / self.limit - 1).clamp_min(0)


@dataclass(frozen=True)
class ConstrainedTerm:
    """L + μ (size / limit - 1), with a multiplier μ that grows while the limit is exceeded and falls to 0 where it is not.

    The multiplier is the caller's, one number beside the logits; so the term is a value without memory.

    Attributes:
        limit: the limit.
        rate: how fast the multiplier moves, per step.
    """

    limit: float
    rate: float = 0.05

    def __post_init__(self) -> None:
        _positive("limit", self.limit)
        _positive("rate", self.rate)

    def __call__(self, loss: Tensor, size: Tensor, multiplier: Tensor | float) -> Tensor:
        """Returns the Lagrangian."""
        return loss + multiplier * (size / self.limit - 1)

    def ascended(self, multiplier: float, size: Tensor) -> float:
        """Returns the multiplier after a step up the dual: never below 0."""
        excess = float(size.detach().mean()) / self.limit - 1
        return max(0.0, multiplier + self.rate * excess)
