"""What came out of a sweep, read from its folder: a row for each trial, the best one, and the front.

Trials are compared on validation data. Test measures are told of those that were chosen, and of no others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdial.core.errors import CheckpointError, ConfigError, NetdialError, unknown
from netdial.runs.run import Run
from netdial.runs.store import key
from netdial.sweeps.folder import SweepFolder
from netdial.sweeps.spec import SweepSpec, is_higher
from netdial.sweeps.trials.halving import STOPPED
from netdial.sweeps.trials.kinds import measures_of

ENDED = ("done", "stopped", "failed")
"""States of trials that are not begun again."""


@dataclass(frozen=True)
class SweepTrial:
    """One trial of a sweep.

    Attributes:
        number: in the order of proposals, from 0.
        params: values of what is varied.
        state: ``done``, ``stopped`` (early), ``failed``, ``unfinished`` (it has a checkpoint) or ``waiting``.
        run: its run folder.
        measures: numbers on validation data, and costs.
        test: the same on test data.
        seconds: time of its last start, on one thread; None before it is done.
        error: what went wrong.
    """

    number: int
    params: Mapping[str, Any]
    state: str
    run: Path
    measures: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict, repr=False)
    seconds: float | None = None
    error: str = ""

    def objectives(self, names: Sequence[str]) -> list[float] | None:
        """Returns the values of measures, None if one is missing."""
        found = [self.measures[name] for name in names if name in self.measures]
        return found if len(found) == len(names) else None

    def to_json(self, *, with_test: bool = False) -> dict[str, Any]:
        """Returns the trial as plain values; test measures only where they are asked for."""
        found = {**vars(self), "run": str(self.run), "params": dict(self.params)}
        found |= {"measures": dict(self.measures)}
        del found["test"]
        return found | ({"test": dict(self.test)} if with_test else {})


@dataclass(frozen=True)
class Sweep:
    """A sweep and its trials, as they stand in its folder now.

    Attributes:
        path: the folder.
        spec: what it is.
        trials: those that were proposed, by number.
    """

    path: Path
    spec: SweepSpec
    trials: tuple[SweepTrial, ...]

    @classmethod
    def read(cls, folder: SweepFolder) -> Sweep:
        """Reads a sweep."""
        return cls(folder.path, folder.spec, tuple(_rows(folder)))

    @property
    def done(self) -> list[SweepTrial]:
        """Trials that are done and measured what is optimised."""
        wanted = self.spec.optimised
        return [t for t in self.trials if t.state == "done" and set(wanted) <= t.measures.keys()]

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in each state, those not proposed yet among the waiting."""
        states = [trial.state for trial in self.trials]
        names = ("done", "stopped", "failed", "unfinished", "waiting")
        found = {name: states.count(name) for name in names}
        found["waiting"] += max(0, self.spec.count - len(self.trials))
        return found

    def _repr_html_(self) -> str:
        """Returns the trials as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table(
            [{"trial": t.number, "state": t.state, **t.params, **t.measures} for t in self.trials],
            f"sweep {self.spec.name}",
        )

    def __repr__(self) -> str:
        """Returns its name, and how far it is."""
        return f"Sweep({self.spec.name!r}, {self.counts})"

    def best(self, by: str | None = None) -> SweepTrial:
        """Returns the best trial by a measure on validation data, by default the first objective.

        Raises:
            ConfigError: no trial is done, or none measured that.
        """
        name = self._named(by or self.spec.optimised[0])
        return min(self._having([name]), key=lambda trial: _loss(name, trial.measures[name]))

    def front(self, by: Sequence[str] | None = None) -> list[SweepTrial]:
        """Returns the trials that no other one is better than or as good as in everything (the Pareto front).

        Args:
            by: measures on validation data, and costs; by default the objectives, and with one of them parameters, too.

        Returns:
            Trials, the smallest by the last measure first; of equals the first.

        Raises:
            ConfigError: no trial is done, or none measured that.
        """
        names = [self._named(name) for name in by or self.weighed()]
        trials = self._having(names)
        points = [tuple(_loss(n, trial.measures[n]) for n in names) for trial in trials]
        kept = [t for t, mine in zip(trials, points, strict=True) if not _beaten(mine, points)]
        found: dict[tuple[float, ...], SweepTrial] = {}
        for trial in kept:
            found.setdefault(tuple(trial.measures[n] for n in names), trial)
        return sorted(found.values(), key=lambda trial: trial.measures[names[-1]])

    def weighed(self) -> tuple[str, ...]:
        """Returns what the front weighs by default: the objectives, and with one of them parameters, too."""
        found = self.spec.optimised
        return found if len(found) > 1 else (*found, "params")

    def _named(self, name: str) -> str:
        if name.startswith("test/"):
            raise ConfigError(
                f"{name}: choosing by test data would spend them; choose by valid/{name[5:]}, whose test value is shown"
            )
        known = {one for trial in self.trials for one in trial.measures}
        if known and name not in known:
            raise unknown("measure", name, known)
        return name

    def _having(self, names: Sequence[str]) -> list[SweepTrial]:
        found = [
            trial
            for trial in self.trials
            if trial.state == "done"
            and all(math.isfinite(trial.measures.get(name, math.nan)) for name in names)
        ]
        if not found:
            raise ConfigError(
                f"{self.path}: no trial is done that measured {' and '.join(names)}; go on with netdial sweep resume "
                f"{self.spec.name}"
            )
        return found


def _rows(folder: SweepFolder) -> list[SweepTrial]:
    failures, store = folder.failures(), folder.store
    rows = []
    for number, params in enumerate(folder.proposed()):
        cell = folder.cell_of(params)
        if isinstance(cell, NetdialError):
            rows.append(SweepTrial(number, params, "failed", folder.path, error=str(cell)))
            continue
        path, name = store.path(cell), key(cell)
        if name in failures:
            row = SweepTrial(number, params, "failed", path, error=failures[name])
        elif store.is_made(cell):
            try:
                found = measures_of(cell, store)
            except CheckpointError as error:  # its records are damaged
                rows.append(SweepTrial(number, params, "failed", path, error=str(error)))
                continue
            test = {n: v for n, v in found.items() if n.startswith("test/")}
            rest = {n: v for n, v in found.items() if n not in test}
            row = SweepTrial(number, params, "done", path, rest, test, store.seconds(cell))
        elif (folder.path / STOPPED / f"{name}.json").exists():
            told = json.loads((folder.path / STOPPED / f"{name}.json").read_text("utf-8"))
            why = f"after {told['epoch']} epochs: {told['valid']:.4g}, of {told['of']} there"
            row = SweepTrial(number, params, "stopped", path, error=why)
        else:
            row = SweepTrial(number, params, _unfinished(path), path)
        rows.append(row)
    return rows


def _unfinished(path: Path) -> str:
    """Returns whether work was begun that can be gone on with."""
    try:
        return "unfinished" if any(Run.open(path).checkpoint_path.glob("*")) else "waiting"
    except NetdialError:
        return "waiting"


def _loss(name: str, value: float) -> float:
    return -value if is_higher(name) else value


def _beaten(mine: tuple[float, ...], points: Sequence[tuple[float, ...]]) -> bool:
    """Returns whether a point is nowhere better than another one, and somewhere worse."""
    return any(
        all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine for other in points
    )
