"""Sweeps on Ray and on processes: wall time of 40 short trials over the sum of their times per core.

Trials train a small network on wine for about two seconds; the wall time has everything in it, from the start of Ray and of
worker processes, which import torch, to the last record. 1 would be no overhead at all.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import netdial as nd
from benchmarks.result import Result

_TRIALS, _WORKERS = 40, 2


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio for each engine."""
    trials, epochs = (8, 20) if quick else (_TRIALS, 160)
    found, rows = {}, []
    for engine in ("processes", "ray"):
        folder = Path(tempfile.mkdtemp())
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
            }
        )
        wall = time.perf_counter() - started
        inside = sum(trial.seconds or 0.0 for trial in made.trials)
        found[engine] = wall / (inside / _WORKERS)
        rows.append(
            {
                "engine": engine,
                "trials": len(made.done),
                "wall, s": wall,
                "sum of trials, s": inside,
                "median trial, s": sorted(t.seconds or 0.0 for t in made.trials)[trials // 2],
                "ratio": found[engine],
            }
        )
        shutil.rmtree(folder)
    return Result(
        "sweep-overhead",
        found,
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline="7 to 9 s for each trial that starts a process of its own",
        floor="1",
        rows=rows,
    )
