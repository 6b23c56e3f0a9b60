"""Posteriors of gates: Bernoulli, at vertices of the unit cube, and the binary concrete distribution inside it.

A gate is open with probability p = sigmoid(logit). Draws of training are sigmoid((logit + L) / τ), L standard logistic; density

q(γ) = τ p (1-p) γ^(-τ-1) (1-γ)^(-τ-1) / (p γ^(-τ) + (1-p) (1-γ)^(-τ))²         (Maddison, Mnih & Teh 2017, eq. 25)

``bernoulli`` has the divergence of the gate itself, ``binary-concrete`` that of the two densities: with d the difference of the
logits it is d coth(d/2) - 2 at any temperature that they share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors.categorical import LEAST
from netdial.family.posteriors.seam import POSTERIORS, Divergence, Field, Values
from netdial.family.posteriors.structure import (
    GammaDomain,
    check_draw,
    check_gamma,
    check_temperature,
    over_variables,
)

_SERIES = 0.05
"""Difference of logits below which d coth(d/2) - 2 is its series d²/6 - d⁴/360, exact to rounding there."""


@dataclass(frozen=True)
class Gate:
    """An open or shut gate by its logit: what its posteriors share.

    Attributes:
        temperature: τ of the draws in training.
        prior: probability that a gate is open before data, between 0 and 1.
    """

    temperature: float = 0.5
    prior: float = 0.1

    fields: ClassVar[Mapping[str, Field]] = {
        "logit": Field(lambda leaf, log_std: leaf.clamp(LEAST, 1 - LEAST).logit(), additive=True)
    }
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 < self.prior < 1:
            raise ConfigError(f"prior={self.prior}; a probability between 0 and 1, both excluded")

    def at(self, temperature: float) -> Self:
        """Returns the same posterior at another temperature."""
        return replace(self, temperature=temperature)

    def mean(self, fields: Values) -> Tensor:
        """Returns the probabilities of being open."""
        return fields["logit"].sigmoid()

    def sample(self, fields: Values, noise: Noise, temperature: float) -> Tensor:
        """Returns 0 and 1 at temperature 0, else sigmoid((logit + L) / τ), L standard logistic."""
        logit = fields["logit"]
        one, two = (noise.exponential(*logit.shape[1:], dtype=logit.dtype).log() for _ in range(2))
        drawn = logit + one - two
        return (drawn > 0).to(logit) if check_draw(temperature) else (drawn / temperature).sigmoid()

    def _prior(self, like: Tensor) -> dict[str, Tensor]:
        return {"logit": like.new_tensor(math.log(self.prior) - math.log1p(-self.prior))}


class Bernoulli(Gate):
    """A gate that is 1 with probability sigmoid(logit), else 0."""

    domain: ClassVar[GammaDomain] = "cube_vertices"

    def log_density(self, fields: Values, gamma: Tensor) -> Tensor:
        """Returns the log probability of 0 and 1."""
        check_gamma(gamma, self.domain)
        logit = fields["logit"]
        return gamma * F.logsigmoid(logit) + (1 - gamma) * F.logsigmoid(-logit)

    def entropy(self, fields: Values) -> Tensor:
        """Returns the entropy of each gate."""
        logit = fields["logit"]
        return F.softplus(logit) - logit * logit.sigmoid()

    def divergence(self, fields: Values, other: Values, noise: Noise) -> Divergence:
        """Returns KL of two Bernoulli variables, exact."""
        q, p = fields["logit"], other["logit"]
        opened = q.sigmoid() * (F.logsigmoid(q) - F.logsigmoid(p))
        return Divergence(opened + (-q).sigmoid() * (F.logsigmoid(-q) - F.logsigmoid(-p)))

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        """Returns the divergence from the prior, summed over gates."""
        return over_variables(self.divergence(fields, self._prior(fields["logit"]), noise))


class BinaryConcrete(Gate):
    """A gate strictly between 0 and 1, sigmoid((logit + L) / τ)."""

    domain: ClassVar[GammaDomain] = "cube"

    def log_density(self, fields: Values, gamma: Tensor) -> Tensor:
        """Returns the log density on (0, 1); it is not defined at 0 and 1."""
        check_gamma(gamma, self.domain)
        opened, shut, tau = gamma.log(), torch.log1p(-gamma), self.temperature
        at = tau * (opened - shut) - fields["logit"]
        return math.log(tau) - opened - shut + F.logsigmoid(at) + F.logsigmoid(-at)

    def divergence(self, fields: Values, other: Values, noise: Noise) -> Divergence:
        """Returns KL of two of one temperature, exact."""
        d = (fields["logit"] - other["logit"]).abs()
        far = d.clamp_min(_SERIES)
        whole = far / torch.tanh(far / 2) - 2
        return Divergence(torch.where(d < _SERIES, d.square() / 6 - d**4 / 360, whole))

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        """Returns the divergence from a prior of the same temperature, summed over gates."""
        return over_variables(self.divergence(fields, self._prior(fields["logit"]), noise))


POSTERIORS.add("bernoulli")(Bernoulli())
POSTERIORS.add("binary-concrete")(BinaryConcrete())
