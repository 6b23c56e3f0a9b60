"""Strategies whose structure parameters are logits: what they share, and draws from relaxed distributions."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from netdial.core.noise import Noise
from netdial.family.posteriors import BinaryConcrete, GumbelSoftmax, straight_through
from netdial.structure.distributions import Anneal
from netdial.structure.graph.domain import on_simplex
from netdial.structure.graph.space import Gamma
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import GradientStrategy


class LogitStrategy(GradientStrategy):
    """A logit for each operation: a softmax over those of an edge, on a cube a sigmoid for each."""

    structure_lr: float = Field(3e-2, gt=0, description="learning rate of the structure parameters")
    structure_decay: float = Field(
        1e-3, ge=0, description="weight decay of the structure parameters"
    )

    def optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Returns Adam with the momentum of DARTS."""
        decay = self.structure_decay
        return torch.optim.Adam(
            parameters, lr=self.structure_lr, betas=(0.5, 0.999), weight_decay=decay
        )

    def probabilities(self, state: SearchState) -> Gamma:
        """Returns the softmax of the structure parameters, on a cube their sigmoid."""
        choices = state.supernet.space.choices
        return {
            key: state.structure[key].softmax(0)
            if on_simplex(choice.domain)
            else state.structure[key].sigmoid()
            for key, choice in choices.items()
        }


class AnnealedStrategy(LogitStrategy):
    """Draws of a relaxed distribution whose temperature falls."""

    tau_start: float = Field(5.0, gt=0, description="temperature of the draws at the start")
    tau_end: float = Field(0.1, gt=0, description="temperature of the draws at the end")

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns a draw."""
        return relaxed_draws(state, Anneal(self.tau_start, self.tau_end)(progress), source)


def relaxed_draws(
    state: SearchState, temperature: float, source: torch.Generator, *, hard: bool = False
) -> Gamma:
    """Returns draws of the Gumbel-Softmax distribution, on a cube of the binary concrete one, at a temperature.

    Args:
        state: its structure parameters are the logits.
        temperature: τ, above 0.
        source: random numbers.
        hard: whether the nearest vertices are returned, with the gradient of the draws.
    """
    noise, found = Noise.from_generator(source), {}
    for key, row in state.structure.items():
        simplex = on_simplex(state.supernet.space.choices[key].domain)
        posterior = GumbelSoftmax() if simplex else BinaryConcrete()
        drawn = posterior.sample({"logit": row[None]}, noise, temperature)[0]
        found[key] = straight_through(drawn, gate=not simplex) if hard else drawn
    return found
