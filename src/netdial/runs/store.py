"""The store: run folders that are named after all that their result depends on, so that work is done once.

A `Cell` is a piece of work as a frozen dataclass: a training run, a measurement, a trial of a sweep. Its key is a hash of its
fields and of ``ENGINE``, its folder ``cells/LABEL-KEY`` an ordinary run folder: ``config.json``, records, a checkpoint where
the cell has one to go on from, and ``DONE`` with the digests of its files. `jobs.pool` makes many of them. Loads no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from netdial.core.errors import CheckpointError
from netdial.core.storage.files import write_json, writing
from netdial.core.storage.lock import holding
from netdial.runs.folder import FOUND
from netdial.runs.run import Run

ENGINE = "12"
"""Version of what training and measuring give; raised when the same settings would give other numbers."""

_GROWS = ("DONE", "records.jsonl", "log.txt", "report.html", "checkpoint", "choice")
"""What later commands may change in a run folder that is done; all else has a digest."""


class Cell:
    """A piece of work, for frozen dataclasses to build on; fields with ``compare=False`` are left out of its key."""

    @property
    def label(self) -> str:
        """Words for people, also part of the folder's name."""
        raise NotImplementedError

    @property
    def needs(self) -> Sequence[Cell]:
        """Cells that are made before this one."""
        return ()

    @property
    def cost(self) -> float:
        """Expected work in any unit common to all cells, for the estimate of the time left."""
        return 1.0

    @property
    def run_config(self) -> dict[str, Any]:
        """Settings that the run folder holds, as plain JSON values: the kind of cell as ``way``, its fields as ``cell``."""
        plain: dict[str, Any] = json.loads(json.dumps(_settings(self), default=_plain))
        return {"way": plain.pop("kind"), "cell": plain}

    def make(self, run: Run, store: Store) -> Any:
        """Does the work; other cells' results are read from ``store``.

        Args:
            run: the run folder; if it has a checkpoint, the cell goes on from it.
            store: the store.

        Returns:
            What was found, as plain JSON values for `Store.read`; None if files in the folder say it all.
        """
        raise NotImplementedError

    def fill(self, store: Store) -> None:
        """Makes the run folder ``store.path(self)`` and does the work in it."""
        path = store.path(self)
        run = (
            Run.open(path) if path.exists() else Run.create(path.parent, path.name, self.run_config)
        )
        found = self.make(run, store)
        if found is not None:
            write_json(path / FOUND, found)


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
        """Returns the run folder of a cell, made or not."""
        slug = re.sub(r"[^a-z0-9.]+", "-", cell.label.lower()).strip("-")
        return self.folder / "cells" / f"{slug[:150]}-{key(cell)}"

    def is_made(self, cell: Cell) -> bool:
        """Returns whether the cell is done, and what it wrote is as it was written."""
        path = self.path(cell)
        try:
            files = json.loads((path / "DONE").read_text(encoding="utf-8"))["files"]
            return all(file_digest(path / name) == digest for name, digest in files.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def make(self, cell: Cell) -> float:
        """Makes a cell, or goes on with it from its checkpoint, and returns the seconds that this took.

        A damaged one is made anew. One that fails or is stopped before it has a checkpoint leaves nothing.
        """
        path = self.path(cell)
        self._sweep(path)
        started, busy = time.perf_counter(), time.process_time()
        try:
            cell.fill(self)
        except BaseException:
            self._sweep(path)
            raise
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - busy
        files = {
            str(file.relative_to(path)): file_digest(file)
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.relative_to(path).parts[0] not in _GROWS
        }
        Run.open(path).finish(seconds=seconds, cpu_seconds=cpu_seconds, files=files)
        return seconds

    def read(self, cell: Cell) -> Any:
        """Returns what a made cell found, as plain JSON values."""
        return json.loads((self.path(cell) / FOUND).read_text(encoding="utf-8"))

    def seconds(self, cell: Cell) -> float:
        """Returns how long a made cell took on one thread, in seconds, from its last start."""
        text = (self.path(cell) / "DONE").read_text(encoding="utf-8")
        return float(json.loads(text)["seconds"])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the store against other processes, and removes unfinished cells that have no checkpoint to go on from.

        Raises:
            BusyError: another process is at work there.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with holding(self.folder / ".lock", self.folder):
            for path in self.folder.glob("cells/.*.new"):  # locks are of who looks at a cell
                shutil.rmtree(path, ignore_errors=True)
            for path in self.folder.glob("cells/*"):
                if not (path / "DONE").exists():
                    self._sweep(path)
            yield

    def _sweep(self, path: Path) -> None:
        """Removes a cell's folder, unless it is an unfinished one with a checkpoint to go on from."""
        with suppress(CheckpointError):
            run = Run.open(path)
            if not run.is_done and any(run.checkpoint_path.glob("*")):
                return
        shutil.rmtree(path, ignore_errors=True)


def key(cell: Cell) -> str:
    """Returns 12 hexadecimal digits that depend on the kind of cell, on its fields and on ``ENGINE``."""
    return content_hash(_settings(cell))


def content_hash(settings: dict[str, Any]) -> str:
    """Returns 12 hexadecimal digits that depend on settings, whatever their order, and on ``ENGINE``.

    >>> content_hash({"seed": 0, "lr": 0.1}) == content_hash({"lr": 0.1, "seed": 0})
    True
    """
    text = json.dumps([settings, ENGINE], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _settings(cell: Any) -> dict[str, Any]:
    return {"kind": type(cell).__name__, **_plain(cell)}


def _plain(value: Any) -> Any:
    """Returns the fields of a settings object, or a path as text; JSON asks for nested ones in turn."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.compare}
