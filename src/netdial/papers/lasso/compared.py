"""Fronts of two penalties compared at equal sparsity, and the tables of it."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from netdial.core.best import signed
from netdial.papers.lab.outcome import TextTable

GROUP = "group lasso"

EXACT = 0.01
"""Loss below which both models fit exactly, relative to the loss without inputs."""
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
"""Shares of columns removed at which losses are compared."""

Point = dict[str, float]


def at_level(points: Sequence[Point], level: float, what: str) -> float | None:
    """Returns a loss of a front at a share of columns removed, None where the front does not reach it.

    Points that keep no less and fit the training data no better than another are left out; between the others the logarithms
    of loss and of the share kept are joined by straight lines.

    Args:
        points: the front.
        level: share of columns removed.
        what: the loss to read.
    """
    order, best = what.replace("valid", "loss"), list[Point]()
    for point in sorted(points, key=lambda point: (1 - point["sparsity"], point[order])):
        if point["sparsity"] < 1 and (not best or point[order] < best[-1][order]):
            best.append(point)
    kept = 1 - level
    for fewer, more in itertools.pairwise(best):
        low, high = 1 - fewer["sparsity"], 1 - more["sparsity"]
        if low - 1e-12 <= kept <= high + 1e-12 and high > low:
            share = math.log(kept / low) / math.log(high / low)
            ends = [math.log(max(point[what], 1e-9)) for point in (fewer, more)]
            return math.exp(ends[0] + share * (ends[1] - ends[0]))
    return None


COMPARED = {
    "training": ("loss", "loss"),
    "validation": ("valid", "valid"),
    "training, group lasso refitted": ("loss", "refit loss"),
    "validation, group lasso refitted": ("valid", "refit valid"),
    "training, both refitted": ("refit loss", "refit loss"),
    "validation, both refitted": ("refit valid", "refit valid"),
}
"""Comparisons: the loss of ShrinkNet, and that of the group lasso it is compared with."""


def difference(
    shrunk: Sequence[Point], convex: Sequence[Point], level: float, compared: str
) -> float | None:
    """Returns (ShrinkNet's loss - group lasso's loss) / group lasso's loss at equal sparsity.

    None outside either front, and where both losses are below 1 % of the loss without inputs: then both fit exactly.
    """
    mine, theirs = COMPARED[compared]
    a = at_level(shrunk, level, mine)
    b = at_level(convex, level, theirs)
    return None if a is None or b is None or max(a, b) < EXACT else (a - b) / b


Fronts = Mapping[tuple[str, str], Sequence[Sequence[Point]]]


def differences(fronts: Fronts) -> list[dict[str, Any]]:
    """Returns a row for each data set, ShrinkNet, seed, level and comparison that both fronts reach."""
    found = []
    for (data, penalty), group in fronts.items():
        if penalty == GROUP:
            continue
        for seed, (shrunk, convex) in enumerate(zip(group, fronts[data, GROUP], strict=True)):
            for level in LEVELS:
                for compared in COMPARED:
                    value = difference(shrunk, convex, level, compared)
                    if value is not None:
                        where = {"data": data, "penalty": penalty, "seed": seed, "level": level}
                        found.append({**where, "compared": compared, "difference": value})
    return found


def optimality(fronts: Fronts) -> list[dict[str, Any]]:
    """Returns how well each problem was solved, the worst or the middle over λ and seeds."""
    found: list[dict[str, Any]] = []
    for (data, penalty), group in fronts.items():
        points = [point for path in group for point in path]
        row: dict[str, Any] = {"data": data, "penalty": penalty}
        if penalty == GROUP:
            row |= {what: max(point[what] for point in points) for what in ("gap", "kkt")}
        else:
            row["random"] = statistics.median(point["random"] for point in points)
            row["worst"] = max(point["worst"] for point in points)
            row["open"] = statistics.median(point["open"] for point in points)
            row["violation"] = statistics.median(point["violation"] for point in points)
        found.append({**row, "steps": statistics.median(point["steps"] for point in points)})
    return found


def median_difference(
    rows: Sequence[Mapping[str, Any]], data: str, penalty: str, compared: str
) -> float | None:
    """Returns the median over levels of the medians over seeds."""
    values = [
        statistics.median(found)
        for level in LEVELS
        if (found := _select(rows, data, penalty, compared, level))
    ]
    return statistics.median(values) if values else None


def _select(
    rows: Sequence[Mapping[str, Any]], data: str, penalty: str, compared: str, level: float
) -> list[float]:
    where = (data, penalty, compared, level)
    names = ("data", "penalty", "compared", "level")
    return [row["difference"] for row in rows if tuple(row[name] for name in names) == where]


def difference_table(fronts: Fronts, rows: Sequence[Mapping[str, Any]], compared: str) -> TextTable:
    """Returns the median differences of one comparison, by data set, penalty and level."""
    lines = []
    for data, penalty in fronts:
        if penalty == GROUP:
            continue
        cells = []
        for level in LEVELS:
            found = _select(rows, data, penalty, compared, level)
            cells.append(signed(statistics.median(found), "+.0%") if found else "")
        middle = median_difference(rows, data, penalty, compared)
        lines.append((data, penalty, *cells, "" if middle is None else signed(middle, "+.0%")))
    return TextTable(
        f"Loss of ShrinkNet against the group lasso: {compared}",
        ("", "", *(f"{level:.0%} removed" for level in LEVELS), "median"),
        tuple(lines),
        "Relative difference at equal sparsity, median over seeds; below 0 % ShrinkNet fits closer. Empty: outside a front.",
    )


def optimality_table(rows: Sequence[Mapping[str, Any]]) -> TextTable:
    """Returns the table of ``optimality``."""
    lines = []
    for row in rows:
        convex = row["penalty"] == GROUP
        gap = f"{row['gap']:.0e}" if convex else f"{row['random']:.1%}"
        worst = f"{row['kkt']:.0e}" if convex else f"{row['worst']:.1%}"
        rest = ("", "") if convex else (f"{row['violation']:.0e}", f"{row['open']:.0%}")
        lines.append((row["data"], row["penalty"], gap, worst, *rest, f"{row['steps']:.0f}"))
    return TextTable(
        "How well the problems were solved",
        ("", "", "gap", "worst", "violation", "not excluded", "steps"),
        tuple(lines),
        "Group lasso: largest duality gap relative to the loss without inputs, largest KKT violation relative to λ. ShrinkNet: "
        "random starts above the best start, in the mean, and the worst of all starts; distance from stationarity; the share "
        "by which the objective could still be lower, by the convex bound. Medians over λ and seeds, or the largest.",
    )
