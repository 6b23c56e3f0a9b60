"""Rows in memory as a table: frames of pandas and other libraries, and what a parser makes of a file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from netdial.core.errors import DataError, first_line
from netdial.data._optional import require
from netdial.data.tables.files.headings import (
    heading,
    is_no_heading,
    renamed,
    repeated,
    unique_names,
)

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


def parsed(parse: Any, where: str) -> Any:
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
    given = ["" if is_no_heading(str(name)) else heading(str(name)) for name in frame.columns]
    names = unique_names(given)
    unnamed = frozenset(n for n, old in zip(names, given, strict=True) if not old)
    return Table(
        frame.set_axis(names, axis=1).reset_index(drop=True),
        unnamed=unnamed,
        twice=repeated(given),
        remarks=tuple(renamed(given, names)),
    )
