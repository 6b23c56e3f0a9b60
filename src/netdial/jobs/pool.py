"""Pools: many cells of a store, made in this process or in several.

An engine is a function of the number of workers that gives a `concurrent.futures.Executor`; to add one (other machines, say),
register it in ``POOLS``. Nothing else knows where a cell is made.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from netdial.core.errors import NetdialError
from netdial.core.registry import Registry
from netdial.runs.store import Cell, Store, key

POOLS: Registry[Callable[[int], AbstractContextManager[Executor]]] = Registry("pool")
"""Engines by name: number of workers -> executor, which ends with the block that it is used in."""


@dataclass(frozen=True)
class Made:
    """Told after every cell.

    Attributes:
        label: the cell.
        seconds: time that it took.
        done, total: cells done so far, and in all.
        left_s: estimate of the seconds left.
    """

    label: str
    seconds: float
    done: int
    total: int
    left_s: float

    def __str__(self) -> str:
        """Returns one line for people.

        >>> print(Made("piecewise, seed 0", 12.3, 2, 8, 95.0))
        [2/8] piecewise, seed 0: 12.3 s, about 1 min 35 s left
        """
        minutes, seconds = divmod(round(self.left_s), 60)
        left = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        rest = f", about {left} left" if self.done < self.total else ""
        return f"[{self.done}/{self.total}] {self.label}: {self.seconds:.1f} s{rest}"


def make_all(
    cells: Sequence[Cell],
    store: Store,
    *,
    workers: int = 0,
    pool: str | None = None,
    report: Callable[[Made], None] | None = None,
) -> int:
    """Makes the cells that are missing, and those they need.

    Args:
        cells: what is wanted; equal cells count once.
        store: where they are kept.
        workers: cells at a time, one thread each; 0 for one on every core.
        pool: engine, by name in ``POOLS``; by default ``here`` for one worker and ``processes`` for more.
        report: told after every cell.

    Returns:
        How many cells were missing.

    Raises:
        BusyError: another process is at work in the store.
        NetdialError: a cell could not be made; its label comes first. Cells already made stay.
    """
    wanted: dict[str, Cell] = {}
    for cell in cells:
        wanted |= _with_needs(cell)
    with store.alone():
        missing = {name: cell for name, cell in wanted.items() if not store.is_made(cell)}
        count = min(workers or cores(), len(missing))
        if count:
            watch = _Watch(missing, len(wanted), report)
            with POOLS[pool or ("here" if count == 1 else "processes")](count) as executor:
                _make_missing(missing, store, executor, count, watch)
    return len(missing)


class _Watch:
    """Counts what is done and estimates what is left."""

    def __init__(
        self, missing: dict[str, Cell], total: int, report: Callable[[Made], None] | None
    ) -> None:
        self._report = report
        self._done, self._total = total - len(missing), total
        self._spent, self._left = 0.0, sum(cell.cost for cell in missing.values())
        self._started = time.perf_counter()

    def made(self, cell: Cell, seconds: float) -> None:
        self._done += 1
        self._spent += cell.cost
        self._left -= cell.cost
        pace = (time.perf_counter() - self._started) / max(self._spent, 1e-9)
        if self._report is not None:
            self._report(Made(cell.label, seconds, self._done, self._total, pace * self._left))


def _make_missing(
    missing: dict[str, Cell], store: Store, executor: Executor, count: int, watch: _Watch
) -> None:
    """Makes cells, at most ``count`` at a time and each after those that it needs."""
    waiting = dict(missing)
    running: dict[Future[float], str] = {}
    while waiting or running:
        busy = waiting.keys() | set(running.values())
        ready = [n for n, c in waiting.items() if not busy & {key(d) for d in c.needs}]
        for name in ready[: count - len(running)]:
            running[executor.submit(_make, waiting.pop(name), store)] = name
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            watch.made(missing[running.pop(future)], _result(future))


def _make(cell: Cell, store: Store) -> float:
    try:
        return store.make(cell)
    except NetdialError as error:
        raise type(error)(f"{cell.label}: {error}") from None


def _result(future: Future[float]) -> float:
    try:
        return future.result()
    except BrokenProcessPool:
        raise NetdialError(
            "a worker process died, perhaps for want of memory; what is done is kept: run again with --workers 1"
        ) from None


class _Here(Executor):
    """Does what it is given at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Returns the result, as a future that is done."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@POOLS.add("here")
@contextmanager
def _here(workers: int) -> Iterator[Executor]:
    """Yields an executor in this process, with one thread for torch."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield _Here()
    finally:
        torch.set_num_threads(threads)


@POOLS.add("processes")
@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    """Yields a pool whose processes end with it, also when it is left in the middle of their work."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=_Apart(), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker(SpawnProcess):
    """A process that does not run the script of its parent, unless that tells a run of its own from an import."""

    def start(self) -> None:
        """Starts it. A plain script would come to the call that started the worker, and fail there."""
        main = sys.modules["__main__"]
        if _tells_imports(main):
            super().start()
            return
        kept = vars(main).pop("__file__"), main.__spec__
        main.__spec__ = None
        try:
            super().start()
        finally:
            main.__file__, main.__spec__ = kept


class _Apart(SpawnContext):
    """Starts processes anew, as ``spawn`` does, and as `_Worker`."""

    Process = _Worker


def _tells_imports(main: ModuleType) -> bool:
    """Returns whether a script asks for ``__main__``, as in ``if __name__ == "__main__"``, or is no file that can be read."""
    try:
        return b"__main__" in Path(main.__file__ or "").read_bytes()
    except (AttributeError, OSError):
        return True


def _start_worker() -> None:
    """Sets up a worker: one thread, interrupts left to the parent, an end when the parent is gone."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _with_needs(cell: Cell) -> dict[str, Cell]:
    """Returns a cell after all that it needs, by key."""
    found: dict[str, Cell] = {}
    for need in cell.needs:
        found |= _with_needs(need)
    return {**found, key(cell): cell}


def cores() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
