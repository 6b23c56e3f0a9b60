"""Shrinking against fixed widths: parameters of the smallest network of equal validation accuracy, fixed over shrunken.

Random search with as many runs for each arm, on a subset of COVERTYPE (15,120 rows); the sizes to shrink to are drawn, and the
widths of the fixed networks, independently. It is `netdial reproduce shrink-front`, whose cells lie in
``runs/benchmarks/shrink-front``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.result import Result
from netdial.papers import perform
from netdial.papers.lab.outcome import Outcome


def perform_front(*, quick: bool) -> Outcome:
    """Returns the experiment on COVERTYPE, or on wine at its smallest."""
    folder = Path("runs/benchmarks") / ("shrink-front-quick" if quick else "shrink-front")
    return perform("shrink-front", folder=folder, quick=quick, data="wine" if quick else None)


def measure(*, quick: bool = False) -> Result:
    """Returns the geometric mean of the ratios over levels of accuracy, for each kind of fixed network.

    ``all inputs`` are networks that lost channels alone.
    """
    found = perform_front(quick=quick)
    means, rows = found.values["geometric means"], found.values["ratios"]["independent"]
    ratios = [row["ratio"] for row in rows]
    keys = ("accuracy", "ours", "theirs", "ratio", "faster_1", "faster_64")
    channels = found.values["geometric means of channels alone"]
    value = {
        **means,
        **{f"{arm}, all inputs": value for arm, value in channels.items()},
    }
    return Result(
        "shrink-front",
        {arm: ratio for arm, ratio in value.items() if ratio == ratio},
        "ratio",
        "higher",
        seeds=(0,),
        quick=quick,
        baseline="2.2 to 38 on the whole data, chosen on test data (ShrinkNets draft)",
        spread={"independent": (min(ratios), max(ratios))} if ratios else {},
        rows=[{key: row[key] for key in keys} for row in rows],
    )
