"""Where data files are looked for, and what is said when they are not there.

The folder is the one given (``--data-dir``), else the environment variable ``NETDIAL_DATA``.
netdial downloads nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from netdial.core.errors import DataError

VARIABLE = "NETDIAL_DATA"


def data_folder(data_dir: str | Path | None) -> Path | None:
    """Returns the folder given, else the one in ``NETDIAL_DATA``, else None."""
    given = data_dir if data_dir is not None else os.environ.get(VARIABLE)
    return Path(given).expanduser() if given else None


def require_folder(data_dir: str | Path | None, name: str, files: str) -> Path:
    """Returns the data folder, which exists.

    Args:
        data_dir: The folder given by the caller, or None.
        name: The data set, for the message.
        files: The files that would be looked for, for the message.

    Raises:
        DataError: if no folder is given or it is not there.
    """
    folder = data_folder(data_dir)
    if folder is None:
        raise not_found(name, files, "no data folder is set")
    if not folder.is_dir():
        raise not_found(name, files, f"the data folder {folder} does not exist")
    return folder


def not_found(name: str, files: str, why: str) -> DataError:
    """Returns the error for data files that are not there."""
    return DataError(
        f"data {name!r}: {why}; looked for {files}. Set {VARIABLE}=/path/to/data or pass --data-dir"
        " /path/to/data"
    )


def fingerprints(files: Sequence[Path]) -> list[dict[str, str | int]]:
    """Returns name, size in bytes and SHA-256 of each file, for the provenance of a task."""
    found: list[dict[str, str | int]] = []
    for path in files:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        found.append({"name": path.name, "bytes": path.stat().st_size, "sha256": digest})
    return found
