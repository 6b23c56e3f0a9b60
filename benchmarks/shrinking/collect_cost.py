"""Time of neural garbage collection over training time.

Networks that shrink to a twentieth of their parameters or less, collection once an epoch. What counts is everything that a
collection does: finding constants, the trial on a copy, the comparison of outputs, the surgery on network and optimiser.
"""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.common.result import Result
from benchmarks.shrinking._course import Course
from netdial.data import Splits

COURSES = {
    "mnist 784-1000-1000-10": Course(
        "mnist", "mlp:1000-1000", 54_000, {"epochs": 6, "size": "50k params"}
    ),
    "cifar10 cnn": Course(
        "cifar10", "cnn", 4_000, {"epochs": 4, "batch_size": 128, "size": "300k params", "lr": 1e-3}
    ),
}


def measure(*, quick: bool = False) -> Result:
    """Returns the share for each network."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    value, spread, rows = {}, {}, []
    for name, course in list(COURSES.items())[: 1 if quick else 2]:
        if quick:
            course = Course(course.data, course.model, 10_000, course.settings)
        task = course.task()
        found = [_run(course, task, seed) for seed in seeds]
        shares = [spent / total for spent, total, _ in found]
        value[name] = statistics.median(shares)
        spread[name] = (min(shares), max(shares))
        rows += [
            {"network": name, "seed": seed, "collections": n, "collecting, s": a, "training, s": b}
            for seed, (a, b, n) in zip(seeds, found, strict=True)
        ]
    return Result(
        "collect-cost",
        value,
        "ratio",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline="the whole training; quoted: original code 0.0025 (VGG-16, CIFAR-10), 0.0005 (COVERTYPE)",
        floor="copying what survives once",
        spread=spread,
        rows=rows,
    )


def _run(course: Course, task: Splits, seed: int) -> tuple[float, float, int]:
    started = time.perf_counter()
    shrunk = course.shrink(task, seed)
    total = time.perf_counter() - started
    return sum(event.seconds for event in shrunk.events), total, len(shrunk.events)
