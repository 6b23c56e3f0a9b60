"""DrNAS: mixtures drawn from a Dirichlet distribution on each edge, held near the even one.

Source: Chen et al. 2021. The concentrations are elu(θ) + 1; the distance is the sum over edges of KL(Dir(β) || Dir(1)), each of
them in closed form.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.family.posteriors import Dirichlet
from netdial.structure.graph.domain import on_simplex
from netdial.structure.graph.parts import StructureChoice
from netdial.structure.graph.space import Gamma
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES, GradientStrategy

_LEAST = 1e-4
"""Concentration at least: elu(θ) + 1 is rounded to 0 where θ is far below 0."""


@SEARCHES.add("drnas")
class Drnas(GradientStrategy):
    """A Dirichlet distribution on each edge, trained on validation data."""

    help: ClassVar[str] = "draw mixtures from a Dirichlet distribution, trained on validation data"
    structure_lr: float = Field(3e-2, gt=0, description="learning rate of the structure parameters")
    kl_weight: float = Field(1e-3, ge=0, description="weight of the divergence from even mixtures")

    def start(self, choice: StructureChoice) -> Tensor:
        """Returns zeros, which are concentrations of 1: all mixtures alike.

        Raises:
            ConfigError: the choice is not one of several operations.
        """
        if not on_simplex(choice.domain):
            raise ConfigError(
                f"edge {choice.key}: the domain {choice.domain} has no Dirichlet distribution; drnas needs edges on a simplex"
            )
        return super().start(choice)

    def optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Returns Adam with the momentum of DARTS."""
        return torch.optim.Adam(parameters, lr=self.structure_lr, betas=(0.5, 0.999))

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns a draw of each edge."""
        noise, posterior = Noise.from_generator(source), Dirichlet()
        return {
            key: posterior.sample({"log_s": row.log()[None]}, noise, 1.0)[0]
            for key, row in _concentrations(state).items()
        }

    def probabilities(self, state: SearchState) -> Gamma:
        """Returns the mean of each edge, β / Σβ."""
        return {key: row / row.sum() for key, row in _concentrations(state).items()}

    def penalty(self, state: SearchState) -> Tensor | float:
        """Returns the weighted sum over edges of KL(Dir(β) || Dir(1))."""
        posterior, total = Dirichlet(), torch.zeros(())
        for row in _concentrations(state).values():
            fields, even = {"log_s": row.log()[None]}, {"log_s": torch.zeros_like(row)[None]}
            noise = Noise(0, 0, [0])  # the divergence is exact and draws nothing
            total = total.to(row) + posterior.divergence(fields, even, noise).nats.sum()
        return self.kl_weight * total


def _concentrations(state: SearchState) -> Gamma:
    return {
        key: (functional.elu(row) + 1).clamp_min(_LEAST) for key, row in state.structure.items()
    }
