"""What ``netdial sweep`` shows: trials as a table, and as lines while they are made."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from netdial.report.text import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from netdial.sweeps.conductor import Told
    from netdial.sweeps.estimate import SweepPlan
    from netdial.sweeps.result import Sweep, SweepTrial

_LAST = 12
"""Trials that a live table shows."""


def shown(value: Any) -> str:
    """Returns a value of a setting or a measure, short.

    >>> shown(0.000123456), shown("mlp:4"), shown(275.0)
    ('0.000123', 'mlp:4', '275')
    """
    return number(value) if isinstance(value, float) else str(value)


def trials_table(
    sweep: Sweep, trials: Sequence[SweepTrial], by: Sequence[str], *, test: bool = False
) -> Table:
    """Returns a row for each trial: what was varied, how it ended, what it measured; test measures where they are asked for."""
    varied = list(sweep.spec.space)
    last = [f"test/{n.partition('/')[2]}" for n in by if n.startswith("valid/")] if test else []
    table = Table(header_style="bold")
    for heading in ("trial", *varied, "state", *by, *last, "seconds"):
        words = heading in ("trial", "state")
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    for trial in trials:
        cells = [str(trial.number), *(shown(trial.params.get(name, "")) for name in varied)]
        cells += [trial.state, *(_cell(trial.measures, name) for name in by)]
        cells += [_cell(trial.test, name) for name in last]
        table.add_row(*cells, "" if trial.seconds is None else f"{trial.seconds:.1f}")
    return table


def plan_table(found: SweepPlan) -> Table:
    """Returns a row for each trial that would be made."""
    table = Table(header_style="bold")
    varied = list(found.trials[0].params) if found.trials else []
    for heading in ("trial", *varied, "seconds"):
        table.add_column(heading, justify="left" if heading == "trial" else "right", no_wrap=True)
    for trial in found.trials:
        cells = [shown(trial.params[name]) for name in varied]
        cost = trial.error or (f"{trial.seconds:.1f}" if trial.seconds else "done")
        table.add_row(str(trial.number), *cells, cost)
    return table


def _cell(values: Mapping[str, float], name: str) -> str:
    return shown(values[name]) if name in values else ""


def clock(seconds: float) -> str:
    """Returns a time in the largest units that suit it.

    >>> clock(3.21), clock(75), clock(7300)
    ('3.2 s', '1 min 15 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def telling(*, quiet: bool) -> Iterator[Callable[[Told], None] | None]:
    """Yields what is told of trials: a live table on a terminal, lines otherwise, None if nothing is wanted."""
    screen = Console(stderr=True, highlight=False)
    if quiet:
        yield None
    elif not screen.is_terminal:
        yield _say
    else:
        with Live(console=screen, refresh_per_second=4) as live:
            yield _LiveTable(live)


def _say(told: Told) -> None:
    """Prints a line when something ended."""
    if told.state != "running":
        print(_line(told), file=sys.stderr, flush=True)


def _line(told: Told) -> str:
    """Returns what ended as one line."""
    who = f"trial {told.number}" if told.number >= 0 else told.label
    best = "" if told.best is None else f", best {shown(told.best[1])} (trial {told.best[0]})"
    why = f": {told.error}" if told.error else ""
    state = "is tried again" if told.state == "again" else told.state
    return f"[{told.done}/{told.total}] {who} {state} in {clock(told.seconds)}{why}{best}"


class _LiveTable:
    """A table of what is under way and what ended last, drawn anew whenever something happens."""

    def __init__(self, live: Live) -> None:
        self._live, self._began = live, time.monotonic()
        self._rows: dict[tuple[int, str], Told] = {}

    def __call__(self, told: Told) -> None:
        name = (told.number, told.label)
        self._rows.pop(name, None)
        self._rows[name] = told
        ended = [one for one in self._rows.values() if one.state != "running"]
        for old in ended[: max(0, len(self._rows) - _LAST)]:
            del self._rows[(old.number, old.label)]
        self._live.update(self._table(told))

    def _table(self, told: Told) -> Table:
        passed = time.monotonic() - self._began
        left = passed / told.done * (told.total - told.done) if told.done else None
        best = "" if told.best is None else f", best {shown(told.best[1])} (trial {told.best[0]})"
        rest = "" if left is None else f", about {clock(left)} left"
        title = f"{told.done} of {told.total} trials{best}{rest}"
        table = Table(title=title, title_justify="left", header_style="bold")
        for heading in ("trial", "what", "state", "seconds", ""):
            table.add_column(heading)
        for row in self._rows.values():
            trial = str(row.number) if row.number >= 0 else ""
            seconds = "" if row.state == "running" else f"{row.seconds:.1f}"
            table.add_row(trial, row.label, row.state, seconds, row.error)
        return table
