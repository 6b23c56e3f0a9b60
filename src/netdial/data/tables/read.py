"""Reads a table file into a frame: delimited text, Parquet or Excel, plain or gzipped.

In text, only an empty cell is missing, and what the options name. What such words as NA mean depends on the column, and is
decided where columns are read (``cells``). Whatever a parser raises on a damaged file becomes a ``DataError``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from netdial.core.errors import ConfigError, DataError, first_line, missing_extra, unknown
from netdial.data._optional import require
from netdial.data.folder import data_folder
from netdial.data.tables.dialect import (
    decode,
    find_dialect,
    heading,
    kept_texts,
    renamed,
    repeated,
    separator_name,
    unique_names,
)
from netdial.data.tables.options import SUFFIXES, TableOptions, foreign_options, is_table

if TYPE_CHECKING:
    import pandas as pd


@runtime_checkable
class Frame(Protocol):
    """Rows in memory, under names: a frame of pandas or polars, or a table of pyarrow."""

    @property
    def columns(self) -> Any:
        """Its columns, or their names."""

    def __len__(self) -> int:
        """How many rows there are."""


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        frame: Its columns under different names; rows are numbered from 0 after the header.
        decimal: Decimal mark of the file.
        sep: Character between columns, None if the file is no text.
        unnamed: Columns without a heading.
        twice: Headings that occur more than once.
        remarks: What was found out or mended, one sentence each.
    """

    frame: pd.DataFrame
    decimal: str = "."
    sep: str | None = None
    unnamed: frozenset[str] = frozenset()
    twice: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = field(default=())


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
        return named(_read_parquet(path, where))
    if name.endswith(".xlsx"):
        return _read_excel(path, options, where)
    return _read_text(path, options, texts, usual, where)


def _read_text(
    path: Path, options: TableOptions, texts: Sequence[str], usual: str, where: str
) -> Table:
    """Returns a table of delimited text."""
    pandas = require("pandas", "reading a table")
    text, encoding = decode(_content(path, where), options.encoding, where)
    if not text.strip():
        raise DataError(f"{where}: the file is empty; a table needs a header and rows")
    dialect = find_dialect(text, path.name, options, usual)
    if dialect.long:
        raise DataError(
            f"{where}: damaged, or not a table with the separator {separator_name(dialect.sep)}:"
            f" {dialect.long} row(s) have more fields than the {len(dialect.header)} columns of the header, first row"
            f" {dialect.first_long} (counted from 0); mend these rows (a field that holds the separator needs quotes;"
            " no lines may stand above the header), or give --sep"
        )
    names = unique_names(dialect.header)

    def parse(types: Any, columns: Sequence[str] | None = None) -> pd.DataFrame:
        found: pd.DataFrame = pandas.read_csv(
            io.StringIO(text),
            sep=r"\s+" if dialect.sep == " " else dialect.sep,
            header=0,
            names=names,
            usecols=columns,
            index_col=False,
            decimal=dialect.decimal,
            keep_default_na=False,
            na_values=["", *options.na],
            skipinitialspace=dialect.sep != "\t",
            low_memory=False,
            dtype=types,
        )
        return found

    as_texts = {name: str for name in (*texts, *options.categorical) if name in names}
    frame = _parsed(lambda: parse(as_texts or None), where)
    for name, written in kept_texts(frame, parse, text, dialect, options):
        frame[name] = written
    return Table(
        frame,
        decimal=dialect.decimal,
        sep=dialect.sep,
        unnamed=frozenset(n for n, given in zip(names, dialect.header, strict=True) if not given),
        twice=repeated(dialect.header),
        remarks=tuple(_text_remarks(dialect, encoding, options, names)),
    )


def _text_remarks(
    dialect: Any, encoding: str, options: TableOptions, names: Sequence[str]
) -> list[str]:
    """Returns what was found out about a text file and is not what most files are."""
    said = []
    if dialect.sep != "," and options.sep is None:
        said.append(f"columns are separated by {separator_name(dialect.sep)} (--sep)")
    if dialect.decimal != "." and options.decimal is None:
        said.append("numbers have a decimal comma (--decimal)")
    if not encoding.startswith("utf-8") and options.encoding is None:
        said.append(f"the text is read as {encoding} (--encoding)")
    if dialect.short:
        said.append(
            f"{dialect.short} row(s) have fewer fields than the header; the missing ones are read as empty"
        )
    said += renamed(dialect.header, names)
    return said


def _content(path: Path, where: str) -> bytes:
    """Returns the bytes of a file, unzipped."""
    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as stream:
                return stream.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise DataError(f"{where}: damaged, or cannot be read ({first_line(error)})") from error


