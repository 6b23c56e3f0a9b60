"""Curves over complexity: what the records of a run say about each member of the family.

`members` turns records into one row per complexity value, `constants` into what a constant prediction is worth; `headline`
chooses the best member on validation data and the simplest one within one standard error of it, by the rules of ``core.best``
and the task's proper loss. Nothing is ever chosen on test data.

Evaluation records the comparison itself: ``valid/excess`` is the mean loss of a member above that of the best one, and
``valid/excess_error`` the paired standard error of that difference.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from netdial.core.best import MEAN, PREDICTIVE, Row, best, one_se, remarks
from netdial.core.records import Record

CONSTANT = "constant"
"""Method of the records of what a constant is worth: class frequencies, or the mean of the targets."""
RIVAL = "rival"
"""Method of the records of what others reach on the same rows; the axis of that name says who."""
WHOLE = "whole network"
"""Rival of a network that was made small: the same network, left whole."""
EXCESS, EXCESS_ERROR = "valid/excess", "valid/excess_error"

_EARLIER = {"regression": ("rmse", "rmse")}
"""Metric and proper metric by kind of task, for runs that do not hold them."""
_HIGHER = ("accuracy",)


def finite(value: float | None) -> float | None:
    """Returns a value, or None if there is none or it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def shown_metric(names: Collection[str]) -> str | None:
    """Returns the record that is shown of a network: accuracy or RMSE, on validation data if there are such."""
    wanted = (f"{part}/{metric}" for part in ("valid", "test") for metric in ("accuracy", "rmse"))
    return next((name for name in wanted if name in names), None)


@dataclass(frozen=True)
class MemberRow:
    """What is known about one member of the family.

    Attributes:
        lam: complexity value.
        values: name of a record, for example ``valid/accuracy``, to its value (the mean when there are several seeds).
    """

    lam: float
    values: dict[str, float]

    def get(self, name: str) -> float | None:
        """Returns a value, or None when it was not recorded or is not finite."""
        return finite(self.values.get(name))


@dataclass(frozen=True)
class Headline:
    """The answer of a run.

    Attributes:
        metric: record that decides: ``valid/nll`` (log loss), or ``valid/rmse`` for regression.
        best: member with the best value of it; of equals, the simplest.
        value: that value.
        simplest: member with the largest complexity value that is within one standard error of the best; None if the run
            did not record standard errors.
        excess: mean loss of the simplest one above that of the best.
        standard_error: paired standard error of that difference; None if it was not recorded.
        remarks: what a reader should know about the choice, one sentence each.
        constant: what a constant prediction is worth, record name -> value.
        using: what predicts better at the best member: ``mean weights``, or ``predictive`` (the average over the posterior).
    """

    metric: str
    best: MemberRow
    value: float
    simplest: MemberRow | None = None
    excess: float | None = None
    standard_error: float | None = None
    remarks: tuple[str, ...] = ()
    constant: dict[str, float] = field(default_factory=dict)
    using: str = MEAN

    @property
    def chosen(self) -> MemberRow:
        """The simplest member within one standard error, or the best one if that is not known."""
        return self.simplest or self.best

    def is_worse_than_constant(self, member: MemberRow) -> bool:
        """Returns whether a member predicts validation data worse than a constant does."""
        return is_worse(member, self.constant, self.metric)


