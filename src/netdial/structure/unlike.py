"""Enumeration of different good structures: a search that is pushed away from structures found before.

The loss gets -Σ_i λ_i KL(Γ | Γ_i), summed over choices (``distributions.enumeration``). With Γ₁ and Γ₂ of earlier searches
λ = [1; 0] finds a structure unlike Γ₁, λ = [1; 1] one unlike both.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors import Bernoulli, StructurePosterior
from netdial.structure.distributions import Categorical, Diversity, around
from netdial.structure.graph.domain import on_simplex
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import SearchSpace

_LEAST = 1e-6
"""Probability at least, so that its logarithm is finite."""


class Unlike:
    """What a search loses by being like structures that were found before.

    Args:
        space: the search space.
        found: structure Γ_i -> λ_i, from 0 on.

    Raises:
        ConfigError: a structure is of another space, or a λ_i is negative or not finite.
    """

    def __init__(self, space: SearchSpace, found: Mapping[Genotype, float]) -> None:
        self._terms: dict[StructurePosterior, tuple[list[str], Diversity]] = {}
        points = [space.gamma(space.genotype(genotype)) for genotype in found]
        for posterior in (Categorical(), Bernoulli()):
            simplex = isinstance(posterior, Categorical)
            keys = [k for k, c in space.choices.items() if on_simplex(c.domain) == simplex]
            if keys:
                before = [{k: around(posterior, gamma[k][None]) for k in keys} for gamma in points]
                self._terms[posterior] = keys, Diversity(posterior, before, list(found.values()))

    def __call__(self, loss: Tensor, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the loss with -Σ_i λ_i KL(Γ | Γ_i).

        Args:
            loss: loss on validation data.
            probabilities: of the operations, on a cube of each gate to be open.
        """
        noise, total = Noise(0, 0, [0]), torch.zeros_like(loss)
        for posterior, (keys, diversity) in self._terms.items():
            leaves = {}
            for key in keys:
                row = probabilities[key].clamp(_LEAST, 1 - _LEAST)
                logit = row.log() if isinstance(posterior, Categorical) else torch.logit(row)
                leaves[key] = {"logit": logit[None]}
            total = total + diversity.penalty(leaves, noise)[0].to(loss)
        return loss + total


def check_unlike(space: SearchSpace, found: Mapping[Genotype, float], *, by_gradient: bool) -> None:
    """Refuses structures that a search cannot be pushed away from.

    Raises:
        ConfigError: the strategy trains structures by themselves, or a structure or its λ is not allowed.
    """
    if found and not by_gradient:
        raise ConfigError(
            "unlike: has no loss to be added to in a search by trials; choose a strategy by gradient"
        )
    Unlike(space, found)
