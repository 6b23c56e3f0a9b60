"""Enumeration of different good structures: a search is pushed away from the structures that were found before.

Σ_i λ_i KL(Γ | Γ_i)

is what a structure gains by being different: a loss that is minimised gets it with a minus (``penalty``). With the structures
Γ₁, Γ₂ of earlier searches, λ = [0, 0, 0] repeats the first search, [1, 0, 0] finds one unlike Γ₁, [1, 1, 0] one unlike both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors import Divergence, StructurePosterior, Values, check_gamma
from netdial.family.posteriors.structure import over_variables


def around(posterior: StructurePosterior, gamma: Tensor, share: float = 0.05) -> Values:
    """Returns fields of a posterior whose mean is a structure, but for a share that is spread evenly.

    KL(Γ | vertex) is infinite for any Γ that is not that vertex. With a share ε of n choices spread, an edge that chooses
    otherwise gains log(n / ε) nats, and no more.

    Args:
        posterior: the posterior.
        gamma: structure parameters, ``[K, *edges, n]`` or of gates ``[K, *edges]``.
        share: ε, between 0 and 1.

    Raises:
        ConfigError: γ is no structure, or the share is out of range.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share={share}; expected a number between 0 and 1, both excluded")
    inside = "simplex" if posterior.domain.startswith("simplex") else "cube"
    check_gamma(gamma, "simplex" if inside == "simplex" else "cube")
    even = 1 / gamma.shape[-1] if inside == "simplex" else 0.5
    spread = (1 - share) * gamma + share * even
    return {name: field.start(spread, -3.0) for name, field in posterior.fields.items()}


class Diversity:
    """Σ_i λ_i KL(Γ | Γ_i) over the leaves of a structure.

    Args:
        posterior: posterior of all leaves of the structure.
        found: for each structure Γ_i found before, the fields of its leaves by name (``around`` makes them of a structure).
        weights: λ_i, at least 0; there may be more than structures, if the rest are 0.

    Raises:
        ConfigError: a weight is negative or not finite, or belongs to no structure.
    """

    def __init__(
        self,
        posterior: StructurePosterior,
        found: Sequence[Mapping[str, Values]],
        weights: Sequence[float],
    ) -> None:
        if not all(w >= 0 and math.isfinite(w) for w in weights):
            raise ConfigError(f"weights={list(weights)}; expected finite numbers from 0 on")
        if len(weights) < len(found) or any(weights[len(found) :]):
            raise ConfigError(
                f"{len(weights)} weights {list(weights)} for {len(found)} structures found so far; give one for each, "
                "and 0 for those still to be found"
            )
        self._posterior = posterior
        self._terms = [(w, one) for w, one in zip(weights, found, strict=False) if w]

    def divergence(self, leaves: Mapping[str, Values], noise: Noise) -> Divergence:
        """Returns Σ_i λ_i KL(Γ | Γ_i), ``[K]``, at least 0.

        Args:
            leaves: fields of each leaf of Γ by name.
            noise: source of random numbers, for an estimate.

        Raises:
            ConfigError: Γ has other leaves than a structure found before.
        """
        first = next(iter(next(iter(leaves.values())).values()))
        parts = [Divergence(first.new_zeros(len(first)))]
        for weight, other in self._terms:
            if other.keys() != leaves.keys():
                raise ConfigError(
                    f"a structure found before has leaves {sorted(other)}, this one {sorted(leaves)}"
                )
            for name, fields in leaves.items():
                one = over_variables(self._posterior.divergence(fields, other[name], noise))
                error = None if one.error is None else weight * one.error
                parts.append(Divergence(weight * one.nats, error))
        return functools.reduce(Divergence.plus, parts)

    def penalty(self, leaves: Mapping[str, Values], noise: Noise) -> Tensor:
        """Returns -Σ_i λ_i KL(Γ | Γ_i), ``[K]``: what is added to a loss that is minimised."""
        return -self.divergence(leaves, noise).nats
