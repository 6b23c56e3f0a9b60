"""How well λ orders sizes: Spearman's rank correlation of λ and final parameters over a sweep, under Adam and SGD.

Digits, 64-256-256-10, λ in steps of 1.4 from one that switches off little to one that switches off nearly all; three seeds;
each run is a training from the start. The weights move by Adam or by SGD with momentum, at rates that suit them; the switches
move alike. For comparison the draft's way, λ sign(θ) as a gradient through the same optimiser (kill on a change of sign).

Reference: over the runs of the original code, which also vary in rate, batch size and weight decay, -0.50 (CIFAR-10) and
-0.58 (COVERTYPE).
"""

from __future__ import annotations

import statistics

import torch
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from benchmarks.common.result import Result
from benchmarks.shrinking._course import Course, accuracy
from netdial.data import Splits

OPTIMIZERS = {
    "adam": {"optimizer": "Adam", "lr": 2e-3},
    "sgd": {"optimizer": "SGD", "lr": 0.05, "momentum": 0.9},
}
_LAMS = tuple(0.004 * 1.4**step for step in range(10))
_COURSE = Course("digits", "mlp:256-256", 10_000, {"epochs": 40, "batch_size": 64})


def measure(*, quick: bool = False) -> Result:
    """Returns the rank correlations by optimiser and penalty."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    lams = _LAMS[::2] if quick else _LAMS
    task = _COURSE.task()
    ways = {
        f"{name}{suffix}": {**optimizer, "penalty": penalty}
        for penalty, suffix in (("proximal", ""), ("subgradient", ", the draft's gradient"))
        for name, optimizer in OPTIMIZERS.items()
    }
    value, spread, rows = {}, {}, []
    for name, settings in ways.items():
        runs = [(lam, seed, *_run(task, lam, seed, settings)) for seed in seeds for lam in lams]
        by_seed = [_rank([(r[0], r[2]) for r in runs if r[1] == seed]) for seed in seeds]
        value[name] = _rank([(r[0], r[2]) for r in runs])
        spread[name] = (min(by_seed), max(by_seed))
        rows += [
            {
                "way": name,
                "λ": lam,
                "parameters": statistics.mean(r[2] for r in runs if r[0] == lam),
                "valid accuracy": statistics.mean(r[3] for r in runs if r[0] == lam),
            }
            for lam in lams
        ]
    return Result(
        "shrink-control",
        value,
        "rank correlation",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline="original code: -0.50 (CIFAR-10), -0.58 (COVERTYPE), in runs that vary in more than λ",
        floor="-1: every larger λ gives a smaller network, for all seeds together",
        spread=spread,
        rows=rows,
    )


def _run(task: Splits, lam: float, seed: int, settings: dict[str, object]) -> tuple[int, float]:
    shrunk = _COURSE.shrink(task, seed, lam=lam, **settings)
    return shrunk.n_params, accuracy(shrunk.net, task.valid)


def _rank(pairs: list[tuple[float, int]]) -> float:
    lams, sizes = zip(*pairs, strict=True)
    return float(spearmanr(lams, sizes).statistic)
