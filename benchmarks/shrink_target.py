"""How near a network comes to the size that was asked for: largest relative distance of the final size from the target.

Networks from two to nineteen layers, plain, convolutional and residual, shrunk to a half, a fifth and a twentieth of their
parameters, multiplications or bytes, three seeds each. How well they predict is not the question here, so training is short.
A size is met to half a channel; on small targets a channel is a larger share.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch

from benchmarks.result import Result
from benchmarks.shrinking import Course
from netdial.core.errors import ConfigError
from netdial.data import Task
from netdial.shrinking.control import Kind, parse_target
from netdial.shrinking.graph import Graph
from netdial.shrinking.shrink import example_of, prepare
from netdial.shrinking.sizes import size

COURSES = {
    "mlp": Course("mnist", "mlp:300-100", 2_000, {"epochs": 6, "batch_size": 128}),
    "lenet5": Course("mnist", "lenet5", 2_000, {"epochs": 6, "batch_size": 128}),
    "resnet20": Course("cifar10", "resnet20", 300, {"epochs": 6, "batch_size": 100}),
}
_SHARES = (0.5, 0.2, 0.05)
_KINDS: tuple[Kind, ...] = ("params", "macs", "bytes")


def measure(*, quick: bool = False) -> Result:
    """Returns the largest relative distance by network."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    shares = _SHARES[1:2] if quick else _SHARES
    value, spread, rows = {}, {}, []
    for name, course in list(COURSES.items())[: 2 if quick else 3]:
        task = course.task()
        found = [
            row
            for kind in _KINDS
            for share in shares
            for seed in seeds
            for row in _run(course, task, kind, share, seed)
        ]
        misses = [row["miss"] for row in found]
        print(f"{name}: {max(misses):.2%} at worst")
        value[name] = max(misses)
        spread[name] = (min(misses), statistics.median(misses), max(misses))
        rows += [{"network": name, **row} for row in found]
    return Result(
        "shrink-target",
        value,
        "relative distance",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline="none: peers take a share of channels, and miss the size that comes of it",
        floor="half a channel of the layer that is cut last",
        spread=spread,
        rows=rows,
    )


def _run(course: Course, task: Task, kind: Kind, share: float, seed: int) -> list[dict[str, Any]]:
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
        }
    ]
