"""Figure 3 of the 2022 paper: how close are the members of a family to directly trained networks (Wine, 5 seeds)?

The experiment is ``netdial reproduce wine-fig3`` and says how it is done; this prints its figure.
"""

from __future__ import annotations

import statistics

from benchmarks.common.result import Result
from netdial.papers import perform
from netdial.papers.wine_fig3 import AGAIN


def measure(*, quick: bool = False) -> Result:
    """Returns the distance of every way of training from the direct networks."""
    found = perform("wine-fig3", quick=quick, report=print)
    overall: dict[str, list[float]] = found.values["overall"]
    columns = dict.fromkeys(name for row in found.values["rows"] for name in row)
    return Result(
        "wine-fig3",
        {label: statistics.median(values) for label, values in overall.items()},
        "log10 nats, mean over λ, median over seeds",
        "lower",
        seeds=tuple(range(found.settings["starts"])),
        quick=quick,
        baseline="networks trained directly with the same recipe"
        + "".join(f"; {n}" for n in found.notes),
        floor=f"'{AGAIN}': what batches of one example leave between two direct networks",
        spread={label: (min(values), max(values)) for label, values in overall.items()},
        rows=[{name: row.get(name) for name in columns} for row in found.values["rows"]],
    )
