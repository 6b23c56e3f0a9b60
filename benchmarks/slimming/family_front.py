"""One family, slimmed, against a sweep of shrunken networks: the area of its front and its processor time, over the sweep's.

Area is decades of parameters times validation accuracy above the worst network, on a subset of COVERTYPE. The runs are those of
the figure ``shrink-front``; one network that is slimmed in one shot stands beside the family.
"""

from __future__ import annotations

from benchmarks.common.result import Result
from benchmarks.shrinking.shrink_front import perform_front


def measure(*, quick: bool = False) -> Result:
    """Returns the ratios of area and of time."""
    beside = perform_front(quick=quick).values["beside"]
    value = {
        f"{arm}, {what}": beside[arm][what]
        for arm in ("family", "one-shot")
        for what in ("hypervolume", "compute")
    }
    return Result(
        "family-front",
        value,
        "ratio; area higher, time lower is better",
        "higher",
        seeds=(0,),
        quick=quick,
        baseline="the whole sweep of shrunken networks is 1",
        rows=[{"arm": arm, **found} for arm, found in beside.items()],
    )
