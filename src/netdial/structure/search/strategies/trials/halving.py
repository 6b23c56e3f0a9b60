"""Successive halving: many structures are trained briefly, the best of them longer, the best of those in full.

Source: Jamieson & Talwalkar 2016. Each rung trains the best 1/factor of the one before, factor times as long, afresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from netdial.structure.search.strategies.random_search import RandomSearch
from netdial.structure.search.strategy import SEARCHES, Asked, Scope, TrialStrategy, Tried


@SEARCHES.add("halving")
class Halving(TrialStrategy):
    """Rungs of ever longer training for ever fewer structures."""

    help: ClassVar[str] = "train many structures briefly and the best of them longer"
    trials: int = Field(18, ge=1, description="structures to begin with")
    factor: int = Field(3, ge=2, description="how many times fewer and longer each rung is")
    rungs: int = Field(3, ge=1, description="rungs; the last one trains in full")

    def propose(self, scope: Scope, results: Sequence[Tried]) -> Sequence[Asked]:
        """Returns the structures of the next rung."""
        drawn = RandomSearch(trials=self.trials).propose(scope, [])
        if not results:
            return [Asked(each.genotype, self._epochs(scope, 0)) for each in drawn]
        started, rung, size = 0, 0, len(drawn)
        while started + size < len(results):
            started, size, rung = started + size, max(1, size // self.factor), rung + 1
        if rung + 1 >= self.rungs:
            return []
        best = sorted(results[started:], key=lambda each: each.loss)[: max(1, size // self.factor)]
        return [Asked(each.genotype, self._epochs(scope, rung + 1)) for each in best]

    def _epochs(self, scope: Scope, rung: int) -> int:
        shorter: int = self.factor ** (self.rungs - 1 - rung)
        return max(1, round(scope.epochs / shorter))
