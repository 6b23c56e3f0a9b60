"""DNAS: structures drawn from a Gumbel-Softmax distribution that learns on the validation part, in turns with the weights.

Source: Wu et al. 2019 (FBNet). The temperature falls exponentially from one that mixes all operations.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from netdial.structure.distributions import Anneal
from netdial.structure.graph.space import Gamma
from netdial.structure.search.shared.logits import LogitStrategy, relaxed_draws
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES


@SEARCHES.add("dnas")
class Dnas(LogitStrategy):
    """A Gumbel-Softmax distribution on each edge, trained in turns with the weights."""

    help: ClassVar[str] = "draw structures from a relaxed distribution, trained on validation data"
    tau_start: float = Field(5.0, gt=0, description="temperature of the draws at the start")
    tau_end: float = Field(0.1, gt=0, description="temperature of the draws at the end")

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns a draw."""
        return relaxed_draws(state, Anneal(self.tau_start, self.tau_end)(progress), source)
