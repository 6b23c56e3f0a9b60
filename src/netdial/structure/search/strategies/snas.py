"""SNAS: structures drawn from a Gumbel-Softmax distribution whose temperature falls; weights and structure see the same draw.

Source: Xie, Zheng, Liu & Lin 2019. One level: the structure learns on the training part, with the weights, in the same step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from netdial.structure.search.shared.logits import AnnealedStrategy
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES, StepContext
from netdial.train.feed import Batch
from netdial.train.loop import Measured


@SEARCHES.add("snas")
class Snas(AnnealedStrategy):
    """A Gumbel-Softmax distribution on each edge, trained with the weights."""

    help: ClassVar[str] = "draw structures from a relaxed distribution, trained with the weights"
    tau_start: float = Field(1.0, gt=0, description="temperature of the draws at the start")

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
