"""LossVerdict: whether something made of a network loses nothing against a control, by a paired test with a margin.

Not to find a difference is no proof that there is none. So the claim is tested the other way round (non-inferiority): the upper
confidence bound of the loss above the control's, paired on the same examples and over several seeds, has to lie below a margin
that is said. The margin goes without saying as twice the standard error of the control's own metric: what the examples at hand
could not tell apart.

Shapes: S seeds, N examples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from netdial.core.best import signed
from netdial.core.errors import ConfigError, ShapeError

FEWEST_SEEDS = 5
"""Seeds without which nothing is claimed."""

_T95 = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
)
"""95 % points of Student's law with 1, 2, … degrees of freedom; beyond, the last, which errs on the safe side."""


@dataclass(frozen=True)
class LossVerdict:
    """Result of the test.

    Attributes:
        seeds: how many pairs were compared.
        excess: mean loss above that of the control, lower is better.
        error: its standard error, over seeds and examples.
        bound: upper 95 % confidence bound of the excess.
        margin: what the bound has to stay below.
    """

    seeds: int
    excess: float
    error: float
    bound: float
    margin: float

    @property
    def no_loss(self) -> bool:
        """Whether there is no loss by this test: enough seeds, and the bound below the margin."""
        return self.seeds >= FEWEST_SEEDS and self.bound < self.margin

    def words(self, unit: str = "", scale: float = 1.0) -> str:
        """Returns the verdict in a sentence; the words "no loss" stand in it only where that was shown.

        Args:
            unit: of the loss, behind each number.
            scale: what numbers are multiplied with, 100 for points of accuracy.
        """
        unit = f" {unit}" if unit else ""
        numbers = (
            f"{signed(scale * self.excess, '+.3g')} ± {scale * self.error:.2g}{unit} against the control, at most "
            f"{signed(scale * self.bound, '.3g')}{unit} (95 %), margin {scale * self.margin:.3g}{unit}, seeds: {self.seeds}"
        )
        if self.no_loss:
            return f"no loss: {numbers}"
        if self.seeds < FEWEST_SEEDS:
            return f"not judged, {FEWEST_SEEDS} seeds or more are needed: {numbers}"
        return f"a loss cannot be ruled out: {numbers}"


def verdict(terms: Tensor, control: Tensor, margin: float | None = None) -> LossVerdict:
    """Returns the verdict on losses of examples ``[S, N]`` against those of a control trained by the same recipe.

    Args:
        terms: loss of each example, for each seed, lower is better.
        control: the same of the control of that seed.
        margin: what may be lost; by default twice the standard error of the control's mean loss over examples.

    Raises:
        ShapeError: the two differ in shape, or are no ``[S, N]`` with two examples or more.
        ConfigError: the margin is not a positive number.
    """
    if terms.shape != control.shape or terms.ndim != 2 or terms.shape[1] < 2:
        raise ShapeError(
            f"losses {list(terms.shape)} and control {list(control.shape)}; give two of the same shape [seeds, examples]"
        )
    gaps = (terms - control).double()
    seeds, count = gaps.shape
    if margin is None:
        margin = 2 * float(control.double().mean(dim=0).std()) / math.sqrt(count)
    if not (math.isfinite(margin) and margin > 0):
        raise ConfigError(f"margin={margin:g}: expected a positive number")
    among = float(gaps.mean(dim=1).var()) / seeds if seeds > 1 else 0.0
    over = float(gaps.mean(dim=0).var()) / count
    error = math.sqrt(among + over)
    excess = float(gaps.mean())
    factor = _T95[min(max(seeds - 1, 1), len(_T95)) - 1]
    return LossVerdict(seeds, excess, error, excess + factor * error, margin)
