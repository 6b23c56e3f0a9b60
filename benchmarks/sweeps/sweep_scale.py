"""A sweep of 100,000 stub trials through the scheduler: peak memory of the driver, and its time for each trial.

Everything of a sweep is there but training: Optuna's random sampler proposes, each trial is written down, looked up in the
store, handed out, and its objective is told; 64 are under way at a time and end in a random order. A stub makes nothing, so its
result is not read from a run folder.
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.common.result import Result
from netdial.runs.store import Cell
from netdial.sweeps import conductor as conductor_module
from netdial.sweeps.conductor import Conductor, Piece
from netdial.sweeps.folder import SweepFolder
from netdial.sweeps.spec import SweepSpec, read_spec
from netdial.sweeps.trials.making import TrialEnd

_TRIALS, _UNDER_WAY = 100_000, 64


@dataclass(frozen=True)
class Stub(Cell):
    """A trial that makes nothing."""

    lam: float
    lr: float

    @property
    def label(self) -> str:
        """One word."""
        return "stub"


def measure(*, quick: bool = False) -> Result:
    """Returns memory in GB and milliseconds for each trial, after 1,000, 10,000 and 100,000 trials."""
    trials = 2_000 if quick else _TRIALS
    source = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder.of(_spec(trials, Path(name)))
        stub: Any = lambda self, params: Stub(params["lam"], params["lr"])  # noqa: E731
        measured: Any = lambda cell, store: {"valid/loss": cell.lam, "params": cell.lr}  # noqa: E731
        with (
            patch.object(SweepSpec, "cell", stub),
            patch.object(conductor_module, "measures_of", measured),
            folder.working(),
        ):
            rows = _run(Conductor(folder), trials, source)
    last = rows[-1]
    return Result(
        "sweep-scale",
        {"driver, GB": float(str(last["peak, GB"])), "ms a trial": float(str(last["ms a trial"]))},
        "GB; ms",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline="2 GB; 10 ms",
        rows=rows,
    )


def _spec(trials: int, folder: Path) -> SweepSpec:
    return read_spec(
        {
            "name": "scale",
            "data": "wine",
            "way": "shrink",
            "space": {
                "lam": {"low": 1e-4, "high": 1e-1, "log": True},
                "lr": {"low": 1e-4, "high": 1e-1, "log": True},
            },
            **{"trials": trials, "sampler": "random", "ahead": _UNDER_WAY, "storage": str(folder)},
        }
    )


def _run(conductor: Conductor, trials: int, source: random.Random) -> list[dict[str, object]]:
    """Hands out all trials, and returns what the driver took."""
    running, rows, ended = list[Piece](), list[dict[str, object]](), 0
    started = time.perf_counter()
    marks = {n for n in (1_000, 10_000, 100_000, trials) if n <= trials}
    while not conductor.is_over:
        while (piece := conductor.next()) is not None:
            running.append(piece)
        place = source.randrange(len(running))
        running[place], running[-1] = running[-1], running[place]
        conductor.ended(running.pop(), TrialEnd("done"))
        ended += 1
        if ended in marks:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            each = 1e3 * (time.perf_counter() - started) / ended
            rows.append({"trials": ended, "peak, GB": round(peak, 3), "ms a trial": round(each, 3)})
    return rows
