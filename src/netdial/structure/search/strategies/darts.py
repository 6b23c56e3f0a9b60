"""DARTS: a softmax over the operations of each edge, trained on validation data beside the weights.

Source: Liu, Simonyan & Yang 2019. ``order`` says whether the structure sees how the weights would follow it by one step
(``structure.search.shared.hypergradient``): ``first`` does not, ``exact`` and ``finite`` are second order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from netdial.core.noise import seeded
from netdial.structure.graph.space import Gamma
from netdial.structure.search.shared.hypergradient import Order, Tensors, hypergradient
from netdial.structure.search.shared.logits import LogitStrategy
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES, StepContext
from netdial.train.feed import Batch


@SEARCHES.add("darts")
class Darts(LogitStrategy):
    """A softmax over the operations of each edge."""

    help: ClassVar[str] = "mix operations by a softmax that is trained on validation data"
    order: Order = Field(
        "first", description="whether weights follow the structure by a step: first, exact, finite"
    )

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns the softmax of the structure parameters, on a cube their sigmoid."""
        return self.probabilities(state)

    def step_structure(
        self, state: SearchState, batch: Mapping[str, Batch], context: StepContext
    ) -> Tensor:
        """Moves the structure parameters along the hypergradient; returns the validation loss before."""
        trained = {n: p for n, p in state.supernet.named_parameters() if p.requires_grad}
        if self.order == "first" or not trained:
            return super().step_structure(state, batch, context)
        names, weights = list(trained), list(trained.values())

        def loss(part: str, at: Tensors) -> Tensor:
            gamma = self.gamma(state, context.progress(state), context.source(state, "structure"))
            with seeded(context.seed, state.step, part):
                return context.loss(
                    state, gamma, batch[part], weights=dict(zip(names, at, strict=True))
                )

        found = hypergradient(
            lambda at, structure: loss("train", at),
            lambda at, structure: self.total(state, loss("valid", at), context),
            weights,
            list(state.module.structure),
            state.lr,
            self.order,
        )
        state.move_structure_along(found.gradient, found.valid)
        return found.valid