def _read_parquet(path: Path, where: str) -> pd.DataFrame:
    """Returns a Parquet file; an index with a name is a column like others, one without is no column."""
    pandas = require("pandas", "reading a table")
    parquet = require("pyarrow.parquet", "reading Parquet")
    arrow = require("pyarrow", "reading Parquet")
    # with gaps they would be floats, of which long codes are alike
    whole = {arrow.int64(): pandas.Int64Dtype(), arrow.uint64(): pandas.UInt64Dtype()}

    def parse() -> pd.DataFrame:
        with parquet.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # texts that are no UTF-8 would fail later, anywhere
        given = table.column_names
        kept = [i for i, name in enumerate(given) if not re.fullmatch(r"__index_level_\d+__", name)]
        coded = _categorical(table.schema.pandas_metadata)
        frame: pd.DataFrame = (
            table.rename_columns([str(i) for i in range(len(given))])
            .select([str(i) for i in kept])
            .to_pandas(ignore_metadata=True, types_mapper=whole.get)
        )
        as_texts = {name: "category" for name in frame.columns if given[int(name)] in coded}
        return frame.astype(as_texts).set_axis([given[i] for i in kept], axis=1)

    frame: pd.DataFrame = _parsed(parse, where)
    return frame


def _categorical(metadata: Any) -> set[str]:
    """Returns the columns that pandas wrote as categories; those of numbers come back as plain numbers otherwise."""
    columns = metadata.get("columns", ()) if isinstance(metadata, dict) else ()
    return {
        str(column.get("field_name"))
        for column in columns
        if isinstance(column, dict) and column.get("pandas_type") == "categorical"
    }


def _read_excel(path: Path, options: TableOptions, where: str) -> Table:
    """Returns a sheet of a workbook, from the first row on that is not empty; the others are named in the remarks."""
    pandas = require("pandas", "reading a table")
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise missing_extra("reading Excel files (openpyxl)", "excel") from error
    with _parsed(lambda: pandas.ExcelFile(path, engine="openpyxl"), where) as book:
        sheets = [str(name) for name in book.sheet_names]
        if options.sheet is not None and options.sheet not in sheets:
            raise unknown(f"sheet of {path.name}", options.sheet, sheets)
        sheet = options.sheet or sheets[0]

        def parse(skip: int) -> pd.DataFrame:
            frame: pd.DataFrame = pandas.read_excel(
                book,
                sheet_name=sheet,
                skiprows=skip,
                keep_default_na=False,
                na_values=["", *options.na],
                dtype=object,  # a cell of text stays one: 01 is a code, 1.234 may be a thousand
            )
            return frame

        frame = _parsed(lambda: parse(0), where)
        filled = frame.notna().any(axis=1)
        if all(str(name).startswith("Unnamed: ") for name in frame.columns) and filled.any():
            frame = _parsed(lambda: parse(1 + int(filled.to_numpy().argmax())), where)
    others = [name for name in sheets if name != sheet]
    table = named(frame)
    if not others or options.sheet is not None:
        return table
    return replace(
        table,
        remarks=(
            f"sheet {sheet!r} is read (--sheet); others are {', '.join(map(repr, others))}",
            *table.remarks,
        ),
    )


def _parsed(parse: Any, where: str) -> Any:
    """Returns what a parser makes of a file; whatever it raises is the file's fault."""
    pandas = require("pandas", "reading a table")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on styles of workbooks and the like
            return parse()
    except pandas.errors.EmptyDataError:
        raise DataError(f"{where}: the file is empty; a table needs a header and rows") from None
    except Exception as error:  # parsers raise anything on damaged files: KeyError, TypeError, …
        raise DataError(f"{where}: damaged, or not a table ({first_line(error)})") from error


def as_frame(rows: Any) -> pd.DataFrame:
    """Returns rows as a frame of pandas: a frame of another library, or a mapping from names to columns.

    An index with a name stands as a column behind the others, too, as in Parquet.

    Raises:
        DataError: they are no table.
    """
    pandas = require("pandas", "reading a table")
    try:
        frame: pd.DataFrame = (
            rows.to_pandas() if hasattr(rows, "to_pandas") else pandas.DataFrame(rows)
        )
    except (ValueError, TypeError) as error:
        raise DataError(f"these rows are no table ({error}); give a pandas DataFrame") from None
    levels = {at: name for at, name in enumerate(frame.index.names) if name is not None}
    frame = frame.copy(deep=False) if levels else frame
    for at, name in levels.items():
        level = frame.index.get_level_values(at).array
        frame.insert(frame.shape[1], name, level, allow_duplicates=True)
    return frame


def named(frame: pd.DataFrame) -> Table:
    """Returns a table whose columns have different texts as names, and whose rows are numbered."""
    given = [
        "" if str(name).startswith("Unnamed: ") else heading(str(name)) for name in frame.columns
    ]
    names = unique_names(given)
    unnamed = frozenset(n for n, old in zip(names, given, strict=True) if not old)
    return Table(
        frame.set_axis(names, axis=1).reset_index(drop=True),
        unnamed=unnamed,
        twice=repeated(given),
        remarks=tuple(renamed(given, names)),
    )
