"""Where a command writes: a name that it makes up is a free one; a file that was named is replaced by one of its kind alone.

So a second command never takes what a first one wrote, and no slip of a name takes a table, a model or what is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from netdial.core.errors import ConfigError, unknown


def free_path(path: Path, beside: str = "") -> Path:
    """Returns a path where nothing is yet: this one, or one with a number from 2 on behind its name.

    Args:
        path: the name that is wanted.
        beside: ending of a file of the same name that is written with it, such as ``.json``; that one is free, too.
    """
    number, free = 2, path
    while os.path.lexists(free) or (beside and os.path.lexists(free.with_suffix(beside))):
        number, free = number + 1, path.with_stem(f"{path.stem}-{number}")
    return free


def check_replaceable(
    path: Path, what: str, is_one: Callable[[Path], bool], reads: Iterable[Path] = ()
) -> Path:
    """Returns where to write what a person named a place for, unless something else would be lost; a link is followed.

    Args:
        path: file or folder to write, named by a person.
        what: what is written, in words, such as ``a table of predictions``.
        is_one: says of a file or folder whether it is of that kind, and may be replaced.
        reads: what the command reads.

    Raises:
        ConfigError: it is read by the same command, or is of another kind.
    """
    if not path.exists():
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    if any(one.exists() and os.path.samefile(path, one) for one in reads):
        raise ConfigError(
            f"--out {path}: is what this command reads, which would be gone; give another name"
        )
    if not is_one(path):
        raise ConfigError(
            f"--out {path}: is there and is not {what}, so it is not replaced; give another name, or remove it"
        )
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def check_ending(path: Path, endings: Iterable[str]) -> None:
    """Refuses a path whose ending is that of a file of another format, such as ``net.pth``; folders have none.

    Raises:
        ConfigError: its name ends in other letters behind a dot, and there is no such folder.
    """
    endings = [*endings]
    if path.suffix[1:].isalpha() and path.suffix not in endings and not path.is_dir():
        raise unknown(f"ending of {path}:", path.suffix, [*endings, "none (a folder)"])


def starts_as(start: str) -> Callable[[Path], bool]:
    """Returns a check whether a text file starts with some text, in letters of any case; an empty file does."""

    def check(path: Path) -> bool:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            found = file.read(len(start.encode()))
        return not found or found.lower() == start.lower().encode()

    return check
