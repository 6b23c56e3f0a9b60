"""Random search: structures drawn evenly, each trained in full; what every other strategy has to beat at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from netdial.structure.search.strategy import SEARCHES, Asked, Scope, TrialStrategy, Tried


@SEARCHES.add("random")
class RandomSearch(TrialStrategy):
    """Structures drawn evenly from all that are within the limits."""

    help: ClassVar[str] = "train structures drawn at random, keep the best"
    trials: int = Field(10, ge=1, description="structures to train")

    def propose(self, scope: Scope, results: Sequence[Tried]) -> Sequence[Asked]:
        """Returns all structures at first, nothing later; none is drawn twice while there are others."""
        if results:
            return []
        source, found = scope.source("random"), dict[str, Asked]()
        for _ in range(20 * self.trials):
            genotype = scope.draw(source)
            if genotype is None or len(found) == min(self.trials, scope.space.count):
                break
            found.setdefault(genotype.dumps(), Asked(genotype, scope.epochs))
        return list(found.values())
