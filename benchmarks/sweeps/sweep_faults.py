"""Sweeps killed at seeded moments: trials lost, and trials made twice to their end, of 20 kills of workers, nodes and drivers.

Every kill is a sweep of its own, of four trials at two at a time, in processes and on Ray. At a random moment of its training
a worker or the driver gets SIGKILL, or the second node of a local cluster of two is taken away; a driver is started again. What
was made to its end is written down by whoever made it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common.result import Result
from benchmarks.sweeps._sweeping import drive, ends, until, working
from netdial.sweeps import open_sweep

_KINDS = (
    *(("worker", "processes"), ("driver", "processes"), ("worker", "ray")),
    *(("driver", "ray"), ("node", "ray")),
)
_KILLS, _TRIALS = 20, 4


def measure(*, quick: bool = False) -> Result:
    """Returns how many trials were lost, and how many were made twice."""
    kinds = _KINDS[:2] if quick else [_KINDS[n % len(_KINDS)] for n in range(_KILLS)]
    rows = [_killed(seed, *kind) for seed, kind in enumerate(kinds)]
    lost = sum(int(str(row["lost"])) for row in rows)
    twice = sum(int(str(row["twice"])) for row in rows)
    return Result(
        "sweep-faults",
        {"trials lost": lost, "made twice to the end": twice},
        f"of {_TRIALS * len(rows)} trials",
        "lower",
        seeds=tuple(range(len(rows))),
        quick=quick,
        floor="0",
        rows=rows,
    )


def _killed(seed: int, victim: str, engine: str) -> dict[str, object]:
    """Returns what became of one sweep."""
    folder, source = Path(tempfile.mkdtemp()), random.Random(seed)
    spec: dict[str, Any] = {
        "name": "wine",
        "data": "wine",
        "way": "shrink",
        "settings": {"model": "mlp:8", "epochs": 60, "seed": seed},
        "space": {"lam": {"low": 1e-4, "high": 1e-1, "log": True}},
        **{"trials": _TRIALS, "sampler": "random", "seed": seed, "engine": engine, "workers": 2},
        "storage": str(folder),
    }
    nodes, place = (2 if victim == "node" else 0), folder / "wine"
    process = drive(spec, nodes=nodes)
    begun = until(lambda: bool(working(place)) or process.poll() is not None)
    time.sleep(source.uniform(0.0, 2.0))
    at = len(ends(place))
    if victim == "node":
        (place / "remove").touch()
    elif victim == "driver":
        process.send_signal(signal.SIGKILL)
    elif pids := working(place):
        os.kill(source.choice(pids), signal.SIGKILL)
    process.wait()
    if victim == "driver":
        drive(spec).wait()
    found, made = open_sweep(place), ends(place)
    shutil.rmtree(folder)
    return {
        "seed": seed,
        "killed": victim,
        "engine": engine,
        "began": begun,
        "done before": at,
        "lost": _TRIALS - found.counts["done"],
        "twice": sum(count > 1 for count in made.values()),
    }
