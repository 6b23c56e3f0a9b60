"""Rules over a table: those of ``core.best``, among the members that may be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netdial.choice.table import CandidateTable
from netdial.core import best as on_rows

Rule = Callable[[CandidateTable, Sequence[int]], int]


def best(table: CandidateTable, among: Sequence[int]) -> int:
    """Returns the member of ``among`` with the smallest loss; of equals the simplest."""
    return on_rows.best(table.rows(among), among)


def one_se(table: CandidateTable, among: Sequence[int]) -> int:
    """Returns the simplest member of ``among`` that is within one standard error of the best of them."""
    return on_rows.one_se(table.rows(among), among)


def sparsest(table: CandidateTable, among: Sequence[int]) -> int:
    """Returns the member of ``among`` with the fewest numbers left."""
    return on_rows.sparsest(table.rows(among), among)


RULES: dict[str, Rule] = {"best": best, "one-se": one_se, "sparsest": sparsest}
