"""Finds a table file and reads it: delimited text, Parquet or Excel, plain or gzipped.

Whatever a parser raises on a damaged file becomes a ``DataError``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from netdial.core.errors import ConfigError, DataError
from netdial.data.folder import data_folder
from netdial.data.tables.files.excel import read_excel
from netdial.data.tables.files.frame import Table, named
from netdial.data.tables.files.parquet import read_parquet
from netdial.data.tables.files.text import read_text
from netdial.data.tables.options import SUFFIXES, TableOptions, foreign_options, is_table


def locate_table(path: str | Path, data_dir: str | Path | None) -> Path:
    """Returns the file of a table, also looked for in the data folder.

    Raises:
        DataError: it is not there, or it is a folder.
    """
    path = Path(path)
    folder = data_folder(data_dir)
    places = [path.expanduser()] + ([folder / path] if folder and not path.is_absolute() else [])
    for place in places:
        if place.is_file():
            return place
    looked = " and ".join(str(place) for place in places)
    if any(place.is_dir() for place in places):
        raise DataError(f"data {str(path)!r}: is a folder, no table; looked for {looked}")
    folder_option = (
        "" if path.is_absolute() else "; say which folder it lies in (--data-dir, data_dir=)"
    )
    raise DataError(f"data {str(path)!r}: no such file; looked for {looked}{folder_option}")


def table_digest(data: str, data_dir: str | Path | None = None) -> str:
    """Returns the SHA-256 of a table's bytes, so that a table that changes is another one; empty for other data.

    A table that is not there has none, either: whoever reads it says so.
    """
    if not is_table(data):
        return ""
    try:
        with locate_table(data, data_dir).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (DataError, OSError):
        return ""


def read_table(
    path: Path, options: TableOptions, texts: Sequence[str] = (), usual: str = "."
) -> Table:
    """Returns the table in a file.

    Args:
        path: The file; its ending decides how it is read.
        options: What is known of how it is written.
        texts: Columns that hold texts, even where all of them look like numbers, besides those that the options name.
        usual: Decimal mark of a text file in which nothing decides.

    Raises:
        ConfigError: an option does not go with this kind of file.
        DataError: the file is empty, damaged or no table.
        MissingExtra: the library that reads such files is not installed.
    """
    if not is_table(path.name):
        raise ConfigError(
            f"data {path.name!r}: no table that netdial reads (allowed endings: {', '.join(SUFFIXES)})"
        )
    where, name = f"data {path.name!r}", path.name.lower()
    if foreign := foreign_options(options, name):
        raise ConfigError(
            f"{where}: such a file has no {' and no '.join(foreign)} to choose; leave the option out"
        )
    if name.endswith(".parquet"):
        return named(read_parquet(path, where))
    if name.endswith(".xlsx"):
        return read_excel(path, options, where)
    return read_text(path, options, texts, usual, where)
