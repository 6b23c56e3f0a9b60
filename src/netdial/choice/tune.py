"""Members pruned and fine-tuned in turn, to choose from beside those that were only pruned.

At one λ, shares rise step by step; after each, the member is trained further from where it stands (Han et al. 2015, §3). That
pays where pruning begins to cost something, so the walk starts behind the last share that is still within one standard error
of what this λ can do at best. The few values of λ that do best without any training are walked along.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from netdial.choice.member import measured, restricted
from netdial.choice.rules import best, one_se
from netdial.choice.search import ChoiceProblem
from netdial.choice.table import CandidateTable
from netdial.core.errors import ConfigError
from netdial.family.family import Family
from netdial.train.finetune import finetune
from netdial.train.fit import learn_noise

_WALKS = 5


@dataclass(frozen=True)
class Tuning:
    """How members are trained further.

    Attributes:
        epochs: passes over the training data after every step; 0 does not train.
        objective: what the family was trained under.
        settings: fields of ``FitConfig`` over those of ``fitting.finetune``.
    """

    epochs: int = 0
    objective: str = "l1"
    settings: dict[str, Any] = field(default_factory=dict)

    def train(self, family: Family, lam: float, problem: ChoiceProblem) -> Family:
        """Returns a member trained further on the problem's training data, under its own prior and in its own precision.

        Raises:
            ConfigError: there are no training data, or a setting is wrong.
        """
        if problem.train is None:
            raise ConfigError("finetune: no training data; give train=")
        given = {
            "objective": self.objective,
            "precision": "64-true" if family.dtype == torch.float64 else "32-true",
            "epochs": self.epochs,
            "seed": problem.pruning.seed,
        }
        member = finetune(
            family, lam, problem.train, kind=problem.task, **{**given, **self.settings}
        )
        if problem.valid is not None:
            learn_noise(member, problem.valid)
        return member


def with_tuned(
    family: Family, table: CandidateTable, problem: ChoiceProblem, tuning: Tuning
) -> CandidateTable:
    """Returns the table with members added that were fine-tuned after every step of pruning."""
    timed = table.cells[0].latency_ms
    cells, scored = [], []
    for lam in _lams(table):
        for share, member in _walk(family, lam, table, problem, tuning):
            cell, found = measured(member, lam, share, problem)
            cells.append(replace(cell, epochs=tuning.epochs, latency_ms=timed))
            scored.append(found)
    return table.with_more(cells, scored)


def tuned_member(
    family: Family,
    lam: float,
    share: float,
    table: CandidateTable,
    problem: ChoiceProblem,
    tuning: Tuning,
) -> Family:
    """Returns a member that ``with_tuned`` measured: the same steps once more, which give the same numbers.

    Args:
        family: the family.
        lam: complexity value of the member.
        share: share removed.
        table: the table before it was added to.
        problem: data, and how to prune.
        tuning: how it is trained.
    """
    walk = _walk(family, lam, table, problem, tuning)
    return next(member for at, member in walk if at == share)


def _lams(table: CandidateTable) -> list[float]:
    """Returns the complexity values with the best members, each at its best share."""
    rows = table.rows()
    by_lam = [[i for i in among if rows[i].is_measured] for among in _by_lam(table).values()]
    tops = [best(table, among) for among in by_lam if among]
    ranked = sorted(tops, key=lambda i: (rows[i].loss, -rows[i].lam))
    return [table.cells[i].lam for i in ranked[:_WALKS]]


def _walk(
    family: Family, lam: float, table: CandidateTable, problem: ChoiceProblem, tuning: Tuning
) -> Iterator[tuple[float, Family]]:
    """Yields (share, member) in rising order of shares."""
    here = _by_lam(table)[lam]
    free = table.cells[one_se(table, here)].share
    member = family
    for share in sorted(table.cells[i].share for i in here):
        if share > free:
            member = tuning.train(restricted(member, lam, share, problem), lam, problem)
            yield share, member


def _by_lam(table: CandidateTable) -> dict[float, list[int]]:
    found: dict[float, list[int]] = {}
    for index, cell in enumerate(table.cells):
        found.setdefault(cell.lam, []).append(index)
    return found
