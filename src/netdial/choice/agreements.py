"""Agreement: what each rule and each estimator would have chosen, and what that loses on validation data.

Rules choose λ and share removed. Estimators see training data and choose λ alone; their members are not pruned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netdial.choice.choice import Choice
from netdial.choice.rules import RULES, best
from netdial.choice.table import Candidate
from netdial.core.errors import ConfigError
from netdial.evidence import assess, lowest
from netdial.family.family import Family
from netdial.objective import OBJECTIVES


@dataclass(frozen=True)
class Verdict:
    """What one criterion chooses.

    Attributes:
        by: rule or estimator.
        cell: the member.
        lost: how much worse it is than the best member, in units of the metric.
        error: paired standard error of the mean difference of what examples add to the metric.
    """

    by: str
    cell: Candidate
    lost: float
    error: float


def agreement(family: Family, choice: Choice, *, by: Sequence[str] | None = None) -> list[Verdict]:
    """Returns what every criterion would have chosen from the same members.

    Args:
        family: the family that the choice was made from.
        choice: the choice; its table, data and objective are used.
        by: estimators of ``netdial.evidence``; by default those it computes by itself, and none without training data.

    Raises:
        ConfigError: there are no validation data to compare on, or no training data for the estimators asked for, or one of
            them does not apply to the objective.
    """
    table, problem = choice.table, choice.problem
    if problem.valid is None:
        raise ConfigError("agreement compares on validation data; choose with valid")
    everyone = range(len(table.cells))
    found = {name: RULES[name](table, everyone) for name in ("best", "one-se")}
    if by and problem.train is None:
        raise ConfigError(
            f"agreement: by={list(by)} is estimated on training data; choose with train"
        )
    asked = OBJECTIVES[choice.tuning.objective].estimators if by is None else by
    if problem.train is not None and asked:
        lams = sorted({cell.lam for cell in table.cells})
        estimates = assess(
            family,
            problem.train,
            lams=lams,
            by=by,
            objective=choice.tuning.objective,
            kind=problem.task,
            seed=problem.pruning.seed,
        )
        for name, lam in lowest(estimates).items():
            row = [i for i in everyone if table.cells[i].lam == lam]
            found[name] = min(row, key=lambda i: table.cells[i].share)
    top = best(table, everyone)
    return [
        Verdict(name, table.cells[i], table.lost(i, top), float(table.excess([i], top)[1]))
        for name, i in found.items()
    ]
