"""What lies in a run folder, and how one run takes the place of another: nothing half there, nothing of the user's lost.

A run folder ``runs/NAME`` has three neighbours while it is worked on, all hidden: ``.NAME.lock`` (who works there),
``.NAME.new`` (a run that is not complete yet, or is to replace another one) and ``.NAME.old`` (the run that is being
replaced). `hold` takes the lock; whoever takes it first puts right what a process that was killed left behind. Files that
netdial did not write are the user's: a run that is replaced hands them on to the new one.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from io import FileIO
from pathlib import Path

from netdial.core.errors import CheckpointError, ConfigError, NetdialError, WriteError
from netdial.core.storage.files import sync_folder, write_text, writing
from netdial.core.storage.lock import holding
from netdial.runs.schemas.done import MODEL_FOLDER, MODELS
from netdial.runs.searched import DRAWINGS
from netdial.runs.settings import read_config
from netdial.runs.shrinkage import KILLS

FOUND = "found.json"
"""What a cell of a store returned."""

DETAILS = "details.json"
"""What there is to see of each member beyond its records, see `runs.schemas.details`."""

LATENCY = "latency.json"
"""Times of operations, of a search with a limit or price of latency."""

TRIALS = "trials.safetensors"
"""Structures that a search trained, beside its checkpoint."""

WORK = "compress"
"""Folder of a compression under way."""

FILES = {
    *("config.json", "env.json", "splits.json", "records.jsonl", "log.txt", "report.html", "DONE"),
    *(KILLS, FOUND, DETAILS, LATENCY),
}
"""Files of a run."""

FOLDERS = {
    "checkpoint": {"last.safetensors", TRIALS},
    MODEL_FOLDER: {
        *MODELS,
        *("slimmed.safetensors", "compressed.ndz"),
    },
    "choice": {"README.md", "config.json", "model.safetensors"},
    DRAWINGS: {"epoch-*.svg", "lambda-*.svg", "found.svg"},
    WORK: {"*"},
}
"""Folders of a run, and the files of each, by name or pattern."""

_COMPLETE = ("config.json", "checkpoint/last.safetensors", "DONE")
"""Files of which a run that was stopped before it was complete has none."""
_LEFT = re.compile(r"\..+\.(tmp|old)")
_CHOICE_OLD = ".choice.*.old"
_used: set[Path] = set()
"""Folders in which this process has made a run; one that was made for a lock alone goes with it."""


def check_name(name: str) -> None:
    """Refuses what cannot be the name of a run folder.

    Raises:
        ConfigError: it is empty, too long, hidden, has slashes, characters that do not print or spaces around it.
    """
    bad = (
        not name
        or name != name.strip()
        or name[0] in ".-"
        or len(name.encode(errors="replace")) > 200
        or any(c in "/\\" or not c.isprintable() for c in name)
    )
    if bad:
        raise ConfigError(
            f"run name {name!r}: cannot be a folder's name; use at most 200 letters, digits and -_. "
            "without slashes, not beginning with a dot or a dash (--name)"
        )


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Holds a run folder, there or not, against other processes for as long as the block lasts.

    Raises:
        BusyError: another process works there.
        WriteError: the folder that the run lies in is not ours to write to, or the disk refused the lock.
    """
    root, made = path.parent, not path.parent.exists()
    place = root.absolute()
    if path.is_dir() and not os.access(root, os.W_OK):
        raise WriteError(
            f"{path}: this command keeps what it finds in the run, and {root} is read-only or not yours to write to; copy the "
            f"run to a folder of yours (cp -r {shlex.quote(str(path))} .) and name the copy"
        )
    with writing(path):
        try:
            root.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    try:
        with holding(root / f".{path.name}.lock", path, nested=True) as first:
            if first:
                with writing(path):
                    _put_right(path)
            yield
    finally:
        if made and place not in _used:
            with suppress(OSError):
                root.rmdir()


def break_lock(path: Path) -> None:
    """Removes the lock of a run folder, for who knows that its holder is gone, on whatever machine that was."""
    with suppress(OSError):
        (path.parent / f".{path.name}.lock").unlink()


def tidy_up(path: Path) -> None:
    """Puts right what a process that is gone left at a run folder that is only read; nobody is refused or waited for."""
    if (path.parent / f".{path.name}.lock").exists():
        with suppress(NetdialError), hold(path):
            pass


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """Gives the empty folder in which a run is made before it appears as ``path``; nothing is left of it if that fails."""
    fresh = _fresh(path)
    _remove(fresh)
    fresh.mkdir()
    _used.add(path.parent.absolute())
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def put_in_place(path: Path) -> None:
    """Lets the run that was made in ``fresh_folder`` appear as ``path``, in place of what was there."""
    fresh, old = _fresh(path), _old(path)
    for folder in (*(fresh / name for name in FOLDERS), fresh):
        sync_folder(folder)
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    sync_folder(path.parent)
    _hand_on(old, path)


