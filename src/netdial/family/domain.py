"""Domain: the range of complexity values that a family covers.

Source: Grebenkova et al. 2022, §3: log λ ~ U[L, R]. With lo = 10^L and hi = 10^R the unit coordinate
``u = (log λ - log lo) / (log hi - log lo)`` is uniform on [0, 1]; maps see u, people see λ.
The base of the logarithm does not matter to the law; the paper's L and R are decimal exponents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.arguments import checked, checked_fields
from netdial.core.errors import ConfigError

_ROUNDING = 1e-6  # an end of the range that went through single precision is still inside


@checked_fields
@dataclass(frozen=True)
class Domain:
    """Complexity values λ in [lo, hi], log-uniform.

    Raises:
        ConfigError: unless 0 < lo < hi < infinity.
    """

    lo: float
    hi: float

    def __post_init__(self) -> None:
        if not (0 < self.lo < self.hi < math.inf):
            raise ConfigError(
                f"Domain(lo={self.lo:g}, hi={self.hi:g}): expected 0 < lo < hi < inf; "
                "complexity runs on a logarithmic scale, so zero cannot be its lower end"
            )

    def unit(self, lam: Tensor) -> Tensor:
        """Returns the unit coordinates ``[L]`` (float64) of complexity values ``[L]``.

        Raises:
            ConfigError: a value lies outside the trained range. Nothing is extrapolated.
        """
        lam = lam.to(torch.float64)
        span = math.log(self.hi / self.lo)
        unit = (lam / self.lo).log() / span
        outside = ~((unit >= -_ROUNDING) & (unit <= 1 + _ROUNDING))
        if bool(outside.any()):
            bad = ", ".join(f"{value:g}" for value in lam[outside].tolist())
            raise ConfigError(
                f"lam={bad}: outside the trained range [{self.lo:g}, {self.hi:g}] (log scale); "
                "choose a value inside it, or train with a wider range"
            )
        return unit.clamp(0, 1)

    def lam(self, unit: Tensor) -> Tensor:
        """Returns the complexity values of unit coordinates, the inverse of ``unit``."""
        return self.lo * (unit.to(torch.float64) * math.log(self.hi / self.lo)).exp()

    @property
    def mean(self) -> float:
        """Unit coordinate of E λ, the mean of the values themselves: in the upper half of the range of their logarithms."""
        span = math.log(self.hi / self.lo)
        return math.log((self.hi / self.lo - 1) / span) / span

    @checked
    def grid(self, count: int) -> list[float]:
        """Returns ``count`` values evenly spaced on the log scale, both ends included (the middle if 1)."""
        if count < 1:
            raise ConfigError(f"Domain.grid: count={count}; expected at least 1")
        unit = (
            torch.linspace(0, 1, count, dtype=torch.float64) if count > 1 else torch.tensor([0.5])
        )
        values: list[float] = self.lam(unit).tolist()
        return [float(f"{value:.12g}") for value in values]

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Returns unit coordinates ``[count]`` drawn independently (the 2021 paper draws 5, the 2022 paper 1)."""
        return torch.rand(count, generator=generator, dtype=torch.float64)

    def stratified(self, count: int, generator: torch.Generator) -> Tensor:
        """Returns unit coordinates ``[count]``, one uniform in each of ``count`` equal strata.

        The mean of any function over them is an unbiased estimate of its mean over the law, with a variance never
        above that of independent draws.
        """
        strata = torch.arange(count, dtype=torch.float64)
        return (strata + self.sample(count, generator)) / count
