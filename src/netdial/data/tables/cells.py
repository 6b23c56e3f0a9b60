"""The cells of one column as numbers, texts or dates, whatever they were stored as.

Numbers may have a decimal comma or marks between thousands. Among numbers and dates, the usual words for a missing value
(NA, NaN, null, ?) mean one; among texts they are texts like any other, and only an empty cell is missing.
"""

from __future__ import annotations

import datetime
import decimal as decimals
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netdial.core.errors import DataError
from netdial.data._optional import require
from netdial.data.tables.dialect import moment_note, open_points
from netdial.data.tables.options import TableFault, TableOptions, as_list
from netdial.data.tables.words import (
    CODE,
    MISSING_WORDS,
    THOUSAND,
    Array,
    Order,
    almost_dates,
    almost_numbers,
    dates,
    days_since_1970,
    find_order,
    find_style,
    mark_note,
    mark_of,
    number,
    number_or_nan,
    numbers,
    open_order,
    open_style,
    other_minus,
    seconds,
    text_of,
    unit_note,
    unit_of,
    year_last,
)

if TYPE_CHECKING:
    import pandas as pd

    from netdial.data.tables.read import Table

_NUMBERS = (bool, int, float, decimals.Decimal, np.number, np.bool_)
_NESTED = (list, tuple, dict, set, bytes, np.ndarray)


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
    """

    kind: Literal["number", "category", "date", "nothing"]
    values: Array
    remark: str = ""
    decimal: str = "."
    thousands: str | None = None
    mark: str = ""
    order: Order | None = None
    distinct: bool = False

    @property
    def missing(self) -> Array:
        """Which cells are missing, bool [N]."""
        if self.values.dtype == object:
            return np.asarray([value is None for value in self.values], dtype=bool)
        return np.isnan(self.values)


def read_cells(
    column: pd.Series[Any], name: str, table: Table, options: TableOptions
) -> tuple[Cells, list[TableFault]]:
    """Returns a column of a table as what it looks like, and what is wrong with it."""
    cells, problems = _read(column, name, table, options)
    distinct = cells.kind != "nothing" and bool(column.is_unique) and not bool(column.isna().any())
    return replace(cells, distinct=distinct), problems


def _read(
    column: pd.Series[Any], name: str, table: Table, options: TableOptions
) -> tuple[Cells, list[TableFault]]:
    pandas = require("pandas", "reading a table")
    if isinstance(column.dtype, pandas.CategoricalDtype) or name in options.categorical:
        return Cells("category", texts_of(column, options.na)), []
    stored = _stored(column)
    if stored is None:
        texts = texts_of(column, options.na)
        cells, problems = _from_texts(texts, name, table, options)
        if cells.kind == "number" and column.dtype == object:
            stands = _numbers_among(column, texts)
            cells = replace(cells, values=np.where(np.isnan(stands), cells.values, stands))
        return cells, problems
    if stored.kind == "date" and options.parse_dates == "off":
        return Cells("category", texts_of(column, options.na)), []
    for word in options.na if stored.kind == "number" else ():
        number = number_or_nan(word)
        stored.values[stored.values == number] = np.nan
    stored = replace(stored, decimal=table.decimal)
    return stored, _infinite(stored.values, name) if stored.kind == "number" else []


def _stored(column: pd.Series[Any]) -> Cells | None:
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
            np.nan if gone else _float(v) for v, gone in zip(column, column.isna(), strict=True)
        ]
        return Cells("number", np.asarray(floats))
    if all(isinstance(value, datetime.date) for value in known):
        return Cells("date", days_since_1970(pandas.to_datetime(column, utc=True, errors="coerce")))
    if all(isinstance(value, datetime.time | datetime.timedelta) for value in known):
        return Cells("number", np.asarray([seconds(v) for v in column]))
    return None


def _float(value: Any) -> float:
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


def _from_texts(
    texts: Array, name: str, table: Table, options: TableOptions
) -> tuple[Cells, list[TableFault]]:
    """Returns texts as numbers or dates if all of them are, else as categories."""
    pandas = require("pandas", "reading a table")
    codes, unique = pandas.factorize(texts)
    words = [str(word) for word in unique]
    gone = np.asarray([word.lower() in MISSING_WORDS for word in words] + [True], dtype=bool)
    known = [word for word, missing in zip(words, gone, strict=False) if not missing]
    if not known:
        return Cells("category", texts), []
    values = np.full(len(words) + 1, np.nan)
    style = find_style(known, table, options)
    if style is not None:
        values[~gone] = [number(word, *style) for word in known]
        cells = Cells("number", values[codes], "", *style, mark=mark_of(known))
        problems = open_style(known, name, style, table, options)
        if style == (".", None) and not problems:
            problems = open_points(known, name, table, options)
        problems = problems or _infinite(cells.values, name)
    elif (truth := numbers(known, ())) is not None:
        values[~gone] = truth
        cells, problems = Cells("number", values[codes], decimal=table.decimal), []
    else:
        order = find_order(known, options)
        days = dates(known, order or "month-first") if options.parse_dates != "off" else None
        if days is None:
            return Cells("category", texts, _but_for(known, table, options)), []
        values[~gone] = days
        cells = Cells("date", values[codes], order=order)
        problems = [] if order or not year_last(known) else [open_order(known, name)]
    return _with_words(cells, words, gone, codes), problems


def _but_for(words: Sequence[str], table: Table, options: TableOptions) -> str:
    """Returns a remark if texts are numbers with a unit behind them, or all but a few of a column are numbers or dates."""
    if unit := unit_of(words):
        return unit_note(unit)
    if options.parse_dates != "off" and (note := moment_note(words)):
        return note
    others, what, column = almost_numbers(words, table, options), "number", "numbers"
    if not others and options.parse_dates != "off":
        others = almost_dates(words, find_order(words, options) or "month-first")
        what, column = "date", "dates"
    if not others:
        return ""
    some = ", ".join(map(repr, others[:5])) + (", …" if len(others) > 5 else "")
    return (
        f"read as texts: of {len(words)} different values only {some} {'is' if len(others) == 1 else 'are'} no {what}; "
        f"--na {shlex.quote(as_list(others))} reads it as missing and the column as {column}"
    )


def _with_words(cells: Cells, words: Sequence[str], gone: Array, codes: Array) -> Cells:
    """Returns cells with a remark if words were read as missing values."""
    read = [repr(word) for word, missing in zip(words, gone, strict=False) if missing]
    remarks = []
    if cells.thousands is not None:
        remarks.append(f"with {cells.thousands!r} between thousands (--thousands)")
    elif cells.decimal == "," and any("," in word for word in words):
        remarks.append("with a decimal comma")
    if cells.kind == "number":
        remarks += filter(None, [mark_note(words)])
        if code := next((word for word in words if CODE.fullmatch(word)), None):
            remarks.append(
                f"{code!r} begins with 0, as codes do; --categorical reads them as texts"
            )
        if word := other_minus([w for w, missing in zip(words, gone, strict=False) if not missing]):
            remarks.append(f"{word!r} is read as a negative number")
    if read:
        count = int((gone[codes] & (codes >= 0)).sum())
        remarks.append(f"{', '.join(read)} in {count} row(s) read as missing")
    return replace(cells, remark="; ".join(remarks))


def _infinite(values: Array, name: str) -> list[TableFault]:
    said = _infinity(values, name)
    if not said:
        return []
    words = {"inf" if value > 0 else "-inf" for value in values[np.isinf(values)]}
    cure = "if it means a missing value, name it in --na, else leave the column out (--drop)"
    return [TableFault(f"{said}; {cure}", {"na": tuple(sorted(words))})]


def _infinity(values: Array, name: str) -> str:
    """Returns where a column holds infinity, in words; nothing if it does not."""
    infinite = np.isinf(values)
    if not infinite.any():
        return ""
    first = int(infinite.argmax())
    return f"column {name!r} holds infinity in {int(infinite.sum())} row(s), first in row {first} (counted from 0)"


def numbers_of(
    column: pd.Series[Any],
    name: str,
    decimal: str,
    thousands: str | None,
    na: Sequence[str] = (),
    *,
    hundredths: bool = True,
) -> Array:
    """Returns new cells of a column of numbers as float64 [B], NaN where missing; % makes ``hundredths``, or is left out.

    Raises:
        DataError: a cell is no number, or infinite.
    """
    stored = _stored(column)
    if stored is not None and stored.kind == "number":
        for word in na:
            stored.values[stored.values == number_or_nan(word)] = np.nan
        values = stored.values
    else:
        by_comma = decimal == "," and thousands is None
        styles = [(decimal, thousands), *([(",", ".")] if by_comma else []), (".", None)]
        texts = texts_of(column, na)
        stands = _numbers_among(column, texts)
        texts[~np.isnan(stands)] = None
        if by_comma and (word := next(filter(THOUSAND.fullmatch, filter(None, texts)), "")):
            ways = f"{word.replace('.', '')} or {word.replace('.', ',')}; write which it is"
            raise DataError(f"column {name!r}: {word!r} may be {ways}")
        values = _each(
            texts, name, partial(numbers, styles=styles, hundredths=hundredths), "a number"
        )
        values = np.where(np.isnan(stands), values, stands)
    if said := _infinity(values, name):
        raise DataError(
            f"{said}; give a finite number, or leave the cell empty if the value is missing"
        )
    return values


def days_of(
    column: pd.Series[Any], name: str, order: Order | None, na: Sequence[str] = ()
) -> Array:
    """Returns new cells of a column of dates as days since 1970-01-01 [B], NaN where missing.

    Raises:
        DataError: a cell is no date, or neither training nor these cells say whether the day or the month comes first.
    """
    stored = _stored(column)
    if stored is not None and stored.kind == "date":
        return stored.values
    texts = texts_of(column, na)
    known = [] if order else [word for word in set(texts) if word is not None and year_last([word])]
    order = order or find_order(known, TableOptions())
    if order is None and known:
        raise DataError(
            f"column {name!r}: in {min(known)!r} the day or the month may come first, and training had no such dates; "
            "write dates as 2024-12-31"
        )
    return _each(texts, name, lambda words: dates(words, order or "month-first"), "a date")


def _numbers_among(column: pd.Series[Any], texts: Array) -> Array:
    """Returns the numbers [N] that stand among the texts of a column; NaN for texts, and where ``texts`` has nothing."""
    cells = zip(column, texts, strict=True)
    return np.asarray([_float(v) if t and isinstance(v, _NUMBERS) else np.nan for v, t in cells])


def _each(
    texts: Array, name: str, read: Callable[[Sequence[str]], Array | None], what: str
) -> Array:
    """Returns what ``read`` makes of the different texts of a column, NaN for words that mean a missing value."""
    pandas = require("pandas", "reading a table")
    codes, unique = pandas.factorize(texts)
    known = [position for position, word in enumerate(unique) if word.lower() not in MISSING_WORDS]
    values = np.full(len(unique) + 1, np.nan)
    found = read([unique[position] for position in known]) if known else np.empty(0)
    if found is None:
        wrong = next(position for position in known if read([unique[position]]) is None)
        row = int((codes == wrong).argmax())
        raise DataError(
            f"column {name!r}, row {row} (counted from 0): {unique[wrong]!r} is not {what}"
        )
    values[known] = found
    read_values: Array = values[codes]
    return read_values
