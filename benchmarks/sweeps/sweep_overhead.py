"""Sweeps on Ray and on processes: wall time of 40 short trials over the sum of their times per core.

Trials train a small network on wine for some seconds; the wall time has everything in it, from the start of Ray and of
worker processes, which import torch, to the last record. 1 would be no overhead at all. On a machine that is busy with other
work both times grow; ``to the first end`` is what passes until a trial has ended, and ``after it`` the ratio from there on.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import netdial as nd
from benchmarks.common.result import Result
from netdial.sweeps.conductor import Told

_TRIALS, _WORKERS = 40, 2


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio for each engine."""
    rows = [
        swept(engine, *((8, 20) if quick else (_TRIALS, 60))) for engine in ("ray", "processes")
    ]
    return Result(
        "sweep-overhead",
        {str(row["engine"]): float(str(row["ratio"])) for row in rows},
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline="7 to 9 s for each trial that starts a process of its own",
        floor="1",
        rows=rows,
    )


def swept(engine: str, trials: int, epochs: int) -> dict[str, object]:
    """Returns the times of one sweep."""
    folder, ends = Path(tempfile.mkdtemp()), list[tuple[float, float]]()

    def note(told: Told) -> None:
        if told.state == "done":
            ends.append((time.perf_counter(), told.seconds))

    started = time.perf_counter()
    made = nd.sweep(
        {
            "name": "overhead",
            "data": "wine",
            "way": "shrink",
            "settings": {"model": "mlp:16", "epochs": epochs},
            "space": {"lam": {"low": 1e-4, "high": 1e-1, "log": True}},
            "trials": trials,
            "sampler": "random",
            "engine": engine,
            "workers": _WORKERS,
            "storage": str(folder),
        },
        report=note,
    )
    wall, inside = time.perf_counter() - started, sum(seconds for _, seconds in ends)
    later = sum(seconds for _, seconds in ends[_WORKERS:])
    shutil.rmtree(folder)
    return {
        "engine": engine,
        "trials": len(made.done),
        "wall, s": wall,
        "sum of trials, s": inside,
        "median trial, s": sorted(seconds for _, seconds in ends)[trials // 2],
        "to the first end, s": ends[0][0] - started,
        "after it": (ends[-1][0] - ends[0][0]) / (later / _WORKERS),
        "ratio": wall / (inside / _WORKERS),
    }
