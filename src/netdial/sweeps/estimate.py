"""What a sweep would do, and how long: its trials, and their time estimated by beginning a few of them."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netdial.core.errors import NetdialError
from netdial.jobs.records.watch import Watch
from netdial.jobs.trial import Trial
from netdial.runs.store import Cell, Store, key
from netdial.sweeps.folder import SweepFolder
from netdial.sweeps.proposals import Proposals
from netdial.sweeps.result import ENDED, Sweep
from netdial.sweeps.run import engine_of
from netdial.sweeps.spec import SweepSpec
from netdial.sweeps.trials.refining import Refinement

_PROBES, _STEPS, _SECONDS = 4, 20, 5.0
"""Trials that are begun to measure time, optimiser steps of each, and seconds after which one is ended at the next step."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that a sweep would make.

    Attributes:
        number: in the order of proposals, from 0.
        params: values of what is varied.
        seconds: estimated time on one thread; 0 for one that has ended, None for one that cannot be.
        error: why it cannot be made.
    """

    number: int
    params: Mapping[str, Any]
    seconds: float | None
    error: str = ""


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep would do.

    Attributes:
        path: its folder.
        engine, workers: where trials would be made, and how many at a time.
        count: how many trials there are.
        trials: those that are known now; what a sampler that learns proposes later depends on results.
        seconds: estimated wall time of what is left.
    """

    path: Path
    engine: str
    workers: int
    count: int
    trials: tuple[PlannedTrial, ...]
    seconds: float


def plan(spec: SweepSpec) -> SweepPlan:
    """Returns what a sweep would do, without doing it; a few of its trials are begun in a folder of their own.

    Raises:
        ConfigError: a sweep of that name is another one.
        NetdialError: the first trial cannot be begun.
    """
    folder = SweepFolder.of(spec)
    engine, workers = engine_of(spec)
    params = _known(spec, folder)
    cells = [folder.cell_of(one) for one in params]
    store, failures = folder.store, folder.failures()
    real = {
        n: store.seconds(cell)
        for n, cell in enumerate(cells)
        if isinstance(cell, Cell) and store.is_made(cell)
    }
    left = [
        n
        for n, cell in enumerate(cells)
        if isinstance(cell, Cell) and n not in real and key(cell) not in failures
    ]
    chosen = [left[n * len(left) // _PROBES] for n in range(_PROBES)] if left else []
    paces = [_pace(_trained(cells[n]), store) for n in sorted(set(chosen))]
    trials = []
    for number, (one, cell) in enumerate(zip(params, cells, strict=True)):
        if isinstance(cell, NetdialError):
            trials.append(PlannedTrial(number, one, None, str(cell)))
        elif number in left:
            trials.append(PlannedTrial(number, one, _seconds(_trained(cell), paces)))
        else:
            trials.append(PlannedTrial(number, one, 0.0, failures.get(key(cell), "")))
    todo = [trials[n].seconds or 0.0 for n in left]
    one_more = statistics.fmean(todo or list(real.values()) or [0.0])
    total = sum(todo) + (spec.count - len(trials)) * one_more
    return SweepPlan(folder.path, engine, workers, spec.count, tuple(trials), total / workers)


def _known(spec: SweepSpec, folder: SweepFolder) -> list[dict[str, Any]]:
    """Returns the settings of trials so far as they follow from results that there are."""
    proposals, written, told = Proposals(spec), folder.proposed(), 0
    trials = Sweep.read(folder).trials
    params: list[dict[str, Any]] = []
    while (number := len(params)) < spec.count:
        back = proposals.looks_back or spec.count
        while told <= number - back and told < len(trials) and trials[told].state in ENDED:
            proposals.tell(told, trials[told].objectives(spec.optimised))
            told += 1
        if number - told >= back:
            break
        params.append(proposals.ask(written[number] if number < len(written) else None))
    return params


@dataclass(frozen=True)
class _Pace:
    """What a trial took that was begun.

    Attributes:
        trial: the trial.
        training: estimated seconds of all its steps.
        besides: seconds before the first one.
    """

    trial: Trial
    training: float
    besides: float


class _Measured(Exception):
    """Enough steps were made."""


class _Clock(Watch):
    """Ends a trial after a few steps, having measured them."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.first = self.last = 0.0
        self.step, self.steps, self._start = 0, 0, 0

    def advance(self, step: int, steps: int) -> None:
        """Takes the time of a step.

        Raises:
            _Measured: there are enough.
        """
        self.last = time.perf_counter()
        if not self.first:
            self.first, self._start = self.last, step
        self.step, self.steps = step - self._start, steps
        if self.step >= _STEPS or (self.step and self.last - self.begun > _SECONDS):
            raise _Measured


def _trained(cell: Cell | NetdialError) -> Trial:
    """Returns the training of a trial."""
    base = cell.base if isinstance(cell, Refinement) else cell
    assert isinstance(base, Trial)
    return base


def _pace(trial: Trial, store: Store) -> _Pace:
    """Begins a trial in a folder of its own, and returns what it took."""
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder, suppress(_Measured):
        dataclasses.replace(trial, watch=clock).fill(Store(Path(folder), store.data_dir))
    if not clock.step:
        return _Pace(trial, 0.0, time.perf_counter() - clock.begun)
    per_step = (clock.last - clock.first) / clock.step
    return _Pace(trial, per_step * clock.steps, clock.first - clock.begun)


def _seconds(trial: Trial, paces: Sequence[_Pace]) -> float:
    """Returns the estimated time of a trial: the mean of those that were begun, each for as many steps as it would make."""
    return statistics.fmean(
        pace.training * _steps(trial) / _steps(pace.trial) + pace.besides for pace in paces
    )


def _steps(trial: Trial) -> float:
    """Returns a number in proportion to the optimiser steps of a trial; what no trial says is alike in all."""
    epochs, batch_size = trial.settings["epochs"], trial.settings["batch_size"]
    return 1.0 if epochs is None else float(epochs) / float(batch_size or 1)
