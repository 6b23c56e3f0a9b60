"""The conductor of a sweep: which piece of work is next, and what became of each. Knows no engine.

An engine asks `next` for pieces of work until there is none for now, makes them wherever it likes, and says how each `ended`.
All of it runs in one process and holds no results but the objectives of trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from netdial.core.errors import NetdialError
from netdial.runs.folder import break_lock
from netdial.runs.store import Cell, key
from netdial.sweeps.folder import SweepFolder
from netdial.sweeps.proposals import Proposals
from netdial.sweeps.spec import is_higher
from netdial.sweeps.trials.halving import STOPPED
from netdial.sweeps.trials.kinds import measures_of
from netdial.sweeps.trials.making import TrialEnd

_UNBOUNDED = ("loss", "nll", "rmse", "r2", "excess")
"""Metrics that a trial which diverged does not have, since they are no numbers; others all trials have or none."""


@dataclass(frozen=True)
class Told:
    """Told after every piece of work that began or ended.

    Attributes:
        number: trial that asked for it first.
        label: the piece of work.
        state: ``running``, ``again``, or how it ended.
        seconds: time that it took.
        error: what went wrong.
        done, total: trials that have ended, and all.
        running: pieces of work under way.
        best: trial with the best first objective so far, and that objective; None before there is one.
    """

    number: int
    label: str
    state: str
    seconds: float
    error: str
    done: int
    total: int
    running: int
    best: tuple[int, float] | None = None


@dataclass
class Piece:
    """A piece of work.

    Attributes:
        cell: what is made.
        numbers: trials that wait for it.
        lost: times that its process or disk failed.
    """

    cell: Cell
    numbers: list[int] = field(default_factory=list)
    lost: int = 0


class Conductor:
    """Hands out the pieces of work of a sweep.

    Args:
        folder: the folder of the sweep, held.
        report: told of what begins and ends.
        clock: seconds from any start.
    """

    def __init__(
        self,
        folder: SweepFolder,
        report: Callable[[Told], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._spec, self._store = folder, folder.spec, folder.store
        self._proposals = Proposals(folder.spec)
        self._written = folder.proposed()
        self._failures = folder.failures()
        self._report, self._clock, self._began = report, clock, clock()
        self._waiting: dict[str, Piece] = {}
        self._running: dict[str, Piece] = {}
        self._values: dict[int, list[float] | None] = {}
        self._told = self._n_done = 0
        self._best: tuple[int, float] | None = None
        self._stop = False

    @property
    def path(self) -> Path:
        """The folder of the sweep."""
        return self._folder.path.resolve()

    @property
    def cluster(self) -> str:
        """Address of the cluster, empty for this machine."""
        return self._spec.cluster

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way and nothing more will be begun."""
        return not self._running and not self._waiting and not self._may_propose()

    def next(self) -> Piece | None:
        """Returns a piece of work to make now; None if there is none until another one has ended."""
        while True:
            piece = self._ready()
            if piece is not None:
                name = key(piece.cell)
                del self._waiting[name]
                self._running[name] = piece
                self._say(piece, TrialEnd("done"), "running")
                return piece
            if not self._may_propose():
                return None
            self._propose()

    def ended(self, piece: Piece, end: TrialEnd) -> None:
        """Takes note of how a piece of work ended; one that was lost is waiting again, up to as many times as is allowed."""
        name = key(piece.cell)
        del self._running[name]
        if end.state == "lost":
            piece.lost += 1
            if piece.lost <= self._spec.retries:
                self._waiting = {name: piece, **self._waiting}
                self._say(piece, end, "again")
                return
            tries = f"{piece.lost} times" if piece.lost > 1 else "once"
            end = TrialEnd("failed", end.seconds, f"{end.error} (tried {tries})")
        if end.state == "failed":
            self._fail(name, end.error)
        for number in piece.numbers:
            self._settle(number, piece.cell, end.state)
        self._say(piece, end, end.state)

    def died(self, piece: Piece, why: str) -> None:
        """Takes note that whoever made a piece of work is gone: its lock is nobody's, wherever it was."""
        break_lock(self._store.path(piece.cell))
        self.ended(piece, TrialEnd("lost", error=why))

    def _ready(self) -> Piece | None:
        """Returns a piece of work whose needs are made, after having put what it needs among the pieces that wait."""
        for name, piece in list(self._waiting.items()):
            missing = [need for need in piece.cell.needs if not self._store.is_made(need)]
            failed = [need for need in missing if key(need) in self._failures]
            if failed:
                del self._waiting[name]
                why = self._failures[key(failed[0])]
                self._fail(name, f"{failed[0].label}: {why}")
                for number in piece.numbers:
                    self._settle(number, piece.cell, "failed")
                continue
            if not missing:
                return piece
            for need in missing:
                inner = key(need)
                if inner not in self._waiting and inner not in self._running:
                    self._waiting[inner] = Piece(need)
                    return self._waiting[inner]
        return None

    def _may_propose(self) -> bool:
        number = self._proposals.n_asked
        if number >= self._spec.count or self._stop:
            return False
        limit = self._spec.max_seconds
        if limit is not None and self._clock() - self._began > limit:
            self._stop = True
            return False
        self._tell_results(number)
        back = self._proposals.looks_back
        if back is None:
            return len(self._running) + len(self._waiting) < max(
                self._spec.ahead, self._spec.workers
            )
        return number - self._told < back

    def _tell_results(self, number: int) -> None:
        """Tells results in the order of trials, so far as the trial that comes next may know them."""
        back = self._proposals.looks_back
        known = number if back is None else number - back + 1
        while self._told < known and self._told in self._values:
            self._proposals.tell(self._told, self._values.pop(self._told))
            self._told += 1

    def _propose(self) -> None:
        number = self._proposals.n_asked
        written = self._written[number] if number < len(self._written) else None
        params = self._proposals.ask(written)
        cell = self._folder.cell_of(params)
        if written is None:
            self._folder.note_proposed(number, params)
        if isinstance(cell, NetdialError):
            self._values[number] = None
            self._n_done += 1
            return
        name = key(cell)
        for pieces in (self._running, self._waiting):
            if name in pieces:
                pieces[name].numbers.append(number)
                return
        if name in self._failures:
            self._settle(number, cell, "failed")
        elif (self._folder.path / STOPPED / f"{name}.json").exists():
            self._settle(number, cell, "stopped")
        elif self._store.is_made(cell):
            self._settle(number, cell, "done")
        else:
            self._waiting[name] = Piece(cell, [number])

    def _settle(self, number: int, cell: Cell, state: str) -> None:
        """Takes note of the objectives of a trial that ended."""
        self._n_done += 1
        values: list[float] | None = None
        if state == "done":
            try:
                measures = measures_of(cell, self._store)
            except NetdialError as error:
                measures = {}
                self._fail(key(cell), str(error))
            values = [measures[n] for n in self._spec.optimised if n in measures]
            if len(values) < len(self._spec.optimised):
                lacks = next(n for n in self._spec.optimised if n not in measures)
                there = sorted(name for name in measures if not name.startswith("test/"))
                said = f"measured no {lacks}; there are {', '.join(there)}"
                self._fail(key(cell), said)
                self._stop = self._stop or not _may_lack(lacks, measures)
                values = None
        self._values[number] = values
        if values is not None:
            self._note_best(number, values[0])

    def _note_best(self, number: int, value: float) -> None:
        sign = -1.0 if is_higher(self._spec.optimised[0]) else 1.0
        if self._best is None or sign * value < sign * self._best[1]:
            self._best = (number, value)

    def _fail(self, name: str, error: str) -> None:
        if name not in self._failures:
            self._failures[name] = error
            self._folder.note_failure(name, error)

    def _say(self, piece: Piece, end: TrialEnd, state: str) -> None:
        if self._report is not None:
            first = piece.numbers[0] if piece.numbers else -1
            label = piece.cell.label
            self._report(
                Told(
                    first, label, state, end.seconds, end.error, self._n_done, self._spec.count, len(self._running), self._best
                )
            )  # fmt: skip


def _may_lack(measure: str, measures: Mapping[str, float]) -> bool:
    """Returns whether other trials of a sweep may have a measure that one which is done does not have."""
    part, _, metric = measure.rpartition("/")
    base = metric.removesuffix("_error").removesuffix("_predictive")
    of_numbers = base in ("rmse", "r2")
    return (
        part == "valid" and base in _UNBOUNDED and not (of_numbers and "valid/accuracy" in measures)
    )
