"""Cells: pieces of work as frozen values, each made once, whole or not at all.

A cell is a frozen dataclass whose fields say all that its result depends on; its key is a hash of them and of ``ENGINE``.
Making a cell fills a folder of its own, which appears in the store under its final name only when it is complete. So work
can be stopped at any time and goes on where it was, and what is done is not done again.

Related: ``training`` (cells that train), ``pruned`` (cells that measure), ``lab`` (what an experiment sees of all this).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel

from netdial.core.errors import NetdialError
from netdial.core.storage.files import write_json, writing
from netdial.core.storage.lock import holding

ENGINE = "1"
"""Version of what training and measuring give; raised when the same cell would give other numbers."""

MANIFEST = "cell.json"


class Cell(Protocol):
    """A frozen dataclass that can be made; fields with ``compare=False`` are left out of its key."""

    @property
    def label(self) -> str:
        """Words for people, also part of the folder's name."""

    @property
    def needs(self) -> Sequence[Cell]:
        """Cells that are made before this one."""

    @property
    def cost(self) -> float:
        """Expected work in any unit common to all cells, for the estimate of the time left."""

    def make(self, folder: Path, store: Store) -> None:
        """Writes the result into an empty folder; other cells' results are read from ``store``."""


@dataclasses.dataclass(frozen=True)
class Store:
    """Where cells are kept.

    Attributes:
        folder: cells lie in its subfolder ``cells``.
        data_dir: folder of data files; None for NETDIAL_DATA.
    """

    folder: Path
    data_dir: str | None = None

    def path(self, cell: Cell) -> Path:
        """Returns the folder of a cell, made or not."""
        slug = re.sub(r"[^a-z0-9.]+", "-", cell.label.lower()).strip("-")
        return self.folder / "cells" / f"{slug}-{key(cell)}"

    def is_made(self, cell: Cell) -> bool:
        """Returns whether the cell is there and every file of it is as it was written."""
        path = self.path(cell)
        try:
            files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
            return all(_digest(path / name) == digest for name, digest in files.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def make(self, cell: Cell) -> float:
        """Makes a cell and returns the seconds that it took; a damaged one that is there is replaced."""
        path = self.path(cell)
        temporary = path.with_name(f".{path.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        started = time.perf_counter()
        try:
            cell.make(temporary, self)
            seconds = time.perf_counter() - started
            files = {file.name: _digest(file) for file in sorted(temporary.iterdir())}
            manifest = {"cell": _settings(cell), "seconds": seconds, "files": files}
            write_json(temporary / MANIFEST, json.loads(json.dumps(manifest, default=_plain)))
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return seconds

    def seconds(self, cell: Cell) -> float:
        """Returns how long a made cell took on one thread, in seconds."""
        text = (self.path(cell) / MANIFEST).read_text(encoding="utf-8")
        return float(json.loads(text)["seconds"])


def key(cell: Cell) -> str:
    """Returns 12 hexadecimal digits that depend on the kind of cell, on its fields and on ``ENGINE``."""
    text = json.dumps([_settings(cell), ENGINE], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
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
    report: Callable[[Made], None] | None = None,
) -> int:
    """Makes the cells that are missing, and those they need.

    Args:
        cells: what is wanted; equal cells count once.
        store: where they are kept.
        workers: processes, one thread each; 0 for one on every core, 1 works in this process.
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
    with _alone(store):
        missing = {name: cell for name, cell in wanted.items() if not store.is_made(cell)}
        watch = _Watch(missing, len(wanted), report)
        count = min(workers or _cores(), len(missing))
        if count == 1:
            with _one_thread():
                for cell in missing.values():
                    watch.made(cell, _make(cell, store))
        elif count > 1:
            _make_in_processes(missing, store, count, watch)
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


def _make_in_processes(missing: dict[str, Cell], store: Store, workers: int, watch: _Watch) -> None:
    waiting = dict(missing)
    running: dict[Future[float], str] = {}
    with _processes(workers) as pool:
        while waiting or running:
            busy = waiting.keys() | set(running.values())
            for name in [n for n, c in waiting.items() if not busy & {key(d) for d in c.needs}]:
                running[pool.submit(_make, waiting.pop(name), store)] = name
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                watch.made(missing[running.pop(future)], _result(future))


def _result(future: Future[float]) -> float:
    try:
        return future.result()
    except BrokenProcessPool:
        raise NetdialError(
            "a worker process died, perhaps for want of memory; what is done is kept: run again with --workers 1"
        ) from None


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yields a pool whose processes end with it, also when it is left in the middle of their work."""
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Sets up a worker: one thread, interrupts left to the parent, an end when the parent is gone."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(cell: Cell, store: Store) -> float:
    try:
        return store.make(cell)
    except NetdialError as error:
        raise type(error)(f"{cell.label}: {error}") from None


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _with_needs(cell: Cell) -> dict[str, Cell]:
    """Returns a cell after all that it needs, by key."""
    found: dict[str, Cell] = {}
    for need in cell.needs:
        found |= _with_needs(need)
    return {**found, key(cell): cell}


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Holds the store against other processes, and removes what one that was killed left unfinished.

    Raises:
        BusyError: another process is at work there.
    """
    with writing(store.folder):
        store.folder.mkdir(parents=True, exist_ok=True)
    with holding(store.folder / ".lock", store.folder):
        for path in store.folder.glob("cells/.*.tmp"):
            shutil.rmtree(path, ignore_errors=True)
        yield


def _cores() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _settings(cell: Any) -> dict[str, Any]:
    return {"kind": type(cell).__name__, **_plain(cell)}


def _plain(value: Any) -> dict[str, Any]:
    """Returns the fields of a settings object; JSON asks for nested ones in turn."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.compare}
