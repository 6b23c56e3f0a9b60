"""Sweeps at an address: S3, GCS, HTTP file systems … whatever fsspec opens, beside a folder of this machine.

Trials are made in a folder of the machine that makes them and copied to the address: after epochs, so that another machine
can go on with them, and when they are done, ``DONE`` last, so that a trial is there whole or not done. What lies at the address
and not here is fetched when it is asked for. The driver alone writes what the sweep is and which trials were proposed.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from netdial.core.errors import ConfigError, NetdialError, WriteError, first_line, missing_extra
from netdial.jobs.records.watch import FinishedEpoch, Watch
from netdial.runs.store import Cell, Store

_LAST = ("checkpoint", "DONE")
"""Copied after everything else, in this order: what says how far the rest is."""

_BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"}
"""File systems without folders, where making one would make a bucket."""


_REST = 4.0
"""Seconds without sending after each that was spent on it."""


class AddressError(WriteError):
    """What lies at an address cannot be read or written now; a trial that meets this is tried again."""


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
            # another machine may have written since: no listing is kept
            found: tuple[Any, str] = fsspec.core.url_to_fs(self.address, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"storage {self.address}: cannot be opened ({first_line(error)}); install the file system, or give a folder"
            ) from None
        return found

    def exists(self, inner: str) -> bool:
        """Returns whether a file is there.

        Raises:
            AddressError: the address does not say.
        """
        system, path = self._at
        with self._asking("read"):
            return bool(system.exists(f"{path}/{inner}"))

    def fetch(self, inner: str = "") -> None:
        """Copies a folder, or one file, from the address to here; what is here and not there stays.

        Raises:
            AddressError: it cannot be read.
        """
        system, path = self._at
        start = f"{path}/{inner}".rstrip("/")
        with self._asking("read"):
            if not system.exists(start):
                return
            for file in system.find(start):
                target = self.here / str(file)[len(path) :].lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f".{target.name}.part")
                system.get_file(file, str(partial))
                partial.replace(target)

    def send(self, inner: str, known: dict[str, tuple[int, int]] | None = None) -> None:
        """Copies a folder, or one file, from here to the address.

        Args:
            inner: the folder or file.
            known: size and time of change of each file as it was sent before; those that are still so are passed over, and
                what is sent is written down there. None sends all.

        Raises:
            AddressError: the address refused it.
        """
        start = self.here / inner
        files = [start] if start.is_file() else [f for f in start.rglob("*") if f.is_file()]
        for file in sorted(files, key=lambda file: _turn(file.relative_to(start))):
            name, now = str(file.relative_to(self.here)), file.stat()
            version = (now.st_size, now.st_mtime_ns)
            if known is None or known.get(name) != version:
                self._put(file, name)
            if known is not None:
                known[name] = version

    def _put(self, file: Path, name: str) -> None:
        system, path = self._at
        with self._asking("written"):
            if self.address.partition("://")[0] not in _BUCKETS:
                system.makedirs(f"{path}/{name}".rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), f"{path}/{name}")

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turns what a file system says against reading or writing into an error in words."""
        try:
            yield
        except NetdialError:
            raise
        except Exception as error:  # every file system has errors of its own
            raise AddressError(
                f"storage {self.address}: could not be {what} ({first_line(error)}); see that it is there, that this machine "
                "reaches it and may write to it, or give a folder"
            ) from error


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
        return Sending(self.remote, self._inner(cell))

    def _inner(self, cell: Cell) -> str:
        return str(self.path(cell).relative_to(self.folder))


class Sending(Watch):
    """Sends what changed in a run folder after epochs, but the last, which is sent when it is done.

    Epochs that end while sending would take more than a fifth of the time are passed over.
    """

    def __init__(self, remote: Remote, inner: str) -> None:
        self._remote, self._inner = remote, inner
        self._known: dict[str, tuple[int, int]] = {}
        self._not_before = -math.inf

    def epoch(self, progress: FinishedEpoch) -> None:
        """Sends the folder as it is now: records of this epoch, the checkpoint of the one before."""
        began = time.monotonic()
        if progress.epoch < progress.epochs and began >= self._not_before:
            self._remote.send(self._inner, self._known)
            ended = time.monotonic()
            self._not_before = ended + _REST * (ended - began)