def discard(path: Path) -> None:
    """Removes a run: all that is netdial's, and the folder if nothing else lies in it."""
    for file in sorted(path.rglob("*"), reverse=True):
        with suppress(OSError):
            if is_own(file.relative_to(path)):
                _remove(file)
            elif file.is_dir() and not file.is_symlink():
                file.rmdir()
    with suppress(OSError):
        path.rmdir()


def is_own(inner: Path) -> bool:
    """Returns whether a file, by its path inside a run folder, is netdial's.

    >>> is_own(Path("model/family.safetensors")), is_own(Path("model/notes.txt"))
    (True, False)
    """
    first, *rest = inner.parts
    if _LEFT.fullmatch(first):
        return True
    if not rest:
        return first in FILES
    if len(rest) != 1 or first not in FOLDERS:
        return False
    return bool(_LEFT.fullmatch(rest[0])) or any(fnmatchcase(rest[0], p) for p in FOLDERS[first])


def foreign(path: Path) -> list[str]:
    """Returns the files in a run folder that are not netdial's, as paths inside it."""
    found = []
    for place, folders, files in os.walk(path):
        inner = Path(place).relative_to(path)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        empty = [inner] if inner.parts and not folders and not files else []
        own = [inner / name for name in (*files, *links)] + [
            folder for folder in empty if str(folder) not in FOLDERS
        ]
        found += [str(name) for name in own if not is_own(name)]
    return sorted(found)


def is_half_made(path: Path) -> bool:
    """Returns whether a folder is what is left of a run that was stopped before it was complete, and nothing else."""
    return (
        path.is_dir()
        and not path.is_symlink()
        and not any((path / name).exists() for name in _COMPLETE)
        and not foreign(path)
    )


def check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Refuses to replace a folder that nobody asked to replace, or that is no run.

    Raises:
        ConfigError: it stays as it is.
    """
    if not overwrite:
        raise ConfigError(taken(path))
    if not path.is_dir():
        raise ConfigError(
            f"{path}: is not a folder, so --overwrite leaves it alone; choose another --name"
        )
    refuse_links(path)
    try:
        read_config(path / "config.json")
    except CheckpointError:
        if others := foreign(path):
            raise ConfigError(
                f"{path}: holds {others[0]!r} and is not a run folder, so --overwrite leaves it alone; "
                "choose another --name"
            ) from None


def taken(path: Path) -> str:
    """Returns what to say about a folder that is there already."""
    return (
        f"{path}: exists already; go on with it (--resume), replace it (--overwrite), "
        "or choose another name (--name)"
    )


def refuse_links(path: Path) -> None:
    """Refuses a run folder that is a symbolic link, or in which something of netdial's is one.

    Raises:
        CheckpointError: there is one; writing would change something elsewhere.
    """
    inside = [file for name in FOLDERS for file in (path / name).glob("*")]
    own = [file for file in inside if is_own(file.relative_to(path))]
    for file in (path, *sorted([*(path / name for name in (*FILES, *FOLDERS)), *own])):
        if file.is_symlink():
            raise CheckpointError(
                f"{file}: is a symbolic link, and writing a run must not change other places; "
                "put the real file or folder there"
            )


def recover(path: Path) -> None:
    """Puts a run back that was being replaced when the process was killed, if ``path`` is missing for that reason."""
    if not os.path.lexists(path) and _old(path).is_dir():
        with hold(path):
            pass


def _fresh(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _put_right(path: Path) -> None:
    """Ends what a process that is gone began: a replacement, a half-made run, half-written files."""
    fresh, old = _fresh(path), _old(path)
    if old.is_dir():
        if not path.exists():
            (fresh if fresh.is_dir() else old).rename(path)
        _hand_on(old, path)
    _remove(fresh)
    if not path.is_dir() or path.is_symlink():
        return
    for left in path.glob(_CHOICE_OLD):
        if not (path / "choice").exists():
            left.rename(path / "choice")
    for place in (path, *(path / name for name in FOLDERS)):
        if place.is_dir() and not place.is_symlink():
            for left in place.iterdir():
                if _LEFT.fullmatch(left.name):
                    _remove(left)


def _hand_on(old: Path, path: Path) -> None:
    """Moves the user's files from a run that was replaced to the new one, and removes the rest."""
    if not old.is_dir():
        return
    for name in foreign(old):
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        while os.path.lexists(place):
            place = place.with_name(f"{place.name}.old")
        (old / name).rename(place)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def whole_lines(file: FileIO) -> int:
    """Cuts off a last line without a newline, and returns the length that is left, in bytes."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            end = file.truncate(file.read().rfind(b"\n") + 1)
    return end


def keep_lines(path: Path, wanted: Callable[[int, str], bool]) -> None:
    """Keeps the whole lines of a text file that are wanted, by number and text."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    kept = [line for number, line in enumerate(lines) if wanted(number, line)]
    write_text(path, "".join(f"{line}\n" for line in kept))


def nearest(path: Path) -> str:
    """Returns a hint naming the nearest run beside ``path``."""
    try:
        siblings = [p.parent.name for p in path.parent.glob("[!.]*/config.json")]
    except OSError:
        siblings = []
    close = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {path.parent / close[0]}?"
    return "; netdial list shows the runs there are"
