"""ShrinkNets against the group lasso: relative difference of the training loss at equal sparsity, on four data sets.

The experiment is ``netdial reproduce group-sparsity`` and says how it is done; this prints its figure: for each data set and
penalty the median over levels of sparsity of (ShrinkNet's loss - group lasso's loss) / group lasso's loss, and the largest
duality gap with which the group lasso was solved, relative to the loss without inputs.
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.common.result import Result
from netdial.papers import perform


def measure(*, quick: bool = False) -> Result:
    """Returns the differences and the gap.

    Raises:
        RuntimeError: a group lasso was not solved to its optimum, or a difference is not a number.
    """
    found = perform("group-sparsity", quick=quick, report=print)
    middle: dict[str, dict[str, float | None]] = found.values["median"]
    proof: list[dict[str, Any]] = found.values["optimality"]
    value = {name: row["training"] for name, row in middle.items() if row["training"] is not None}
    value["largest duality gap"] = max(row["gap"] for row in proof if "gap" in row)
    if not all(math.isfinite(number) for number in value.values()):
        raise RuntimeError(f"not finite: {value}")
    if value["largest duality gap"] > 1e-3:
        raise RuntimeError(f"the group lasso has a gap of {value['largest duality gap']:.1e}")
    return Result(
        "group-sparsity",
        value,
        "relative difference",
        "lower",
        seeds=tuple(range(found.settings["starts"])),
        quick=quick,
        baseline="the group lasso's certified optimum, at equal sparsity",
        floor="'both refitted': what is left when both fit their columns without a group penalty",
        spread={
            name: _reach(found.values["differences"], name) for name in value if name in middle
        },
        rows=[{"data and penalty": name, **row} for name, row in middle.items()],
    )


def _reach(rows: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """Returns the lowest and the highest difference over levels and seeds."""
    values = [
        row["difference"]
        for row in rows
        if f"{row['data']}, {row['penalty']}" == name and row["compared"] == "training"
    ]
    return min(values), max(values)
