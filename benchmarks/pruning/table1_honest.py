"""MNIST Table 1 honestly: test accuracy by the share deleted, in %, of the λ that validation data choose, 5 seeds.

The same networks as table1, of which the value is our family with our policy; λ is chosen for each start and each share, shown
is the mean over starts, and the spread is the standard deviation.
"""

from __future__ import annotations

from benchmarks.common.result import Result
from netdial.papers import perform
from netdial.papers.mnist_table1 import GLOBAL


def measure(*, quick: bool = False) -> Result:
    """Returns the row of our family."""
    found = perform("mnist-table1", quick=quick, report=print)
    labels = [f"{share:.0%}".rstrip("%") for share in found.values["shares"]]
    rows: dict[str, dict[str, list[float]]] = found.values["rows"]
    several = found.settings["starts"] > 1
    return Result(
        "table1-honest",
        dict(zip(labels, rows[GLOBAL]["mean"], strict=True)),
        "test accuracy",
        "higher",
        seeds=tuple(range(found.settings["starts"])),
        quick=quick,
        baseline="none published; table1 has the same networks by the paper's rule",
        spread=dict(zip(labels, rows[GLOBAL]["std"], strict=True)) if several else {},
        rows=[
            {"row": label, **dict(zip(labels, row["mean"], strict=True))}
            for label, row in rows.items()
        ],
    )
