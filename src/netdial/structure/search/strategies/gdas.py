"""GDAS: one operation of each edge is drawn and run; the gradient is that of the relaxed draw at the operation that was run.

Source: Dong & Yang 2019. A step costs what one network costs, since the operations that were not drawn are not run.
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


@SEARCHES.add("gdas")
class Gdas(LogitStrategy):
    """Vertices drawn from a Gumbel-Softmax distribution on each edge, with its gradient."""

    help: ClassVar[str] = (
        "run one drawn operation of each edge, with the gradient of a relaxed draw"
    )
    sparse: ClassVar[bool | None] = True
    tau_start: float = Field(10.0, gt=0, description="temperature of the draws at the start")
    tau_end: float = Field(0.1, gt=0, description="temperature of the draws at the end")

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns a vertex that was drawn, with the gradient of the draw."""
        temperature = Anneal(self.tau_start, self.tau_end, "linear")(progress)
        return relaxed_draws(state, temperature, source, hard=True)
