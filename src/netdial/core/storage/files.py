"""Files: atomic writes, and JSON that any program can read.

A reader finds either the old file whole or the new file whole, never half of one.
"""

from __future__ import annotations

import errno
import functools
import glob
import json
import math
import os
import socket
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from netdial.core.errors import WriteError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file through a temporary neighbour, flushed to disk and then renamed over ``path``.

    A file that is replaced hands on its permissions, and a new one has those that the user's files have, whoever writes it
    (safetensors makes files that nobody else can read). One that is protected from writing stays as it is.

    Args:
        path: the file to write; its folder is made when missing.
        write: called with the temporary path; whatever it raises leaves the old file as it was.

    Raises:
        WriteError: the disk refused it.
    """
    temporary = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.tmp")
    with writing(path):
        mode = _mode(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            temporary.touch()
            mode = stat.S_IMODE(temporary.stat().st_mode) if mode is None else mode
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            os.replace(temporary, path)
        finally:
            if temporary.exists():
                temporary.unlink()


def _mode(path: Path) -> int | None:
    """Returns the permissions of the file that is there, None if there is none.

    Raises:
        PermissionError: nobody may write to it, which a rename would not notice.
    """
    if not path.is_file():
        return None
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EACCES, "the file is protected from writing")
    return mode


def sync_folder(path: Path) -> None:
    """Flushes the names in a folder to disk, where the system can do that."""
    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)


@functools.cache
def _machine() -> str:
    """Returns a few characters that tell this machine from others that share its disk."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _sweep(path: Path) -> None:
    """Removes what processes of this machine that are gone left half-written beside a file."""
    for left in path.parent.glob(f"{glob.escape(f'.{path.name}.{_machine()}-')}*.tmp"):
        pid = left.name.removesuffix(".tmp").rpartition("-")[2]
        if pid.isdecimal() and not _lives(int(pid)):
            with suppress(OSError):
                left.unlink()


def _lives(pid: int) -> bool:
    if sys.platform == "win32":  # where signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the operating system says against writing ``path`` into a ``WriteError`` in words."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error


def check_writable(path: Path, *, is_folder: bool = False) -> None:
    """Refuses a place where nothing can be written, before the work that is to be written there.

    Args:
        path: a file that will be written; its folder need not be there yet.
        is_folder: whether it will be a folder, which may be there.

    Raises:
        WriteError: the place is read-only, not ours, or taken by a folder; or a file stands where a folder should.
    """
    with writing(path):
        if path.is_dir() and not is_folder:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _mode(path)
        there = next(place for place in path.absolute().parents if os.path.lexists(place))
        probe, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=there)
        os.close(probe)
        os.unlink(name)


def refused(error: OSError) -> bool:
    """Returns whether an error is the disk's refusal to write: it is full, read-only or not ours."""
    return error.errno in (*_FULL, *_FORBIDDEN)


def unwritable(path: Path, error: OSError) -> WriteError:
    """Returns the error for a file that could not be written: why, what became of the old one, and what to do.

    >>> print(unwritable(Path("nowhere/x"), OSError(errno.ENOSPC, "No space left on device")))
    nowhere/x: could not be written (No space left on device); free some space and try again
    """
    reason = error.strerror or str(error) or type(error).__name__
    cure = "choose another place, or see what stands in the way"
    if error.errno in _FULL:
        cure = "free some space and try again"
    elif error.errno in _FORBIDDEN:
        cure = "this place is read-only, or not yours to write to; choose another"
    try:
        intact = "the file that was there before is intact; " if path.is_file() else ""
    except OSError:
        intact = ""
    found = WriteError(f"{path}: could not be written ({reason}); {intact}{cure}")
    found.errno, found.strerror, found.filename = error.errno, reason, str(path)
    return found


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Writes files that belong together: none takes its place before all are on the disk.

    Raises:
        WriteError: the disk refused one; all files that were there before are intact.
    """
    if not files:
        return
    rest = dict(files)
    path, content = next(iter(files.items()))
    del rest[path]

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        write_together(rest)

    write_atomic(path, write)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, indented, with a final newline."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def finite(value: Any) -> Any:
    """Returns nested dicts and lists with numbers that JSON cannot hold replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
