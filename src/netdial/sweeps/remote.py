"""Sweeps at an address: S3, GCS, HTTP file systems … whatever fsspec opens, beside a folder of this machine.

Trials are made in a folder of the machine that makes them and copied to the address: after every epoch, so that another machine
can go on with them, and when they are done, ``DONE`` last, so that a trial is there whole or not done. What lies at the address
and not here is fetched when it is asked for. The driver alone writes what the sweep is and which trials were proposed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from netdial.core.errors import ConfigError, first_line, missing_extra
from netdial.jobs.records.watch import FinishedEpoch, Watch
from netdial.runs.store import Cell, Store

_LAST = ("checkpoint", "DONE")
"""Copied after everything else, in this order: what says how far the rest is."""


def is_address(storage: str) -> bool:
    """Returns whether a place is an address, not a folder.

    >>> is_address("s3://bucket/sweeps"), is_address("runs/sweeps")
    (True, False)
    """
    return "://" in storage


def folder_for(address: str) -> Path:
    """Returns the folder of this machine that stands beside an address."""
    name = hashlib.sha256(address.encode()).hexdigest()[:12]
    return Path.home() / ".cache" / "netdial" / "sweeps" / name


@dataclass(frozen=True)
class Remote:
    """A folder at an address, and its copy here.

    Attributes:
        address: of the folder.
        here: its copy.
    """

    address: str
    here: Path

    @cached_property
    def _at(self) -> tuple[Any, str]:
        """The file system and the path on it."""
        try:
            import fsspec
        except ImportError:
            raise missing_extra(f"storage {self.address}", "sweep") from None
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(self.address)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"storage {self.address}: cannot be opened ({first_line(error)}); install the file system, or give a folder"
            ) from None
        return found

    def exists(self, inner: str) -> bool:
        """Returns whether a file is there."""
        system, path = self._at
        return bool(system.exists(f"{path}/{inner}"))

    def fetch(self, inner: str = "") -> None:
        """Copies a folder, or one file, from the address to here; what is here and not there stays."""
        system, path = self._at
        start = f"{path}/{inner}".rstrip("/")
        if not system.exists(start):
            return
        system.invalidate_cache()
        for file in system.find(start):
            target = self.here / str(file)[len(path) :].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.part")
            system.get_file(file, str(partial))
            partial.replace(target)

    def send(self, inner: str) -> None:
        """Copies a folder, or one file, from here to the address.

        Raises:
            ConfigError: the address refused it.
        """
        system, path = self._at
        start = self.here / inner
        files = [start] if start.is_file() else [f for f in start.rglob("*") if f.is_file()]
        try:
            for file in sorted(files, key=lambda file: _turn(file.relative_to(start))):
                target = f"{path}/{file.relative_to(self.here)}"
                system.makedirs(target.rpartition("/")[0], exist_ok=True)
                system.put_file(str(file), target)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"storage {self.address}: could not be written ({first_line(error)}); see what it allows you, or give a folder"
            ) from None


def _turn(inner: Path) -> tuple[int, str]:
    """Returns a key that puts what says how far a run is after what it speaks of."""
    first = inner.parts[0] if inner.parts else ""
    return (_LAST.index(first) + 1 if first in _LAST else 0), str(inner)


@dataclass(frozen=True)
class RemoteStore(Store):
    """A store whose cells lie at an address, too.

    Attributes:
        address: of the folder that holds ``cells``.
    """

    address: str = ""

    @property
    def remote(self) -> Remote:
        """The folder at the address."""
        return Remote(self.address, self.folder)

    def is_made(self, cell: Cell) -> bool:
        """Returns whether the cell is done, here or there; what is only there is fetched."""
        if super().is_made(cell):
            return True
        inner = self._inner(cell)
        if not self.remote.exists(f"{inner}/DONE"):
            return False
        self.remote.fetch(inner)
        return super().is_made(cell)

    def make(self, cell: Cell) -> float:
        """Makes a cell, or goes on where another machine left it, and sends it to the address."""
        if not self.path(cell).exists():
            self.remote.fetch(self._inner(cell))
        seconds = super().make(cell)
        self.remote.send(self._inner(cell))
        return seconds

    def watch(self, cell: Cell) -> Watch:
        """Returns what sends a run to the address after every epoch."""
        return _Sending(self.remote, self._inner(cell))

    def _inner(self, cell: Cell) -> str:
        return str(self.path(cell).relative_to(self.folder))


class _Sending(Watch):
    """Sends a run folder after every epoch but the last, which is sent when it is done."""

    def __init__(self, remote: Remote, inner: str) -> None:
        self._remote, self._inner = remote, inner

    def epoch(self, progress: FinishedEpoch) -> None:
        """Sends the folder as it is now: records of this epoch, the checkpoint of the one before."""
        if progress.epoch < progress.epochs:
            self._remote.send(self._inner)
