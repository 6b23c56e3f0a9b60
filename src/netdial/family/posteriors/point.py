"""Point posterior: a number without a spread.

A point has no finite divergence from a normal prior. What is said instead is how far the prior's density falls from its peak
to the point, ‖w‖² / 2s²: the negative log prior of the mode, up to a constant (maximum a posteriori).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from netdial.core.noise import Noise
from netdial.family.posteriors.seam import POSTERIORS, Divergence, Field, Values


class Point:
    """A value for each number."""

    fields: Mapping[str, Field] = {"mean": Field(lambda leaf, log_std: leaf)}
    random = False
    temperature = 0.0

    def mean(self, fields: Values) -> Tensor:
        """Returns the values."""
        return fields["mean"]

    def sample(self, fields: Values, noise: Noise, temperature: float) -> Tensor:
        """Returns the values."""
        return fields["mean"]

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        """Returns ‖w‖² / 2s², in place of a divergence."""
        return Divergence(fields["mean"].flatten(1).square().sum(dim=1) / (2 * prior_var))


POSTERIORS.add("point")(Point())
