"""The cells of one column as they are stored: numbers, dates, texts, or nothing that can be used."""

from __future__ import annotations

import datetime
import decimal as decimals
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netdial.core.errors import DataError
from netdial.data._optional import require
from netdial.data.tables.words.dates import Order, days_since_1970, seconds
from netdial.data.tables.words.texts import Array, text_of

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = (bool, int, float, decimals.Decimal, np.number, np.bool_)

_NESTED = (list, tuple, dict, set, bytes, np.ndarray)

MAX_TEXTS = 50
"""Different texts that a column may always have; above, at most half of the rows."""

MOST_TEXTS = 1000
"""Different texts that a column may have at most, as each becomes an input."""


@dataclass(frozen=True)
class Cells:
    """One column, read.

    Attributes:
        kind: what it holds; ``nothing`` if it cannot be used.
        values: float64 numbers, or days since 1970-01-01 for dates, NaN where missing; or texts, None where missing.
        remark: how it was read, where that may surprise; or why it cannot be used.
        decimal: decimal mark of numbers that were texts.
        thousands: mark between their thousands.
        mark: what stood at one end of each number, such as $; with % they are hundredths.
        order: order of day and month in dates that were texts.
        distinct: whether no two cells are equal and none is missing.
        others: texts without which all would be numbers or dates, where these are few.
    """

    kind: Literal["number", "category", "date", "nothing"]
    values: Array
    remark: str = ""
    decimal: str = "."
    thousands: str | None = None
    mark: str = ""
    order: Order | None = None
    distinct: bool = False
    others: tuple[str, ...] = ()

    @property
    def missing(self) -> Array:
        """Which cells are missing, bool [N]."""
        if self.values.dtype == object:
            return np.asarray([value is None for value in self.values], dtype=bool)
        return np.isnan(self.values)


def stored_as(column: pd.Series[Any]) -> Cells | None:
    """Returns a column that is stored as numbers, dates or something unusable; None for texts."""
    pandas = require("pandas", "reading a table")
    types = pandas.api.types
    if types.is_bool_dtype(column) or (types.is_numeric_dtype(column) and column.dtype.kind != "c"):
        numbers = column.to_numpy(dtype=float, na_value=np.nan).copy()
        return Cells("number", numbers)
    if types.is_datetime64_any_dtype(column):
        return Cells("date", days_since_1970(column))
    if types.is_timedelta64_dtype(column):
        return Cells("number", column.dt.total_seconds().to_numpy(dtype=float).copy())
    known = column.dropna()
    if column.dtype != object or not len(known):
        return None
    if any(isinstance(value, _NESTED) for value in known):
        return Cells("nothing", np.full(len(column), None), "holds nested values or bytes")
    if all(isinstance(value, _NUMBERS) for value in known):
        floats = [
            np.nan if gone else as_float(v) for v, gone in zip(column, column.isna(), strict=True)
        ]
        return Cells("number", np.asarray(floats))
    if all(isinstance(value, datetime.date) for value in known):
        return Cells("date", days_since_1970(pandas.to_datetime(column, utc=True, errors="coerce")))
    if all(isinstance(value, datetime.time | datetime.timedelta) for value in known):
        return Cells("number", np.asarray([seconds(v) for v in column]))
    return None


def is_whole(values: Array) -> bool:
    """Returns whether all numbers that are not missing are whole."""
    known = values[~np.isnan(values)]
    return bool(np.array_equal(known, np.round(known)))


def as_float(value: Any) -> float:
    """Returns a number as a float; an integer beyond all floats is infinite, as such a float is."""
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def texts_of(column: pd.Series[Any], na: Sequence[str] = ()) -> Array:
    """Returns a column as texts without surrounding blanks [N], None where a cell is empty or one of ``na``."""
    pandas = require("pandas", "reading a table")
    try:
        codes, unique = pandas.factorize(column)
    except TypeError:
        raise DataError(f"column {column.name!r} holds nested values or bytes") from None
    texts = np.empty(len(unique) + 1, dtype=object)  # the last one, index -1, is for missing cells
    for position, value in enumerate(unique):
        text = text_of(value)
        texts[position] = None if not text or text in na else text
    return np.asarray(texts[codes])


def infinity_note(values: Array, name: str) -> str:
    """Returns where a column holds infinity, in words; nothing if it does not."""
    infinite = np.isinf(values)
    if not infinite.any():
        return ""
    first = int(infinite.argmax())
    return f"column {name!r} holds infinity in {int(infinite.sum())} row(s), first in row {first} (counted from 0)"


def numbers_among(column: pd.Series[Any], texts: Array) -> Array:
    """Returns the numbers [N] that stand among the texts of a column; NaN for texts, and where ``texts`` has nothing."""
    cells = zip(column, texts, strict=True)
    return np.asarray([as_float(v) if t and isinstance(v, _NUMBERS) else np.nan for v, t in cells])
