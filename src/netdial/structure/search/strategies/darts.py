"""DARTS, first order: a softmax over the operations of each edge, trained on validation data beside the weights.

Source: Liu, Simonyan & Yang 2019. On a cube each operation has a gate of its own, the sigmoid of a number (Chu et al. 2020).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from netdial.structure.graph.domain import on_simplex
from netdial.structure.graph.space import Gamma
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES, GradientStrategy


@SEARCHES.add("darts")
class Darts(GradientStrategy):
    """A softmax over the operations of each edge."""

    help: ClassVar[str] = "mix operations by a softmax that is trained on validation data"
    structure_lr: float = Field(3e-2, gt=0, description="learning rate of the structure parameters")
    structure_decay: float = Field(
        1e-3, ge=0, description="weight decay of the structure parameters"
    )

    def optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Returns Adam with the momentum of the paper."""
        decay = self.structure_decay
        return torch.optim.Adam(
            parameters, lr=self.structure_lr, betas=(0.5, 0.999), weight_decay=decay
        )

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns the softmax of the structure parameters, on a cube their sigmoid."""
        return self.probabilities(state)

    def probabilities(self, state: SearchState) -> Gamma:
        """Returns the softmax of the structure parameters, on a cube their sigmoid."""
        choices = state.supernet.space.choices
        return {
            key: row.softmax(0) if on_simplex(choices[key].domain) else row.sigmoid()
            for key, row in state.structure.items()
        }
