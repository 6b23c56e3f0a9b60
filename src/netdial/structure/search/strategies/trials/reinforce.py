"""REINFORCE: a controller draws structures, each is trained in full, and the controller learns which were good.

Source: Zoph & Le 2017. The controller is trained again from the results at every call, so nothing has to be remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from netdial.structure.graph.genotype import Genotype
from netdial.structure.search.shared.choosing import VertexCode
from netdial.structure.search.shared.controller import (
    Baseline,
    Controller,
    ControllerOptions,
    reinforce_loss,
)
from netdial.structure.search.strategy import SEARCHES, Asked, Scope, TrialStrategy, Tried

_PATIENCE = 50
"""Draws for one structure that is within the limits."""


@SEARCHES.add("reinforce")
class Reinforce(ControllerOptions, TrialStrategy):
    """A controller trained on structures that are trained in full."""

    help: ClassVar[str] = "a controller that learns from structures trained in full"
    trials: int = Field(40, ge=1, description="structures to train")
    batch: int = Field(5, ge=1, description="structures between two steps of the controller")
    controller_lr: float = Field(2e-2, gt=0, description="learning rate of the controller")

    def propose(self, scope: Scope, results: Sequence[Tried]) -> Sequence[Asked]:
        """Returns the next structures that the controller draws."""
        count = min(self.batch, self.trials - len(results))
        if count < 1:
            return []
        code = VertexCode(scope.space)
        controller = self._taught(scope, code, results)
        source = scope.source("reinforce", len(results))
        found = (self._drawn(controller, code, scope, source) for _ in range(count))
        return [Asked(genotype, scope.epochs) for genotype in found if genotype is not None]

    def _drawn(
        self, controller: Controller, code: VertexCode, scope: Scope, source: torch.Generator
    ) -> Genotype | None:
        """Returns a structure within the limits that the controller draws, or one drawn evenly if it draws none."""
        with torch.no_grad():
            draws = (controller(source=source).codes[0].tolist() for _ in range(_PATIENCE))
            found = (code.genotype(each) for each in draws)
            return next((each for each in found if scope.allowed(each)), None) or scope.draw(source)

    def _taught(self, scope: Scope, code: VertexCode, results: Sequence[Tried]) -> Controller:
        """Returns the controller after the results so far."""
        controller, baseline = Controller(code.counts, self.width, scope.seed), Baseline()
        optimizer = torch.optim.Adam(controller.parameters(), lr=self.controller_lr)
        finite = [each.loss for each in results if each.loss < float("inf")]
        worst = max(finite, default=0.0)  # networks that diverge count as the worst that did not
        for start in range(0, len(results), self.batch):
            some = results[start : start + self.batch]
            losses = torch.tensor([min(each.loss, worst) for each in some])
            draw = controller(torch.tensor([code.code(each.genotype) for each in some]))
            loss = reinforce_loss(
                draw.log_prob, draw.entropy, baseline.advantage(losses), self.entropy_weight
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            baseline = baseline.after(losses)
        return controller
