"""Fair DARTS: a gate of its own for each operation, so that one does not win by taking from the others.

Source: Chu, Zhou, Zhang & Li 2020. γ = sigmoid(θ), in the unit cube also where one operation of an edge is chosen in the end:
that of the widest gate. The zero-one loss -w mean (γ - ½)² drives gates to their ends.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from netdial.structure.graph.space import Gamma
from netdial.structure.search.shared.logits import LogitStrategy
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES


@SEARCHES.add("fair")
class Fair(LogitStrategy):
    """A sigmoid for each operation, trained on validation data."""

    help: ClassVar[str] = (
        "weigh operations by gates that do not compete, trained on validation data"
    )
    in_cube: ClassVar[bool] = True
    zero_one: float = Field(
        1.0, ge=0, description="weight of the loss that drives gates to their ends"
    )

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns the gates."""
        return self.probabilities(state)

    def penalty(self, state: SearchState) -> Tensor | float:
        """Returns the zero-one loss."""
        gates = torch.cat(list(self.probabilities(state).values()))
        return -self.zero_one * (gates - 0.5).square().mean()
