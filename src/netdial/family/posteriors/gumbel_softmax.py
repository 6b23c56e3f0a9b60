"""Gumbel-Softmax posterior GS(s, τ): the interior of a simplex, at vertices as τ → 0.

γ = softmax((log s + G) / τ), G standard Gumbel, with density on the first n - 1 coordinates

q(γ) = (n-1)! τ^(n-1) Π_k s_k γ_k^(-τ-1) / (Σ_i s_i γ_i^(-τ))^n                    (Jang, Gu & Poole 2017, eq. 15)

Two of one temperature are the same bijection of two multivariate logistic distributions, so their divergence does not depend on
τ. With E_i standard exponential and r_i = p_i / s_i it is

KL(q || p) = Σ_k log(s_k / p_k) + n E log Σ_i r_i E_i - n E log Σ_i E_i,

where E log Σ_i E_i = ψ(n), and the other expectation is one smooth integral over a line. At two temperatures it is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors.categorical import OneOf, gumbel, weights_of
from netdial.family.posteriors.seam import POSTERIORS, Divergence, Values
from netdial.family.posteriors.structure import (
    GammaDomain,
    check_gamma,
    check_temperature,
    over_variables,
)

_REACH, _STEP = 36.0, 0.25
"""Of the integral: the trapezoid rule of step h on an analytic integrand errs by exp(-π²/h); the ends are below 1e-15."""


def mean_log_sum(log_rates: Tensor) -> Tensor:
    """Returns E log Σ_i r_i E_i for log r ``[..., n]`` and standard exponential E_i, to rounding.

    ∫ (exp(-t) - Π_i 1 / (1 + r_i t)) dt/t over t = exp(y), by Frullani's integral.
    """
    rates = log_rates.double()
    top = rates.max(dim=-1, keepdim=True).values
    count = round(2 * _REACH / _STEP) + 1
    y = torch.linspace(-_REACH, _REACH, count, dtype=rates.dtype, device=rates.device)
    factors = F.softplus((rates - top)[..., None, :] + y[:, None])
    each = torch.exp(-y.exp()) - torch.exp(-factors.sum(dim=-1))
    return (top[..., 0] + _STEP * each.sum(dim=-1)).to(log_rates)


@dataclass(frozen=True)
class GumbelSoftmax(OneOf):
    """softmax((logit + Gumbel numbers) / τ).

    Attributes:
        temperature: τ.
        prior: weights s of the prior, above 0; None for equal ones.
        prior_temperature: τ of the prior; None for that of the posterior, which makes the divergence exact.
        n_samples: draws of an estimated divergence.
    """

    prior_temperature: float | None = None
    n_samples: int = 256

    domain: ClassVar[GammaDomain] = "simplex"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior_temperature is not None:
            check_temperature(self.prior_temperature)
        if self.n_samples < 2:
            raise ConfigError(f"n_samples={self.n_samples}; a standard error needs 2 or more")

    def log_density(self, fields: Values, gamma: Tensor) -> Tensor:
        """Returns the log density inside the simplex; it is not defined at a vertex."""
        check_gamma(gamma, "simplex")
        return _log_density(fields["logit"], gamma.log(), self.temperature)

    def divergence(self, fields: Values, other: Values, noise: Noise) -> Divergence:
        """Returns KL(q || p) at one temperature, to rounding."""
        log_q, log_p = fields["logit"].log_softmax(dim=-1), other["logit"].log_softmax(dim=-1)
        ratio, n = log_p - log_q, log_q.shape[-1]
        nats = n * (mean_log_sum(ratio) - mean_log_sum(torch.zeros_like(ratio)))
        return Divergence(nats - ratio.sum(dim=-1))

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        """Returns the divergence from the prior: exact at one temperature, else an estimate with its standard error."""
        prior = weights_of(self.prior, fields["logit"]).log()
        if self.prior_temperature in (None, self.temperature):
            return over_variables(self.divergence(fields, {"logit": prior}, noise))
        assert self.prior_temperature is not None
        found = []
        for _ in range(self.n_samples):
            log_gamma = (gumbel(fields, noise) / self.temperature).log_softmax(dim=-1)
            log_q = _log_density(fields["logit"], log_gamma, self.temperature)
            log_p = _log_density(prior, log_gamma, self.prior_temperature)
            found.append((log_q - log_p).reshape(len(log_q), -1).sum(dim=1))
        ratios = torch.stack(found)
        return Divergence(ratios.mean(dim=0), ratios.std(dim=0) / self.n_samples**0.5)


def _log_density(logit: Tensor, log_gamma: Tensor, temperature: float) -> Tensor:
    n = log_gamma.shape[-1]
    constant = math.lgamma(n) + (n - 1) * math.log(temperature)
    top = (logit - (temperature + 1) * log_gamma).sum(dim=-1)
    return constant + top - n * torch.logsumexp(logit - temperature * log_gamma, dim=-1)


POSTERIORS.add("gumbel-softmax")(GumbelSoftmax())
