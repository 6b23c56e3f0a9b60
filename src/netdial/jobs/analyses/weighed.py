"""Estimates the evidence of the members of a run on its training data, and records it.

Estimates stand among a run's records as method ``evidence``, each with its estimator: ``evidence`` (bits per example, lower is
better; an error rate for pac-bayes), ``error`` for its standard error, ``data`` and ``model`` for the two terms where there
are two; ``refused`` is 1 where λ may not be chosen by it. What concerns the family as a whole has no complexity value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from netdial.core.arguments import checked_fields
from netdial.core.records import Place, Record
from netdial.data import Splits
from netdial.evidence import ESTIMATORS, Estimate, Health, assess, health
from netdial.family import Family
from netdial.objective import OBJECTIVES
from netdial.runs.run import Run

METHOD = "evidence"
_ALL = "all"


@checked_fields
@dataclass(frozen=True)
class EvidenceOptions:
    """What is estimated, and how well.

    Raises:
        ConfigError: an unknown estimator.
    """

    by: Annotated[
        tuple[str, ...],
        Field(
            description="estimators: {netdial.evidence:ESTIMATORS}, or all that apply; else a few that suit the objective"
        ),
    ] = ()
    samples: Annotated[int, Field(ge=2, description="draws of the weights")] = 32
    examples: Annotated[
        int | None, Field(ge=2, description="look at so many training examples only")
    ] = None
    health: Annotated[bool, Field(description="check the family itself: slopes, movement of σ")] = (
        False
    )

    def __post_init__(self) -> None:
        """Refuses an unknown estimator."""
        for name in self.by:
            if name not in (_ALL, "objective"):
                ESTIMATORS[name]

    def names(self, objective: str) -> list[str] | None:
        """Returns the estimators for an objective; None for those that suit it."""
        if self.by == (_ALL,):
            return [n for n in OBJECTIVES[objective].estimators if n != "laplace-full"]
        return list(self.by) or None


def weigh_run(
    run: Run,
    family: Family,
    task: Splits,
    *,
    by: Sequence[str] | None = None,
    lams: Sequence[float] | int | None = None,
    n_samples: int = 32,
    n_examples: int | None = None,
) -> list[Estimate]:
    """Returns estimates for the members of a run's family, and writes them into its records.

    Args:
        run: the run; its configuration gives objective, seed, and how many complexity values there are by default.
        family: its family.
        task: its data; the training part is looked at, nothing else.
        by: names of estimators; by default those that suit the objective.
        lams: complexity values, or how many.
        n_samples: draws of the weights.
        n_examples: look at so many examples only.

    Raises:
        ConfigError: an estimator does not apply to the run's objective.
    """
    estimates = assess(
        family,
        task.train,
        lams=run.config["points"] if lams is None else lams,
        by=by,
        objective=run.config["objective"],
        kind=task.kind,
        n_samples=n_samples,
        n_examples=n_examples,
        seed=run.config["seed"],
    )
    run.replace(evidence_records(run, estimates))
    return estimates


def examine_run(
    run: Run,
    family: Family,
    task: Splits,
    *,
    lams: Sequence[float] | int | None = None,
    n_samples: int = 32,
    n_examples: int | None = None,
) -> Health:
    """Returns the checks of a run's family (slopes, spreads) on its training data; nothing is recorded."""
    return health(
        family,
        task.train,
        lams=run.config["points"] if lams is None else lams,
        objective=run.config["objective"],
        kind=task.kind,
        n_samples=n_samples,
        n_examples=n_examples,
        seed=run.config["seed"],
    )


def evidence_records(run: Run, estimates: Sequence[Estimate]) -> list[Record]:
    """Returns the records of estimates, at the last step that the run has recorded; what is not finite is left out."""
    step = run.last_step
    records = []
    for estimate in estimates:
        values = {METHOD: estimate.value, "error": estimate.error}
        values |= {
            name: estimate.parts[name] for name in ("data", "model") if name in estimate.parts
        }
        if not estimate.legal:
            values["refused"] = 1.0
        where: dict[str, Place] = {"method": METHOD, "estimator": estimate.name}
        lam = None if math.isnan(estimate.lam) else estimate.lam
        records += [
            run.row(step, name, value, estimate.unit, lam=lam, **where)
            for name, value in values.items()
            if math.isfinite(value)
        ]
    return records
