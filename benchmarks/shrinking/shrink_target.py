"""How near a network comes to the size that was asked for: largest relative distance of the final size from the target.

Networks from two to nineteen layers, plain, convolutional and residual, shrunk to a half, a fifth and a twentieth of their
parameters, multiplications or bytes, three seeds each. How well they predict is not the question here, so training is short.
A size is met to half a channel; on small targets a channel is a larger share.

Milliseconds ("mlp, ms") are asked of a network where they are not all overhead, as shares of what the network at the start
takes. The folded network at the end is timed afresh, in turns with that at the start: single calls of one example on one
thread, the median of each turn, the quietest turn. The median over all calls stands beside it; on a machine that does other
things, too, it is anything up to twice as much. A refusal (a target below the floor) is an error here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.result import Result
from benchmarks.shrinking._course import Course
from netdial.channels.clock import Clock
from netdial.channels.fold.fold import fold
from netdial.channels.graph import Graph
from netdial.channels.sizes import size
from netdial.core.errors import ConfigError
from netdial.core.size import Kind, parse_target
from netdial.data import Splits
from netdial.shrinking.shrink import example_of, prepare

COURSES = {
    "mlp": Course("mnist", "mlp:300-100", 2_000, {"epochs": 6, "batch_size": 128}),
    "lenet5": Course("mnist", "lenet5", 2_000, {"epochs": 6, "batch_size": 128}),
    "resnet20": Course("cifar10", "resnet20", 300, {"epochs": 6, "batch_size": 100}),
}
TIMED = "mlp, ms"
TIMED_COURSE = Course("mnist", "mlp:1000-1000", 5_000, {"epochs": 10, "batch_size": 128})
_TIMED_SHARES = (0.6, 0.3)
_TURNS, _CALLS = 60, 60
_SHARES = (0.5, 0.2, 0.05)
_KINDS: tuple[Kind, ...] = ("params", "macs", "bytes")


def measure(*, quick: bool = False) -> Result:
    """Returns the largest relative distance by network."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    shares = _SHARES[1:2] if quick else _SHARES
    value, spread, rows = {}, {}, list[dict[str, Any]]()
    for name, course in list(COURSES.items())[: 2 if quick else 3]:
        task = course.task()
        found = [
            row
            for kind in _KINDS
            for share in shares
            for seed in seeds
            for row in _run(course, task, kind, share, seed)
        ]
        rows += [{"network": name, **row} for row in found]
    rows += [{"network": TIMED, **row} for row in timed(seeds, _TIMED_SHARES[: 1 if quick else 2])]
    for name in dict.fromkeys(str(row["network"]) for row in rows):
        misses = [row["miss"] for row in rows if row["network"] == name]
        value[name] = max(misses)
        spread[name] = (min(misses), statistics.median(misses), max(misses))
    return Result(
        "shrink-target",
        value,
        "relative distance",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline="none: peers take a share of channels, and miss the size that comes of it",
        floor="half a channel of the layer that is cut last; for milliseconds the noise of the clock, a few hundredths",
        spread=spread,
        rows=rows,
    )


def _run(course: Course, task: Splits, kind: Kind, share: float, seed: int) -> list[dict[str, Any]]:
    config = course.config(seed)
    start = size(prepare(course.net(task, seed), example_of(task.train), config), kind).value
    target = parse_target(f"{share * start:.0f} {kind}")
    try:
        shrunk = course.shrink(task, seed, size=str(target))
    except ConfigError:  # below what is left at minimum width
        return []
    got = size(Graph.of(shrunk.net, shrunk.graph.example), kind).value
    return [
        {
            "kind": kind,
            "share": share,
            "seed": seed,
            "target": target.value,
            "got": got,
            "miss": abs(got / target.value - 1),
            "all calls": None,
        }
    ]


def timed(seeds: Sequence[int], shares: Sequence[float]) -> list[dict[str, Any]]:
    """Returns how far from the milliseconds asked for the network at the end is, timed afresh."""
    course, task, rows = TIMED_COURSE, TIMED_COURSE.task(), []
    for share in shares:
        for seed in seeds:
            graph = prepare(course.net(task, seed), example_of(task.train), course.config(seed))
            start, _ = fold(graph.traced, graph.example)
            asked = round(share * Clock(graph).start, 3)
            small, _ = course.shrink(task, seed, size=f"{asked} ms").fold()
            (_, _), (quiet, middle) = _turns([start, small], graph.example[:1])
            rows.append(
                {
                    "kind": "ms",
                    "share": share,
                    "seed": seed,
                    "target": asked,
                    "got": quiet,
                    "miss": abs(quiet / asked - 1),
                    "all calls": middle,
                }
            )
    return rows


def _turns(nets: Sequence[nn.Module], x: Tensor) -> list[tuple[float, float]]:
    """Returns for each network, in milliseconds, the median call of the quietest turn and the median of all calls."""
    calls: list[list[list[float]]] = [[] for _ in nets]
    with torch.no_grad():
        for _ in range(_TURNS):
            for net, turns in zip(nets, calls, strict=True):
                turns.append([_seconds(net.eval(), x) for _ in range(_CALLS)][3:])
    return [
        (
            1e3 * min(statistics.median(turn) for turn in turns),
            1e3 * statistics.median(call for turn in turns for call in turn),
        )
        for turns in calls
    ]


def _seconds(net: nn.Module, x: Tensor) -> float:
    start = time.perf_counter()
    net(x)
    return time.perf_counter() - start
