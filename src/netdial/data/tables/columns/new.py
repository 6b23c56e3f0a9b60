"""Cells of new rows, read as those of training were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from netdial.core.errors import DataError
from netdial.data._optional import require
from netdial.data.tables.columns.stored import infinity_note, numbers_among, stored_as, texts_of
from netdial.data.tables.options import TableOptions
from netdial.data.tables.words.dates import Order, dates, find_order, without, year_last
from netdial.data.tables.words.numbers import THOUSAND, number_or_nan, numbers
from netdial.data.tables.words.texts import MISSING_WORDS, Array

if TYPE_CHECKING:
    import pandas as pd


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
    stored = stored_as(column)
    if stored is not None and stored.kind == "number":
        for word in na:
            stored.values[stored.values == number_or_nan(word)] = np.nan
        values = stored.values
    else:
        by_comma = decimal == "," and thousands is None
        styles = [(decimal, thousands), *([(",", ".")] if by_comma else []), (".", None)]
        texts = texts_of(column, na)
        stands = numbers_among(column, texts)
        texts[~np.isnan(stands)] = None
        if by_comma and (word := next(filter(THOUSAND.fullmatch, filter(None, texts)), "")):
            ways = f"{word.replace('.', '')} or {word.replace('.', ',')}; write which it is"
            raise DataError(f"column {name!r}: {word!r} may be {ways}")
        values = _each(
            texts, name, partial(numbers, styles=styles, hundredths=hundredths), "a number"
        )
        values = np.where(np.isnan(stands), values, stands)
    if said := infinity_note(values, name):
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
    stored = stored_as(column)
    if stored is not None and stored.kind == "date":
        return without(stored.values, na, order)
    texts = texts_of(column, na)
    known = [] if order else [word for word in set(texts) if word is not None and year_last([word])]
    order = order or find_order(known, TableOptions())
    if order is None and known:
        raise DataError(
            f"column {name!r}: in {min(known)!r} the day or the month may come first, and training had no such dates; "
            "write dates as 2024-12-31"
        )
    days = _each(texts, name, lambda words: dates(words, order or "month-first"), "a date")
    return without(days, na, order)


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
