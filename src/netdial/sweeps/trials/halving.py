"""Asynchronous successive halving (ASHA; Li et al. 2020): trials that do worse than most after as many epochs are stopped.

A trial that reaches a rung (``first``, ``first · factor``, … epochs) writes its validation objective beside those that came
there before, and goes on if it is in the best ``1/factor`` of them. The trial itself decides, from small files in the folder of
the sweep, so no process waits for another and all engines stop by one rule. Which trials are stopped depends on which came
first.
"""

from __future__ import annotations

import math
from pathlib import Path

from netdial.core.storage.boundary import read_json
from netdial.core.storage.files import write_json
from netdial.jobs.records.watch import FinishedEpoch, Watch
from netdial.sweeps.spec import EarlyStop

STOPPED, _RUNGS = "stopped", "rungs"


class StoppedEarly(Exception):
    """A trial does not go on."""


class Rungs(Watch):
    """Stops a trial at a rung unless it is among the best there.

    Args:
        folder: folder of the sweep.
        name: key of the trial.
        halving: where rungs are, and how many go on.
    """

    def __init__(self, folder: Path, name: str, halving: EarlyStop) -> None:
        self._folder, self._name, self._halving = folder, name, halving

    def epoch(self, progress: FinishedEpoch) -> None:
        """Compares the trial where it comes to a rung.

        Raises:
            StoppedEarly: it is not among the best.
        """
        if progress.valid is None or progress.epoch >= progress.epochs:
            return
        if not is_rung(progress.epoch, self._halving):
            return
        rung = self._folder / _RUNGS / str(progress.epoch)
        write_json(rung / f"{self._name}.json", progress.valid)
        others = [float(read_json(file, "delete it")) for file in rung.glob("[!.]*.json")]
        if not goes_on(progress.valid, others, self._halving.factor):
            stopped = {"epoch": progress.epoch, "valid": progress.valid, "of": len(others)}
            write_json(self._folder / STOPPED / f"{self._name}.json", stopped)
            raise StoppedEarly


def is_rung(epoch: int, halving: EarlyStop) -> bool:
    """Returns whether trials are compared after so many epochs.

    >>> [epoch for epoch in range(1, 30) if is_rung(epoch, EarlyStop(first=1, factor=3))]
    [1, 3, 9, 27]
    """
    rung = halving.first
    while rung < epoch:
        rung *= halving.factor
    return rung == epoch


def goes_on(value: float, values: list[float], factor: int) -> bool:
    """Returns whether a value is among the best (smallest) ``1/factor`` of all that came to a rung, itself among them.

    Of fewer than ``factor`` values the smallest goes on, so the first one always does.

    >>> goes_on(0.5, [0.5], 3), goes_on(0.5, [0.5, 0.4], 3), goes_on(0.2, [0.5, 0.4, 0.2], 3)
    (True, False, True)
    """
    if not math.isfinite(value):
        return False
    return sum(other < value for other in values) < max(1, len(values) // factor)
