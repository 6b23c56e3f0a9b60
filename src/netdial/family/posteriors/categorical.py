"""Categorical posterior of a choice among operations: vertices of a simplex.

q(γ = vertex k) = π_k = softmax(logit)_k,        KL = Σ π_k log(π_k / p_k)

Training draws the Gumbel-Softmax relaxation of it; the divergence stays that of the choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors.seam import POSTERIORS, Divergence, Field, Values
from netdial.family.posteriors.structure import (
    GammaDomain,
    check_draw,
    check_gamma,
    check_temperature,
    over_variables,
    vertex,
)

LEAST = 1e-3
"""Weight that a choice has at least where training starts, so that no choice starts impossible."""


def weights_of(prior: tuple[float, ...] | None, like: Tensor) -> Tensor:
    """Returns the weights ``[n]`` that a prior gives n choices; equal ones if it is None.

    Raises:
        ConfigError: there are more or fewer than n.
    """
    if prior is None:
        return like.new_ones(like.shape[-1])
    if len(prior) != like.shape[-1]:
        raise ConfigError(f"prior has {len(prior)} weights, the variable {like.shape[-1]} choices")
    return like.new_tensor(prior)


@dataclass(frozen=True)
class OnSimplex:
    """A choice among n operations: what all its posteriors share.

    Attributes:
        temperature: τ of the draws in training.
        prior: weights of the choices before data, above 0; None for equal ones.
    """

    temperature: float = 1.0
    prior: tuple[float, ...] | None = None

    random: ClassVar[bool] = True
    weights_are: ClassVar[str] = "weights of choices are"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.prior is not None and not all(0 < w < float("inf") for w in self.prior):
            raise ConfigError(f"prior={self.prior}; {self.weights_are} finite and above 0")

    def at(self, temperature: float) -> Self:
        """Returns the same posterior at another temperature."""
        return replace(self, temperature=temperature)


class OneOf(OnSimplex):
    """One of n operations by logits."""

    fields: ClassVar[Mapping[str, Field]] = {
        "logit": Field(lambda leaf, log_std: leaf.clamp_min(LEAST).log(), additive=True)
    }

    def mean(self, fields: Values) -> Tensor:
        """Returns the probabilities of the vertices."""
        return fields["logit"].softmax(dim=-1)

    def sample(self, fields: Values, noise: Noise, temperature: float) -> Tensor:
        """Returns vertices at temperature 0, else softmax((logit + G) / τ), G standard Gumbel."""
        drawn = gumbel(fields, noise)
        return vertex(drawn) if check_draw(temperature) else (drawn / temperature).softmax(dim=-1)


class Categorical(OneOf):
    """OneOf k with probability softmax(logit)_k."""

    domain: ClassVar[GammaDomain] = "simplex_vertices"

    def log_density(self, fields: Values, gamma: Tensor) -> Tensor:
        """Returns the log probability of vertices."""
        check_gamma(gamma, self.domain)
        return (fields["logit"].log_softmax(dim=-1) * gamma).sum(dim=-1)

    def entropy(self, fields: Values) -> Tensor:
        """Returns -Σ π log π of each variable ``[K, *edges]``."""
        log_p = fields["logit"].log_softmax(dim=-1)
        return -(log_p.exp() * log_p).sum(dim=-1)

    def divergence(self, fields: Values, other: Values, noise: Noise) -> Divergence:
        """Returns Σ π log(π / p), exact."""
        log_q = fields["logit"].log_softmax(dim=-1)
        log_p = other["logit"].log_softmax(dim=-1)
        return Divergence((log_q.exp() * (log_q - log_p)).sum(dim=-1))

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        """Returns the divergence from the prior, summed over variables."""
        prior = {"logit": weights_of(self.prior, fields["logit"]).log()}
        return over_variables(self.divergence(fields, prior, noise))


POSTERIORS.add("categorical")(Categorical())


def gumbel(fields: Values, noise: Noise) -> Tensor:
    """Returns logit plus standard Gumbel numbers, -log of exponential ones."""
    logit = fields["logit"]
    return logit - torch.log(noise.exponential(*logit.shape[1:], dtype=logit.dtype))
