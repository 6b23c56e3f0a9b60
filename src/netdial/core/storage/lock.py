"""Locks: a folder in which one process works at a time.

A lock is a small file that says who holds it: host, process, when that process started, and since when. Making it is
exclusive (``O_EXCL``, which network file systems keep, too); where the system has ``flock``, the file is held by that as well,
so that the kernel gives it up when its process ends, however it ends. A lock is taken over only from a process that is gone:
on this machine its number is not there, or belongs to a process that started at another time, or the machine was started
again since. Of a process on another machine nothing can be known, so its lock stays until somebody who knows removes the file.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from netdial.core.errors import BusyError, CheckpointError
from netdial.core.storage.boundary import parse_json, validated
from netdial.core.storage.files import writing

_TRIES = 100


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        host: name of the machine.
        boot: what tells one start of the machine from another; empty where it is not known.
        space: name space of process numbers, for containers; empty where there is none.
        pid: number of the process.
        started: when that process started, in the system's own words; empty where it is not known.
        since: when it took the lock, ISO 8601, UTC.
        command: its command line.
    """

    host: str
    boot: str
    space: str
    pid: int
    started: str
    since: str
    command: str

    @classmethod
    def me(cls) -> Holder:
        """Returns this process, now."""
        pid = os.getpid()
        return cls(
            socket.gethostname(),
            _boot(),
            _space(),
            pid,
            start_of(pid) or "",
            datetime.now(UTC).isoformat(timespec="seconds"),
            shlex.join(sys.argv),
        )

    def is_gone(self, *, freed: bool) -> bool:
        """Returns whether the process is known to be gone.

        Args:
            freed: whether the kernel has given up the file lock that it held.
        """
        boot = _boot()
        if boot and self.boot == boot and self.space != _space():
            return freed  # another container on this machine: only the kernel knows
        if self.boot == boot and (boot or self.host == socket.gethostname()):
            return start_of(self.pid) != self.started
        return bool(boot and self.boot) and self.host == socket.gethostname() != "localhost"

    def __str__(self) -> str:
        """Returns the process in words."""
        here = self.host == socket.gethostname()
        place = "this machine" if here else self.host
        return f"process {self.pid} on {place} ({self.command}, since {self.since})"


@contextmanager
def holding(path: Path, what: object, *, nested: bool = False) -> Iterator[bool]:
    """Holds a lock for as long as the block lasts.

    Args:
        path: the lock file; its folder must be there.
        what: what is locked, for the message.
        nested: whether the thread that holds it may ask again.

    Yields:
        Whether it was taken just now, not held before.

    Raises:
        BusyError: another process holds it; the message says which and since when.
        WriteError: the disk refused the file.
    """
    key, owner = _key(path), (os.getpid(), threading.get_ident())
    if nested and _held.get(key) == owner:
        yield False
        return
    file = _acquire(path, what)
    _held[key] = owner
    try:
        yield True
    finally:
        if owner[0] == os.getpid():  # a forked child leaves its parent's lock alone
            del _held[key]
            if _is_there(file, path):
                with contextlib.suppress(OSError):
                    path.unlink()
            os.close(file)


_held: dict[str, tuple[int, int]] = {}
"""Locks that this process holds: file -> process and thread."""


def _key(path: Path) -> str:
    return os.path.join(os.path.realpath(path.parent), path.name)


def _acquire(path: Path, what: object) -> int:
    """Returns the open file of a lock that is now ours."""
    for _ in range(_TRIES):
        with writing(path):
            made = True
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                made = False
                try:
                    file = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
                except FileNotFoundError:
                    continue
        try:
            if _take(file, path, what, made=made):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise BusyError(f"{what}: other processes take turns at it; try again")


def _take(file: int, path: Path, what: object, *, made: bool) -> bool:
    """Returns whether the open lock file is ours, or else has gone meanwhile.

    Raises:
        BusyError: it is another process's.
    """
    freed = _flock(file)
    if freed is False:
        if made:
            return False  # somebody opened it before we held it, and found it empty
        raise _busy(what, path, _read(file), known=True)
    if not _is_there(file, path):
        return False
    if not made:
        holder = _read(file)
        gone = bool(freed) if holder is None else holder.is_gone(freed=bool(freed))
        if not gone:
            raise _busy(what, path, holder, known=False)
        if freed is None:
            _put_away(file, path)
            return False
    with writing(path):
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, (json.dumps(asdict(Holder.me())) + "\n").encode(), 0)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    return True


def _put_away(file: int, path: Path) -> None:
    """Removes the lock of a process that is gone, where only names are exclusive: never one that was made meanwhile."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.rename(aside)
        if not _is_there(file, aside):
            os.link(aside, path)
        aside.unlink()


def _busy(what: object, path: Path, holder: Holder | None, *, known: bool) -> BusyError:
    who = "another process" if holder is None else str(holder)
    cure = "wait for it to end, or end it"
    sure = known or (holder is not None and holder.boot == _boot() != "")
    more = "" if sure else f"; if that process is gone, delete {path}"
    return BusyError(f"{what}: is in use by {who}; {cure}{more}")


def _read(file: int) -> Holder | None:
    """Returns who is named in a lock file, or None when it is damaged, or not written yet."""
    with contextlib.suppress(CheckpointError, OSError):
        text = os.pread(file, 1 << 16, 0)
        found: Holder = validated(Holder, parse_json(text, "lock"), "lock")
        return found
    return None


def _is_there(file: int, path: Path) -> bool:
    """Returns whether an open file is still the one under its name."""
    try:
        mine, named = os.fstat(file), os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return (mine.st_ino, mine.st_dev) == (named.st_ino, named.st_dev)


def _flock(file: int) -> bool | None:
    """Takes the kernel's lock: True if it is ours, False if another has it, None where there is no such thing."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN) else None
    return True


def start_of(pid: int) -> str | None:
    """Returns when a process started, in the system's own words; None if there is none, empty if that cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_by_ps(pid)
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]  # a zombie has ended


def _start_by_ps(pid: int) -> str | None:
    if sys.platform == "win32":
        return ""
    try:
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() or None


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
