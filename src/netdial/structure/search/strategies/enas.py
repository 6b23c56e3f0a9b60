"""ENAS: a controller draws structures that share the weights of one supernet, and learns by REINFORCE from their losses.

Source: Pham, Guan, Zoph, Le & Dean 2018. In turns, the weights learn on ``train`` under a structure that was drawn, and the
controller on ``valid`` from the losses of a few.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from netdial.structure.graph.domain import vertices
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.search.shared.choosing import VertexCode
from netdial.structure.search.shared.controller import (
    Baseline,
    Controller,
    ControllerDraw,
    ControllerOptions,
    reinforce_loss,
)
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import SEARCHES, GradientStrategy, StepContext
from netdial.train.feed import Batch


@SEARCHES.add("enas")
class Enas(ControllerOptions, GradientStrategy):
    """A controller whose structures share weights."""

    help: ClassVar[str] = "a controller that learns from structures with shared weights"
    structure_lr: float = Field(1e-2, gt=0, description="learning rate of the controller")
    draws: int = Field(4, ge=1, description="structures for one step of the controller")

    def structure(self, space: SearchSpace) -> dict[str, Tensor]:
        """Returns the weights of the controller by name."""
        controller = Controller(VertexCode(space).counts, self.width)
        return {name: part.detach() for name, part in controller.named_parameters()}

    def optimizer(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Returns Adam."""
        return torch.optim.Adam(parameters, lr=self.structure_lr)

    def gamma(self, state: SearchState, progress: float, source: torch.Generator) -> Gamma:
        """Returns the vertex of a structure that the controller draws."""
        code = VertexCode(state.supernet.space)
        (drawn,) = self._draw(state, 1, source).codes.tolist()
        return state.supernet.space.gamma(code.genotype(drawn))

    def probabilities(self, state: SearchState) -> Gamma:
        """Returns the probabilities of operations where the controller takes the likeliest in turn."""
        chances = self._draw(state, 1, None).chances
        found = {}
        for (key, choice), (row,) in zip(
            state.supernet.space.choices.items(), chances, strict=True
        ):
            count = len(choice.operations)
            within = [
                [float(at in vertex) for at in range(count)]
                for vertex in vertices(count, choice.domain)
            ]
            found[key] = row @ row.new_tensor(within)
        return found

    def step_structure(
        self, state: SearchState, batch: Mapping[str, Batch], context: StepContext
    ) -> Tensor:
        """Moves the controller along the gradient of REINFORCE; returns the mean loss of what it drew."""
        code, space = VertexCode(state.supernet.space), state.supernet.space
        draw = self._draw(state, self.draws, context.source(state, "structure"))
        found = []
        with torch.no_grad():
            for each in draw.codes.tolist():
                gamma = space.gamma(code.genotype(each))
                loss = context.loss(state, gamma, batch["valid"])
                found.append(context.minimised(state, loss, gamma))
        losses = torch.stack(found).detach()
        kept = state.memory or {}
        baseline = (
            Baseline(*(float(kept[n]) for n in ("mean", "spread")))
            if "mean" in kept
            else Baseline()
        )
        advantage = baseline.advantage(losses)
        loss = reinforce_loss(draw.log_prob, draw.entropy, advantage, self.entropy_weight)
        state.move_structure(loss)
        after = baseline.after(losses)
        state.memory = {**kept, **{n: torch.tensor(v) for n, v in after._asdict().items()}}
        return losses.mean()

    def _draw(
        self, state: SearchState, count: int, source: torch.Generator | None
    ) -> ControllerDraw:
        shell = _shell(tuple(VertexCode(state.supernet.space).counts), self.width)
        options = {"count": count, "source": source}
        drawn: ControllerDraw = functional_call(shell, state.structure, (), options)
        return drawn


@functools.cache
def _shell(counts: tuple[int, ...], width: int) -> Controller:
    """Returns a controller whose weights are given with each call."""
    return Controller(counts, width)