def members(records: Iterable[Record]) -> list[MemberRow]:
    """Returns one row per complexity value, in rising order, from the latest evaluation among the records."""
    rows = [r for r in records if r.method == "evaluate" and r.lam is not None]
    last = max((r.step for r in rows), default=0)
    found: dict[float, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in rows:
        if record.step == last and record.lam is not None:
            found[record.lam][record.column].append(record.value)
    return [
        MemberRow(lam, {name: fmean(values) for name, values in found[lam].items()})
        for lam in sorted(found)
    ]


def rivals(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """Returns what rivals that were run are worth: name -> record name -> value."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for record in records:
        if record.method == RIVAL and "rival" in record.where:
            found[str(record.where["rival"])][record.column] = record.value
    return dict(found)


def strongest(found: Mapping[str, Mapping[str, float]], metric: str) -> tuple[str, float] | None:
    """Returns the best rival by a record, and its value; None if none has one."""
    known = [(row[metric], name) for name, row in found.items() if metric in row]
    if not known:
        return None
    value, name = (max if metric.rpartition("/")[2] in _HIGHER else min)(known)
    return name, value


def constants(records: Iterable[Record]) -> dict[str, float]:
    """Returns what a constant prediction is worth, record name -> value; empty if the run did not record it."""
    rows = [r for r in records if r.method == CONSTANT]
    last = max((r.step for r in rows), default=0)
    return {r.column: r.value for r in rows if r.step == last}


def metrics_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the metric that people compare members of a run by, and the one that decides."""
    metric, proper = _EARLIER.get(str(config.get("kind")), ("accuracy", "nll"))
    return str(config.get("metric") or metric), str(config.get("proper") or proper)


def deciding(
    rows: Iterable[MemberRow], config: Mapping[str, Any], split: str = "valid"
) -> str | None:
    """Returns the record that members are compared by on a part of the data, or None if there is none."""
    names = {name for row in rows for name in row.values}
    proper = metrics_of(config)[1]
    wanted = (f"{split}/{name}" for name in (("nll", "accuracy") if proper == "nll" else (proper,)))
    return next((name for name in wanted if name in names), None)


def is_worse(member: MemberRow, constant: dict[str, float], metric: str) -> bool:
    """Returns whether a member is worse than a constant by a metric; False if either is not known."""
    value, limit = member.get(metric), constant.get(metric)
    return value is not None and limit is not None and _loss(metric, value) > _loss(metric, limit)


def headline(
    rows: Sequence[MemberRow], config: dict[str, Any], constant: dict[str, float] | None = None
) -> Headline | None:
    """Returns the answer of a run, or None when nothing was measured on validation data.

    Args:
        rows: what `members` returns.
        config: configuration of the run; ``kind``, ``lo`` and ``hi`` are read.
        constant: what `constants` returns.
    """
    metric = deciding(rows, config)
    compared = [_row(row, metric or "") for row in rows]
    if metric is None or not any(row.is_measured for row in compared):
        return None
    top, simple = best(compared), one_se(compared)
    known = any(math.isfinite(row.error) for row in compared)
    ends = [_number(config.get(key)) for key in ("lo", "hi")]
    taken = [top, simple] if known else [top]
    said = [text for index in taken for text in remarks(compared, index, *ends)]
    answer = Headline(
        metric,
        rows[top],
        rows[top].values[metric],
        constant=constant or {},
        using=_using(rows[top], metric),
    )
    said += [
        f"The member at λ = {rows[index].lam:.4g} predicts validation data worse than a constant."
        for index in taken
        if answer.is_worse_than_constant(rows[index])
    ]
    answer = replace(answer, remarks=tuple(dict.fromkeys(said)))
    if not known:
        return answer
    return replace(
        answer,
        simplest=rows[simple],
        excess=compared[simple].loss - compared[top].loss,
        standard_error=compared[simple].error,
    )


def warning(lam: float, rows: Sequence[MemberRow], answer: Headline | None) -> str | None:
    """Returns what should be known before a member is exported: it, or the measured one next to it, is worse than a constant.

    Args:
        lam: complexity value of the member.
        rows: what `members` returns.
        answer: what `headline` returns.
    """
    if answer is None:
        return None
    near = min(rows, key=lambda row: abs(math.log(row.lam / lam)))
    if not answer.is_worse_than_constant(near):
        return None
    return (
        f"the network at λ = {near.lam:.4g} predicts validation data worse than a constant "
        f"({answer.metric.partition('/')[2]} {near.values[answer.metric]:.4g}, a constant has "
        f"{answer.constant[answer.metric]:.4g}); a smaller λ, or averaging over the posterior, is better"
    )


def learning(
    records: Iterable[Record],
) -> dict[str, dict[float | None, list[tuple[int, float]]]]:
    """Returns the learning curves: name of a record -> complexity value (None: whole batch) -> (step, value) pairs."""
    curves: dict[str, dict[float | None, list[tuple[int, float]]]] = {}
    for record in records:
        if record.method == "train":
            lines = curves.setdefault(record.column, {})
            lines.setdefault(record.lam, []).append((record.step, record.value))
    for lines in curves.values():
        for points in lines.values():
            points.sort()
    return curves


def _row(member: MemberRow, metric: str) -> Row:
    """Returns a member as the rules see it; without a recorded comparison, by the metric and without an error."""
    value = member.get(metric)
    if value is None:
        return Row(member.lam, math.nan)
    loss, error = member.get(EXCESS), member.get(EXCESS_ERROR)
    if loss is None or error is None:
        return Row(member.lam, _loss(metric, value))
    return Row(member.lam, loss, error)


def _loss(metric: str, value: float) -> float:
    return -value if metric.partition("/")[2] in _HIGHER else value


def _using(member: MemberRow, metric: str) -> str:
    """Returns what predicts better at a member, by the metric that decides."""
    mean, averaged = member.get(metric), member.get(f"{metric}_predictive")
    if mean is None or averaged is None:
        return MEAN
    return PREDICTIVE if _loss(metric, averaged) < _loss(metric, mean) else MEAN


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
