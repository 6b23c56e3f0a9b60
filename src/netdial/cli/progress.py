"""Progress of a long job on stderr: a bar on a terminal, plain lines otherwise, nothing if that is asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from netdial.jobs.records.watch import FinishedEpoch, Watch

_LINE_EVERY_S = 3.0


class Lines(Watch):
    """Plain lines, one for an epoch but no more than one every few seconds."""

    def __init__(self) -> None:
        self._last = -_LINE_EVERY_S
        self._started: tuple[float, int] | None = None

    def say(self, text: str) -> None:
        """Prints a line."""
        print(text, file=sys.stderr, flush=True)

    def epoch(self, progress: FinishedEpoch) -> None:
        """Prints an epoch unless another one has just been printed; the last one always."""
        now = time.monotonic()
        if self._started is None:
            self._started = now, progress.epoch
        if now - self._last >= _LINE_EVERY_S or progress.epoch == progress.epochs:
            self._last = now
            self.say(progress.line() + _left(now, *self._started, progress))


class Bar(Watch):
    """A bar over optimiser steps, with the newest epoch beside it."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: Any = None

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.console.print(text, style="dim")

    def advance(self, step: int, steps: int) -> None:
        """Moves the bar."""
        if self._task is None:
            self._task = self._bar.add_task("", total=steps)
        self._bar.update(self._task, completed=step)

    def epoch(self, progress: FinishedEpoch) -> None:
        """Shows an epoch beside the bar."""
        if self._task is not None:
            self._bar.update(self._task, description=progress.line())


def _left(now: float, started: float, first: int, progress: FinishedEpoch) -> str:
    """Returns the time that is left, from the epochs since the first one seen."""
    done, left = progress.epoch - first, progress.epochs - progress.epoch
    if not (done and left):
        return ""
    seconds = (now - started) / done * left
    minutes, rest = divmod(round(seconds), 60)
    return f"  {minutes} min {rest:02d} s left" if minutes else f"  {rest} s left"


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watch]:
    """Yields what suits the terminal."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield Watch()
    elif not console.is_terminal:
        yield Lines()
    else:
        columns = (BarColumn(bar_width=24), TextColumn("{task.description}"), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            yield Bar(bar)
