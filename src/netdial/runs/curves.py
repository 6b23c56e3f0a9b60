"""Curves over complexity: what the records of a run say about each member of the family.

`members` turns records into one row per complexity value; `headline` picks the best member on validation data and the
simplest one that is as good within one standard error (Breiman et al., Classification and Regression Trees, 1984, §3.4.3).
Nothing is ever chosen on test data.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from netdial.core.records import Record


@dataclass(frozen=True)
class Member:
    """What is known about one member of the family.

    Attributes:
        lam: complexity value.
        values: name of a record, for example ``valid/accuracy``, to its value (the mean when there are several seeds).
    """

    lam: float
    values: dict[str, float]

    def get(self, name: str) -> float | None:
        """Returns a value, or None when it was not recorded or is not finite."""
        value = self.values.get(name)
        return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Headline:
    """The answer of a run.

    Attributes:
        metric: record that decides: ``valid/accuracy``, or ``valid/rmse`` for regression.
        best: member with the best value of it; of equals, the simplest.
        value: that value.
        standard_error: of the value, sqrt(p (1 - p) / n) for an accuracy p over n examples; None when not known.
        simplest: member with the largest complexity value whose accuracy is at least ``value - standard_error``;
            None when the standard error is not known.
    """

    metric: str
    best: Member
    value: float
    standard_error: float | None
    simplest: Member | None


def members(records: Iterable[Record]) -> list[Member]:
    """Returns one row per complexity value, in rising order, from the latest evaluation among the records."""
    rows = [r for r in records if r.method == "evaluate" and r.lam is not None]
    last = max((r.step for r in rows), default=0)
    found: dict[float, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in rows:
        if record.step == last and record.lam is not None:
            found[record.lam][record.name].append(record.value)
    return [
        Member(lam, {name: fmean(values) for name, values in found[lam].items()})
        for lam in sorted(found)
    ]


def headline(rows: Sequence[Member], config: dict[str, Any]) -> Headline | None:
    """Returns the answer of a run, or None when nothing was measured on validation data.

    Args:
        rows: what `members` returns.
        config: configuration of the run; ``kind`` and ``n_valid`` are read.
    """
    regression = config.get("kind") == "regression"
    metric = "valid/rmse" if regression else "valid/accuracy"
    scored = [(value, row) for row in rows if (value := row.get(metric)) is not None]
    if not scored:
        return None
    value, best = max(scored, key=lambda pair: (-pair[0] if regression else pair[0], pair[1].lam))
    n_valid = config.get("n_valid")
    if regression or not isinstance(n_valid, int) or n_valid < 1 or not 0 <= value <= 1:
        return Headline(metric, best, value, None, None)
    error = math.sqrt(value * (1 - value) / n_valid)
    simplest = max((row for v, row in scored if v >= value - error), key=lambda row: row.lam)
    return Headline(metric, best, value, error, simplest)


def learning(
    records: Iterable[Record],
) -> dict[str, dict[float | None, list[tuple[int, float]]]]:
    """Returns the learning curves: name of a record -> complexity value (None: whole batch) -> (step, value) pairs."""
    curves: dict[str, dict[float | None, list[tuple[int, float]]]] = {}
    for record in records:
        if record.method == "train":
            lines = curves.setdefault(record.name, {})
            lines.setdefault(record.lam, []).append((record.step, record.value))
    for lines in curves.values():
        for points in lines.values():
            points.sort()
    return curves
