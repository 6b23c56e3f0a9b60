"""Regularised evolution: the best of a few out of the youngest structures gets a child with one change; the oldest goes.

Source: Real, Aggarwal, Huang & Le 2019. The population is the last ``population`` structures that were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from netdial.structure.search.shared.choosing import VertexCode
from netdial.structure.search.strategy import SEARCHES, Asked, Scope, TrialStrategy, Tried

_PATIENCE = 100
"""Children that are drawn in the hope of one that was not tried before."""


@SEARCHES.add("evolution")
class Evolution(TrialStrategy):
    """Mutations of good structures among the youngest."""

    help: ClassVar[str] = "train mutations of the best of the youngest structures"
    trials: int = Field(30, ge=1, description="structures to train")
    population: int = Field(10, ge=1, description="youngest structures that may have children")
    tournament: int = Field(5, ge=1, description="structures among which the best has a child")

    def propose(self, scope: Scope, results: Sequence[Tried]) -> Sequence[Asked]:
        """Returns one structure: drawn evenly until there is a population, then a child."""
        if len(results) >= self.trials:
            return []
        source = scope.source("evolution", len(results))
        if len(results) < self.population:
            drawn = scope.draw(source)
            return [] if drawn is None else [Asked(drawn, scope.epochs)]
        young = results[-self.population :]
        entered = torch.randperm(len(young), generator=source)[: self.tournament].tolist()
        parent = min((young[at] for at in entered), key=lambda tried: tried.loss)
        code, tried = VertexCode(scope.space), {result.genotype for result in results}
        children = (code.mutated(parent.genotype, source) for _ in range(_PATIENCE))
        allowed = [child for child in children if scope.allowed(child)]
        fresh = (child for child in allowed if child not in tried)
        child = next(fresh, allowed[0] if allowed else parent.genotype)
        return [Asked(child, scope.epochs)]
