"""Speed-up of inference: start network over folded shrunken one, batch 1 and 64, at no more than one point of accuracy lost.

The start network is trained in full with the same recipe and without a penalty; what it gets right on validation data is the
measure. Batch and rate of the CNN are those that leave the start network best on validation data (seed 0; docs/experiments.md).
Sizes are tried from small to large and the smallest one that loses at most a point on validation data is taken; the loss on
test data is reported. Latencies are measured interleaved, in evaluation mode, one thread.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.common.result import Result
from benchmarks.common.timing import interleaved
from benchmarks.shrinking._course import Course, accuracy
from netdial.channels.sizes import size
from netdial.data import Splits

COURSES = {
    "mnist 784-1000-1000-10": Course("mnist", "mlp:1000-1000", 20_000, {"epochs": 12}),
    "cifar10 cnn": Course(
        "cifar10",
        "cnn",
        2_000,
        {"epochs": 8, "batch_size": 32, "lr": 2e-3, "wait": 0.35, "deadline": 0.65},
    ),
}
SHARES = (0.02, 0.05, 0.1, 0.2)
"""Shares of multiplications left that are tried."""

_POINT = 0.01


@dataclass(frozen=True)
class Found:
    """The smallest network that loses at most a point on validation data."""

    start: nn.Module
    small: nn.Module
    share: float
    valid: tuple[float, float]
    test: tuple[float, float]


def measure(*, quick: bool = False) -> Result:
    """Returns the speed-up for each network and batch size."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    value, spread, rows = {}, {}, []
    for name, course in list(COURSES.items())[: 1 if quick else 2]:
        if quick:
            course = Course(course.data, course.model, 5_000, course.settings)
        task = course.task()
        found = [_search(course, task, seed) for seed in seeds]
        for batch in (1, 64):
            x = task.test.inputs(torch.arange(batch))
            ups = [_speedup(each, x, quick=quick) for each in found]
            value[f"{name}, batch {batch}"] = statistics.median(ups)
            spread[f"{name}, batch {batch}"] = (min(ups), max(ups))
        rows += [
            {
                "network": name,
                "seed": seed,
                "macs left": each.share,
                "valid": each.valid,
                "test": each.test,
            }
            for seed, each in zip(seeds, found, strict=True)
        ]
    return Result(
        "shrink-speedup",
        value,
        "ratio",
        "higher",
        seeds=seeds,
        quick=quick,
        baseline="the network at the start, trained in full",
        floor="the inverse of the share of multiplications left, and the overhead of a call at batch 1",
        spread=spread,
        rows=rows,
    )


def _search(course: Course, task: Splits, seed: int) -> Found:
    whole = course.shrink(task, seed, lam=0.0, lam2=0.0)
    start, _ = whole.fold()
    macs = size(whole.graph, "macs").value
    asked = accuracy(start, task.valid)
    for share in SHARES:
        shrunk = course.shrink(task, seed, size=f"{share * macs:.0f} macs")
        small, _ = shrunk.fold()
        got = accuracy(small, task.valid)
        print(f"{course.model} seed {seed}: {share:.0%} of macs, {got:.4f}, asked {asked:.4f}")
        if got >= asked - _POINT:
            break
    else:  # none is good enough
        share, small, got = 1.0, start, asked
    tested = accuracy(start, task.test), accuracy(small, task.test)
    return Found(start, small, share, (asked, got), tested)


def _speedup(found: Found, x: torch.Tensor, *, quick: bool) -> float:
    def call(net: nn.Module) -> None:
        with torch.no_grad():
            for _ in range(5):
                net(x)

    _, ratios, _ = interleaved(
        {"small": lambda: call(found.small), "start": lambda: call(found.start)},
        baseline="small",
        rounds=20 if quick else 100,
    )
    return ratios["start"]
