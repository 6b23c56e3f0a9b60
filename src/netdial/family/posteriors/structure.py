"""What posteriors of structure parameters γ have beside the seam: densities, divergences from one another, domains of γ.

A choice among n operations is a point of a simplex, a gate a number of the unit interval. Exact draws (temperature 0) are
vertices; draws at a temperature τ above 0 lie inside, and the nearer the vertices the lower τ is.

Shapes: K members, ``*edges`` variables, n choices of a variable (the leaf's last dimension; gates have no such dimension).
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors.seam import Divergence, Posterior, Values

GammaDomain = Literal["simplex", "simplex_vertices", "cube", "cube_vertices"]
"""Where γ may lie: inside a simplex or at its vertices, in the unit cube or at its vertices."""

_NEAR = 1e-4
"""How far γ may lie from its domain: rounding of sums in single precision."""


class StructurePosterior(Posterior, Protocol):
    """A posterior of structure parameters.

    Attributes:
        domain: where draws of training lie, and where ``log_density`` is defined.
    """

    @property
    def domain(self) -> GammaDomain:
        """Where draws of training lie."""

    def at(self, temperature: float) -> Self:
        """Returns the same posterior at another temperature."""

    def log_density(self, fields: Values, gamma: Tensor) -> Tensor:
        """Returns log q(γ) of each variable ``[K, *edges]``, at the posterior's temperature.

        Args:
            fields: fields of the leaf.
            gamma: structure parameters ``[K, *edges, n]`` or, for gates, ``[K, *edges]``. Densities inside a simplex are with
                respect to its first n - 1 coordinates; at vertices they are probabilities.

        Raises:
            ConfigError: γ lies outside the domain.
        """

    def divergence(self, fields: Values, other: Values, noise: Noise) -> Divergence:
        """Returns KL(q || p) of each variable ``[K, *edges]``, p being the same posterior with other fields.

        Args:
            fields: fields of q.
            other: fields of p, of shapes that can be expanded to those of q.
            noise: source of random numbers, for an estimate.
        """


def check_temperature(temperature: float) -> None:
    """Refuses a temperature of a relaxation that is not above 0.

    Raises:
        ConfigError: it is 0, negative or not finite.
    """
    value = _number(temperature)
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(
            f"temperature={temperature!r}; expected a finite number above 0 (draws at vertices: sample(…, temperature=0))"
        )


def check_draw(temperature: float) -> bool:
    """Returns whether draws are at vertices.

    Raises:
        ConfigError: the temperature is negative or not finite.
    """
    if _number(temperature) == 0:
        return True
    check_temperature(temperature)
    return False


def _number(given: Any) -> float:
    """Returns a number, or NaN for what is none, such as a text or a tensor of several numbers."""
    with suppress(TypeError, ValueError, RuntimeError):
        return math.nan if isinstance(given, str) else float(given)
    return math.nan


def check_gamma(gamma: Tensor, domain: GammaDomain) -> None:
    """Refuses structure parameters outside their domain.

    Raises:
        ConfigError: a value is not a number, not in [0, 1], not 0 or 1 at vertices, or does not sum to 1 on a simplex.
    """
    low, high = gamma.min().item(), gamma.max().item()
    if not (low >= -_NEAR and high <= 1 + _NEAR):
        raise ConfigError(f"γ lies in [{low:g}, {high:g}]; in domain {domain!r} it is in [0, 1]")
    if domain.endswith("vertices"):
        off = torch.minimum(gamma.abs(), (gamma - 1).abs()).max().item()
        if not off <= _NEAR:
            raise ConfigError(f"γ is {off:g} away from 0 and 1; in domain {domain!r} it is 0 or 1")
    if domain.startswith("simplex"):
        sums = gamma.sum(dim=-1)
        worst = sums.flatten()[(sums - 1).abs().argmax()].item()
        if not abs(worst - 1) <= _NEAR * gamma.shape[-1]:
            raise ConfigError(f"γ sums to {worst:g} over its choices; in domain {domain!r} to 1")


def straight_through(soft: Tensor, *, gate: bool = False) -> Tensor:
    """Returns the nearest vertex, with the gradient of the relaxed draw (Jang, Gu & Poole 2017).

    Args:
        soft: draws inside the simplex ``[..., n]``, or of gates ``[...]``.
        gate: whether they are gates.
    """
    hard = (soft > 0.5).to(soft) if gate else vertex(soft)
    return hard + soft - soft.detach()


def vertex(scores: Tensor) -> Tensor:
    """Returns 1 for the largest of n scores ``[..., n]`` and 0 for the others."""
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(dim=-1, keepdim=True), 1.0)


def over_variables(each: Divergence) -> Divergence:
    """Returns the divergence ``[K]`` of independent variables from that of each ``[K, *edges]``."""
    nats = each.nats.reshape(len(each.nats), -1).sum(dim=1)
    if each.error is None:
        return Divergence(nats)
    return Divergence(nats, each.error.reshape(len(nats), -1).square().sum(dim=1).sqrt())
