"""NB-Tiny: time of 729 networks times 4 seeds in one batched run, split-half reliability, distance from the stored table."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.common.result import Result
from benchmarks.common.timing import one_thread
from netdial.structure.nbtiny import CELLS, PROBLEMS, TinyTable, load_table, train_cells

_SEEDS = (0, 1, 2, 3)
_ALONE = 12
"""Trainings that are made one at a time, to say what all of them would take so."""


def measure(*, quick: bool) -> Result:
    """Trains the table of both problems; the quick version that of the first one, one seed, without its reliability."""
    with one_thread():
        return _measured(quick)


def _measured(quick: bool) -> Result:
    rows, value = [], dict[str, float]()
    for problem in list(PROBLEMS.values())[: 1 if quick else None]:
        seeds = _SEEDS[:1] if quick else _SEEDS
        wall, start = time.perf_counter(), time.process_time()
        table = TinyTable.trained(problem, seeds)
        taken = time.process_time() - start
        wall = time.perf_counter() - wall
        stored = load_table(problem.name).of_seeds(seeds)
        off = np.abs(table.test - stored.test)
        alone = _alone(problem.name)
        rows.append(
            {
                "problem": problem.name,
                "trainings": table.test.size,
                "processor time, s": taken,
                "wall time, s": wall,
                "one at a time, s": alone * table.test.size,
                "reliability": None if quick else table.reliability,
                "noise, nats": None if quick else table.noise,
                "median off the stored table, nats": float(np.median(off)),
                "trainings more than 0.01 off, %": 100 * float((off > 0.01).mean()),
            }
        )
        value[f"{problem.name}, processor time"] = taken
        if not quick:
            value[f"{problem.name}, reliability"] = table.reliability
    return Result(
        "nbtiny-table",
        value,
        "s; rank correlation",
        "lower",
        seeds=_SEEDS[:1] if quick else _SEEDS,
        quick=quick,
        baseline=f"the same trainings one at a time, from {_ALONE} of them",
        floor="reliability 1; regrets below the noise are ties",
        rows=rows,
    )


def _alone(problem: str) -> float:
    """Returns the processor seconds of one training that is made by itself."""
    start = time.process_time()
    for cell in range(0, len(CELLS), len(CELLS) // _ALONE):
        train_cells(PROBLEMS[problem], [cell], [0])
    return (time.process_time() - start) / len(range(0, len(CELLS), len(CELLS) // _ALONE))
