"""``assess``: what the members of a family are worth, judged by their training data alone.

All estimators asked for share one subject, so what is dear (sweeps over the data) is done once. Values are in bits per
example, lower is better, whatever the estimator's own scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

import netdial.evidence.estimators  # noqa: F401 (registers them)
from netdial.core.arguments import Several, checked
from netdial.core.errors import ConfigError
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.data.memory.weights import unweighted
from netdial.evidence.held_out import (
    UNCHECKED,
    USELESS,
    errors_along,
    objection,
    training_objection,
)
from netdial.evidence.legality import check, chooses, why
from netdial.evidence.subject import ESTIMATORS, EvidenceSubject, Reading
from netdial.family.family import Family
from netdial.objective import LAPLACE, OBJECTIVES
from netdial.task import Task
from netdial.task.rehearsal import admit


@dataclass(frozen=True)
class Estimate:
    """Value and standard error of one estimator for one member.

    Attributes:
        name: estimator.
        lam: complexity value; nan if it is about the family as a whole.
        value: bits per example, lower is better; for ``pac-bayes`` an error rate.
        error: standard error of ``value``, in its unit.
        parts: what ``value`` is made of (``data``, ``model``, … in its unit); ``gap`` and ``gap_error``, how much worse than
            the best λ of this estimator, with the standard error of that difference; and the estimator's own diagnostics.
        legal: whether λ may be chosen by it.
        why: what the number is, in a few words; or why λ may not be chosen by it, and what to do.
        unit: unit of ``value``.
    """

    name: str
    lam: float
    value: float
    error: float
    parts: dict[str, float] = field(default_factory=dict)
    legal: bool = True
    why: str = ""
    unit: str = "bits/example"


@checked
@in_usual_modes
def assess(
    family: Family,
    data: Data,
    *,
    lams: int | Sequence[float] = 9,
    by: Sequence[str] | None = None,
    objective: str | None = None,
    kind: str | Task | None = None,
    n_samples: Several = 32,
    n_examples: Several | None = None,
    delta: float = 0.05,
    seed: int = 0,
    held_out: Mapping[float, float] | None = None,
) -> list[Estimate]:
    """Returns estimates of evidence and generalisation along λ, from training data.

    The noise variance of a regression is unknown, and integrated out; whether an estimator may choose (``Estimate.legal``) is
    checked on the errors that members make on held-out rows, see ``held_out``. A family that does not say what it was trained
    for is judged under a noise variance of 1.

    Args:
        family: the family.
        data: the data it was *trained* on.
        lams: complexity values, or how many to space evenly over the trained range.
        by: names of estimators (``ESTIMATORS``); by default those of the objective.
        objective: what the family was trained under, if it does not know (``Family.objective``).
        kind: the task: a name, or a ``Task``; by default that of the family.
        n_samples: S, draws of the weights; the same random numbers at every λ.
        n_examples: look at so many examples, chosen at random, and scale up; errors grow by what that adds.
        delta: probability with which the PAC-Bayes bound may fail.
        seed: seed of draws and of the choice of examples.
        held_out: mean squared errors of the members on held-out rows by λ; by default those that a regression family noted
            of its validation part.

    Returns:
        Estimates in the order of ``by``, each along rising λ.

    Raises:
        ConfigError: an estimator does not apply to the objective (the message says which do), or an option is out of range.
    """
    family.weights_alone("evidence")
    part, task = admit(family.net, data, kind, family.task, "training part", family.columns)
    unweighted(part, "assess")
    values = tuple(sorted(set(family.lams(lams))))
    objective = objective or family.objective
    names = OBJECTIVES[objective].default if by is None else tuple(by)
    for name in names:
        if name != "objective":
            ESTIMATORS[name]
    check(objective, names, points=family.log_std is None)
    if not 0 < delta < 1:
        raise ConfigError(f"delta={delta:g}; expected a probability between 0 and 1")
    subject = EvidenceSubject(
        family,
        part,
        values,
        objective=objective,
        task=task.trained_as(family.task),
        n_samples=n_samples,
        n_examples=n_examples,
        seed=seed,
        delta=delta,
        integrated=family.task is not None,
    )
    found = [
        estimate
        for name in dict.fromkeys(names)
        for estimate in _estimates(name, ESTIMATORS[name](subject), subject.n_data)
    ]
    errors = errors_along(subject.task, values) if held_out is None else held_out
    if not errors and subject.task.wants_held_out:
        return _unchecked(found, family, part)
    return _checked(found, errors, part.y if held_out is None else None) if errors else found


def _checked(
    found: Sequence[Estimate], errors: Mapping[float, float], targets: Tensor | None
) -> list[Estimate]:
    """Returns estimates of which those may not choose whose choice held-out errors speak against."""
    return _barred(
        found, {name: objection(lam, errors, targets) for name, lam in lowest(found).items()}
    )


def _unchecked(found: Sequence[Estimate], family: Family, part: Dataset) -> list[Estimate]:
    """Returns estimates that say that nothing was held out; what takes a constant may not choose if others are better."""
    least = lowest(found)
    taken = {
        lam: training_objection(family, lam, part)
        for lam in {each.lam for each in found if each.name in least}
    }
    caution = UNCHECKED
    if all(taken.values()):
        caution, taken = f"{USELESS}; {UNCHECKED}", dict.fromkeys(taken, "")
    said = [
        replace(each, why=f"{each.why}; {caution}") if each.name in least else each
        for each in found
    ]
    return _barred(said, {name: taken[lam] for name, lam in least.items()})


def _barred(found: Sequence[Estimate], objections: Mapping[str, str]) -> list[Estimate]:
    """Returns estimates of which those may not choose that there is an objection to."""
    return [
        replace(each, legal=False, why=objections[each.name]) if objections.get(each.name) else each
        for each in found
    ]


def chosen(estimates: Iterable[Estimate]) -> dict[str, float]:
    """Returns the λ that each estimator chooses: its least value, of equals the largest λ; what may not choose is left out."""
    return lowest(estimate for estimate in estimates if estimate.legal)


def lowest(estimates: Iterable[Estimate]) -> dict[str, float]:
    """Returns the λ at which each estimator is least, whether it may choose or not; of equals the largest λ."""
    best: dict[str, Estimate] = {}
    for estimate in estimates:
        if not chooses(estimate.name, estimate.parts) or not math.isfinite(estimate.value):
            continue
        held = best.get(estimate.name)
        if held is None or (estimate.value, -estimate.lam) < (held.value, -held.lam):
            best[estimate.name] = estimate
    return {name: estimate.lam for name, estimate in best.items()}


def doubts(estimates: Iterable[Estimate]) -> list[str]:
    """Returns one sentence for each estimator whose own diagnostics say that it should not be trusted, or not here."""
    found = list(estimates)
    lines = []
    for name, part, limit, words in _DOUBTS:
        where = [
            f"{e.lam:.3g}"
            for e in found
            if e.name == name and part in e.parts and not limit(e.parts[part])
        ]
        if where:
            lines.append(f"{name} {words} at λ = {', '.join(where)}")
    return lines


_DOUBTS: tuple[tuple[str, str, Callable[[float], bool], str], ...] = (
    ("iwae", "ess", lambda ess: ess > 5, "is degenerate (fewer than 5 effective draws)"),
    (
        "waic",
        "unsure",
        lambda share: share < 0.1,
        "is unreliable (variance above 0.4 for over 10 % of examples)",
    ),
    (
        "psis-loo",
        "unsure",
        lambda share: share < 0.1,
        "is unreliable (k̂ too large for over 10 % of examples)",
    ),
    *(
        (
            name,
            "correction",
            lambda bits: bits < 0.1,
            "is far from a mode (first-order term above 0.1 bits per example)",
        )
        for name in LAPLACE
    ),
)


def _estimates(name: str, readings: Sequence[Reading], n_data: int) -> list[Estimate]:
    """Returns readings in bits per example, each compared with the best of them."""
    best = min(readings, key=lambda reading: (math.isnan(reading.value), reading.value))
    estimates = []
    for reading in readings:
        unit = 1.0 if reading.plain else n_data * math.log(2)
        parts = {key: value / unit for key, value in reading.parts.items()}
        if len(readings) > 1:
            parts["gap"] = (reading.value - best.value) / unit
        if len(readings) > 1 and reading.trace is not None and best.trace is not None:
            parts["gap_error"] = reading.trace.minus(best.trace).error() / unit
        estimates.append(
            Estimate(
                name,
                reading.lam,
                reading.value / unit,
                reading.error / unit,
                {**parts, **reading.notes},
                legal=chooses(name, reading.notes),
                why=why(name, reading.notes),
                unit="error rate" if reading.plain else "bits/example",
            )
        )
    return estimates
