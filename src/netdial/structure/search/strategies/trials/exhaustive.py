"""Exhaustive search: every structure that is different from the others is trained, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from netdial.core.errors import ConfigError
from netdial.structure.graph.canonical import distinct
from netdial.structure.search.strategy import SEARCHES, Asked, Scope, TrialStrategy, Tried


@SEARCHES.add("exhaustive")
class Exhaustive(TrialStrategy):
    """All structures within the limits; of those that are the same network, the first."""

    help: ClassVar[str] = "train all structures that differ"
    most: int = Field(10_000, ge=1, description="structures that a space may have at most")

    def propose(self, scope: Scope, results: Sequence[Tried]) -> Sequence[Asked]:
        """Returns all structures at first, nothing later.

        Raises:
            ConfigError: there are more than ``most``.
        """
        if scope.space.count > self.most:
            raise ConfigError(
                f"space {scope.space.name}: has {scope.space.count} structures, an exhaustive search may have {self.most}; "
                "choose another strategy, or raise most"
            )
        if results:
            return []
        return [Asked(g, scope.epochs) for g in distinct(scope.space) if scope.allowed(g)]
