"""Training time with collection over that without, to the same final network.

Both do the same steps on the same batches and switch the same channels off at the same moments. One removes them at once; the
other multiplies them by 0 to the end and removes them then. The final widths are the same, and the outputs but for rounding,
which Adam amplifies in float32 over many steps (``docs/experiments.md``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.common.result import Result
from benchmarks.shrinking._course import Course
from netdial.core.records import Event
from netdial.data import Splits
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.fading import Channels, pulls, silence
from netdial.shrinking.method import ShrinkMethod
from netdial.shrinking.removal import remove_channels
from netdial.shrinking.shrink import example_of, prepare
from netdial.shrinking.state import ShrinkState
from netdial.task import Task, named
from netdial.train.feed import Batch, TensorFeed

COURSES = {
    "mnist 784-1000-1000-10": Course(
        "mnist", "mlp:1000-1000", 20_000, {"epochs": 12, "size": "50k params"}
    ),
    "cifar10 cnn": Course(
        "cifar10", "cnn", 2_000, {"epochs": 6, "batch_size": 128, "size": "300k params", "lr": 1e-3}
    ),
}


class Masking(ShrinkMethod):
    """Switches off what another run removed, when it did, and removes it after the last step."""

    def __init__(
        self, config: ShrinkConfig, events: Sequence[Event], *, task: Task, steps: int
    ) -> None:
        super().__init__(config, task=task, steps=steps)
        self._events, self._last = events, config.known_epochs * steps
        self._reach = self._rate * self._every

    def _switch(self, state: ShrinkState, switches: dict[str, Tensor]) -> None:  # type: ignore[override]
        super()._switch(state, switches)
        self._silence(state)

    def _silence(self, state: ShrinkState) -> None:
        for event in self._events:
            if event.step <= state.step:
                silence(state.graph, dict(event.gone))

    def _collect(self, state: ShrinkState) -> None:
        self._silence(state)
        if state.step < self._last:
            coming = {event.step: dict(event.gone) for event in self._events}
            fading = coming.get(state.step + self._every, {})
            state.pulls = pulls(state.graph, fading, reach=self._reach)
            return
        gone: Channels = {}
        for event in self._events:
            for group, channels in event.gone.items():
                gone[group] = (*gone.get(group, ()), *channels)
        remove_channels(state, self.config, gone, "size")


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio for each network."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    value, spread, rows = {}, {}, []
    for name, course in list(COURSES.items())[: 1 if quick else 2]:
        if quick:
            course = Course(course.data, course.model, 4_000, course.settings)
        task = course.task()
        found = [_pair(course, task, seed) for seed in seeds]
        ratios = [shrinking / masking for shrinking, masking, _ in found]
        value[name] = statistics.median(ratios)
        spread[name] = (min(ratios), max(ratios))
        rows += [
            {
                "network": name,
                "seed": seed,
                "shrinking, s": a,
                "masking, s": b,
                "difference of outputs": d,
            }
            for seed, (a, b, d) in zip(seeds, found, strict=True)
        ]
    return Result(
        "shrink-time",
        value,
        "ratio",
        "lower",
        seeds=seeds,
        quick=quick,
        baseline="the same training with channels masked, and removed after the last step",
        floor="the share of multiplications that a run of the found widths has, at every moment",
        spread=spread,
        rows=rows,
    )


def _pair(course: Course, task: Splits, seed: int) -> tuple[float, float, float]:
    """Returns seconds of both ways and the largest difference of outputs, relative to the largest output."""
    config = course.config(seed)
    feed = TensorFeed(task.train, batch_size=config.known_batch_size, seed=seed)
    events: list[Event] = []
    shrinking, first = _train(
        lambda: ShrinkMethod(config, task=named(task.kind), steps=feed.steps),
        course,
        task,
        feed,
        config,
    )
    events = first.events
    masking, second = _train(
        lambda: Masking(config, events, task=named(task.kind), steps=feed.steps),
        course,
        task,
        feed,
        config,
    )
    if first.graph.widths != second.graph.widths:
        raise RuntimeError(f"widths differ: {first.graph.widths} and {second.graph.widths}")
    x = task.valid.inputs(torch.arange(256))
    with torch.no_grad():
        one, other = first.module.eval()(x), second.module.eval()(x)
    difference = float((one - other).abs().max() / one.abs().max())
    print(
        f"{course.model} seed {config.seed}: {shrinking:.1f} s, {masking:.1f} s, {difference:.2g}"
    )
    return shrinking, masking, difference


def _train(
    make: Callable[[], ShrinkMethod],
    course: Course,
    task: Splits,
    feed: TensorFeed,
    config: ShrinkConfig,
) -> tuple[float, ShrinkState]:
    graph = prepare(course.net(task, config.seed), example_of(task.train), config)
    method = make()
    state = method.init(graph)
    state.module.train()
    started = time.perf_counter()
    for number in range(config.known_epochs):
        batch: Batch
        for batch in feed.epoch(number):
            method.step(state, batch)
    return time.perf_counter() - started, state
