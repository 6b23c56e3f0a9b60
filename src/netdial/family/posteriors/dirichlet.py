"""Dirichlet posterior Dir(s, τ): the interior of a simplex, at vertices as τ → 0, near s / Σs as τ → ∞.

q(γ) = Γ(Σ α) / Π Γ(α_k) · Π γ_k^(α_k - 1),        α = τ s

KL(Dir(α) || Dir(β)) = log Γ(Σα) - log Γ(Σβ) - Σ log Γ(α_k) / Γ(β_k) + Σ (α_k - β_k)(ψ(α_k) - ψ(Σα))

Each variable has a divergence of its own; that of a leaf is their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from netdial.core.noise import Noise
from netdial.family.posteriors.categorical import LEAST, OnSimplex, weights_of
from netdial.family.posteriors.seam import POSTERIORS, Divergence, Field, Values
from netdial.family.posteriors.structure import (
    GammaDomain,
    check_draw,
    check_gamma,
    check_temperature,
    over_variables,
    vertex,
)


@dataclass(frozen=True)
class Dirichlet(OnSimplex):
    """Dir(α), α = τ exp(log_s).

    The mean s / Σs does not depend on τ, and is the probability of the vertices in the limit τ → 0.

    Attributes:
        temperature: τ.
        prior: s of the prior, above 0; None for 1, which at τ = 1 is the uniform distribution on the simplex.
        prior_temperature: τ of the prior; None for that of the posterior.
    """

    prior_temperature: float | None = None

    fields: ClassVar[Mapping[str, Field]] = {
        "log_s": Field(
            lambda leaf, log_std: (leaf.clamp_min(LEAST) * leaf.shape[-1]).log(), additive=True
        )
    }
    weights_are: ClassVar[str] = "s of a Dirichlet prior is"
    domain: ClassVar[GammaDomain] = "simplex"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior_temperature is not None:
            check_temperature(self.prior_temperature)

    def mean(self, fields: Values) -> Tensor:
        """Returns s / Σs."""
        return fields["log_s"].softmax(dim=-1)

    def sample(self, fields: Values, noise: Noise, temperature: float) -> Tensor:
        """Returns vertices with probabilities s / Σs at temperature 0, else draws of Dir(τ s) with gradients.

        Gamma(α) is drawn as Gamma(α + 1) U^(1/α), in logarithms: for small α numbers themselves are too small to be held.
        """
        log_s = fields["log_s"]
        exponential = noise.exponential(*log_s.shape[1:], dtype=log_s.dtype)
        if check_draw(temperature):
            return vertex(log_s - exponential.log())
        alpha = temperature * log_s.exp()
        return (noise.gamma(alpha + 1).log() - exponential / alpha).softmax(dim=-1)

    def log_density(self, fields: Values, gamma: Tensor) -> Tensor:
        """Returns the log density inside the simplex."""
        check_gamma(gamma, self.domain)
        alpha = self.temperature * fields["log_s"].exp()
        constant = torch.lgamma(alpha.sum(dim=-1)) - torch.lgamma(alpha).sum(dim=-1)
        return constant + torch.xlogy(alpha - 1, gamma).sum(dim=-1)

    def divergence(self, fields: Values, other: Values, noise: Noise) -> Divergence:
        """Returns KL of two of one temperature, exact."""
        tau = self.temperature
        return Divergence(_kl(tau * fields["log_s"].exp(), tau * other["log_s"].exp()))

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        """Returns the divergence from the prior, summed over variables."""
        alpha = self.temperature * fields["log_s"].exp()
        tau = self.temperature if self.prior_temperature is None else self.prior_temperature
        beta = (tau * weights_of(self.prior, alpha)).expand_as(alpha)
        return over_variables(Divergence(_kl(alpha, beta)))


def _kl(alpha: Tensor, beta: Tensor) -> Tensor:
    sums = torch.lgamma(alpha.sum(dim=-1)) - torch.lgamma(beta.sum(dim=-1))
    each = torch.lgamma(beta) - torch.lgamma(alpha)
    means = torch.digamma(alpha) - torch.digamma(alpha.sum(dim=-1, keepdim=True))
    return sums + (each + (alpha - beta) * means).sum(dim=-1)


POSTERIORS.add("dirichlet")(Dirichlet())
