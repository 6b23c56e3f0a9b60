"""Wall time of the whole ``netdial reproduce mnist-table1``, from an empty folder to the page, on all cores of this machine.

Nothing is read from earlier runs. The quick version times the quick experiment.
"""

from __future__ import annotations

import os
import tempfile
import time

from benchmarks.common.result import Result
from netdial.papers import perform


def measure(*, quick: bool = False) -> Result:
    """Returns the minutes."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = perform("mnist-table1", folder=folder, quick=quick, report=print)
        minutes = (time.perf_counter() - start) / 60
    return Result(
        "table1-time",
        minutes,
        "minutes",
        "lower",
        seeds=tuple(range(found.settings["starts"])),
        quick=quick,
        baseline="not measured here: the authors' programs, about 2.6 h on one thread with the data in memory",
        rows=[
            {
                "cores": os.cpu_count(),
                **{
                    f"{words}, epochs": epochs for words, epochs in found.settings["epochs"].items()
                },
            }
        ],
    )
