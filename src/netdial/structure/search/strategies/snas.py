"""SNAS: structures drawn from a Gumbel-Softmax distribution whose temperature falls; weights and structure see the same draw.

Source: Xie, Zheng, Liu & Lin 2019. One level: the structure learns on the training part, with the weights, in the same step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field

from netdial.structure.distributions import Anneal
from netdial.structure.graph.space import Gamma
from netdial.structure.search.shared.logits import LogitStrategy, relaxed_draws
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES, StepContext
from netdial.train.feed import Batch
from netdial.train.loop import Measured


@SEARCHES.add("snas")
class Snas(LogitStrategy):
    """A Gumbel-Softmax distribution on each edge, trained with the weights."""

    help: ClassVar[str] = "draw structures from a relaxed distribution, trained with the weights"
    tau_start: float = Field(1.0, gt=0, description="temperature of the draws at the start")
    tau_end: float = Field(0.1, gt=0, description="temperature of the draws at the end")

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns a draw."""
        return relaxed_draws(state, Anneal(self.tau_start, self.tau_end)(progress), source)

    def step(
        self, state: SearchState, batch: Mapping[str, Batch], context: StepContext
    ) -> Measured:
        """Moves structure and weights along the gradient of one loss, that of a draw on ``train``."""
        gamma = self.gamma(state, context.progress(state), context.source(state))
        loss = context.loss(state, gamma, batch["train"])
        total = self.total(state, loss, context)
        state.move_both(total, context.clip)
        state.step += 1
        return {"fit": loss.detach().view(1)}
