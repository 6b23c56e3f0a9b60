"""Diagonal normal posterior: every number has a mean and a standard deviation of its own.

KL = ½ Σ [ (σ² + μ²) / s² - 1 - log σ² + log s² ]        against N(0, s²)        (Graves 2011, eq. 15, zero prior mean)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from netdial.core.noise import Noise
from netdial.family.posteriors.seam import POSTERIORS, Divergence, Field, Values


class Normal:
    """N(mean, exp(log_std)²) for each number."""

    fields: Mapping[str, Field] = {
        "mean": Field(lambda leaf, log_std: leaf),
        "log_std": Field(torch.full_like, additive=True, spread=True),
    }
    random = True
    temperature = 0.0

    def mean(self, fields: Values) -> Tensor:
        """Returns the means."""
        return fields["mean"]

    def sample(self, fields: Values, noise: Noise, temperature: float) -> Tensor:
        """Returns draws, differentiable by both fields at any temperature."""
        mean = fields["mean"]
        drawn = noise.normal(*mean.shape[1:], dtype=mean.dtype)
        return torch.addcmul(mean, fields["log_std"].exp(), drawn)

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        """Returns KL(q || N(0, prior_var)), exact."""
        mean, log_var = fields["mean"].flatten(1), 2 * fields["log_std"].flatten(1)
        ratio = (mean.square() + log_var.exp()) / prior_var[:, None]
        each = ratio - 1 - log_var + prior_var.log()[:, None]
        return Divergence(0.5 * each.sum(dim=1))


POSTERIORS.add("normal")(Normal())
