"""The cells of one column as numbers, texts or dates, whatever they were stored as.

Numbers may have a decimal comma or marks between thousands. Among numbers and dates, the usual words for a missing value
(NA, NaN, null, ?) mean one; among texts they are texts like any other, and only an empty cell is missing.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from netdial.data._optional import require
from netdial.data.tables.columns.headings import is_date_name
from netdial.data.tables.columns.stored import (
    Cells,
    infinity_note,
    numbers_among,
    stored_as,
    texts_of,
)
from netdial.data.tables.options import TableFault, TableOptions, as_list
from netdial.data.tables.words.dates import dates, find_order, without, year_last
from netdial.data.tables.words.doubts import (
    almost_dates,
    almost_numbers,
    mixed_styles,
    moment_note,
    open_order,
    open_points,
    open_style,
    unit_note,
    unit_of,
)
from netdial.data.tables.words.numbers import (
    CODE,
    LONG,
    find_style,
    mark_note,
    mark_of,
    number,
    number_or_nan,
    numbers,
    other_minus,
)
from netdial.data.tables.words.texts import MISSING_WORDS, Array

if TYPE_CHECKING:
    import pandas as pd

    from netdial.data.tables.files.frame import Table

_EXACT = 2**53
"""Whole numbers above it are not all different as floats."""

_LONG = (
    "{} has more digits than a number keeps; if such are codes, --categorical reads them as texts"
)


def read_cells(
    column: pd.Series[Any], name: str, table: Table, options: TableOptions
) -> tuple[Cells, list[TableFault]]:
    """Returns a column of a table as what it looks like, and what is wrong with it."""
    cells, problems = _read(column, name, table, options)
    if cells.kind == "number" and options.parse_dates != "off" and is_date_name(name):
        cells = _written_in_one(cells)
    if cells.kind == "date":
        cells = replace(cells, values=without(cells.values, options.na, cells.order))
    distinct = cells.kind != "nothing" and bool(column.is_unique) and not bool(column.isna().any())
    return replace(cells, distinct=distinct), problems


def _read(
    column: pd.Series[Any], name: str, table: Table, options: TableOptions
) -> tuple[Cells, list[TableFault]]:
    pandas = require("pandas", "reading a table")
    if isinstance(column.dtype, pandas.CategoricalDtype) or name in options.categorical:
        return Cells("category", texts_of(column, options.na)), []
    stored = stored_as(column)
    if stored is None:
        texts = texts_of(column, options.na)
        stands = (
            numbers_among(column, texts) if column.dtype == object else np.full(len(texts), np.nan)
        )
        if not np.isnan(
            stands
        ).all():  # numbers as they are say nothing of how the others are written
            alone = texts.copy()
            alone[~np.isnan(stands)] = None
            cells, problems = _from_texts(alone, name, table, options)
            if cells.kind == "number":
                values = np.where(np.isnan(stands), cells.values, stands)
                return replace(cells, values=values), problems or _infinite(values, name)
        return _from_texts(texts, name, table, options)
    if stored.kind == "date" and options.parse_dates == "off":
        return Cells("category", texts_of(column, options.na)), []
    for word in options.na if stored.kind == "number" else ():
        number = number_or_nan(word)
        stored.values[stored.values == number] = np.nan
    remark = stored.remark
    if column.dtype.kind in "iu" and (long := np.abs(stored.values) >= _EXACT).any():
        remark = _LONG.format(column.iloc[int(long.argmax())])
    stored = replace(stored, decimal=table.decimal, remark=remark)
    return stored, _infinite(stored.values, name) if stored.kind == "number" else []


def _written_in_one(cells: Cells) -> Cells:
    """Returns numbers such as 20200413 as dates if all of them are dates of 1900 to 2099, else as they are."""
    gone = np.isnan(cells.values)
    known, place = np.unique(cells.values[~gone], return_inverse=True)
    if not len(known) or known[0] < 1900_01_01 or known[-1] > 2099_12_31 or (known % 1).any():
        return cells
    days = dates([f"{value:.0f}" for value in known], "month-first")
    if days is None:
        return cells
    values = np.full(len(gone), np.nan)
    values[~gone] = days[place]
    how = f"{int(known[0])} and the like are read as dates; --parse-dates off reads them as numbers"
    return Cells("date", values, "; ".join(filter(None, [how, cells.remark])))


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
            remark, others = _but_for(known, table, options)
            return Cells("category", texts, remark, others=others), []
        values[~gone] = days
        cells = Cells("date", values[codes], order=order)
        problems = [] if order or not year_last(known) else [open_order(known, name)]
    return _with_words(cells, words, gone, codes), problems


def _but_for(
    words: Sequence[str], table: Table, options: TableOptions
) -> tuple[str, tuple[str, ...]]:
    """Returns a remark if texts are numbers or dates that are not read, or but for a few; and these few."""
    if unit := unit_of(words):
        return unit_note(unit), ()
    if note := mixed_styles(words, table, options):
        return note, ()
    if options.parse_dates != "off" and (note := moment_note(words)):
        return note, ()
    others, what, column = almost_numbers(words, table, options), "number", "numbers"
    if not others and options.parse_dates != "off":
        others = almost_dates(words, find_order(words, options) or "month-first")
        what, column = "date", "dates"
    if not others:
        return "", ()
    some = ", ".join(map(repr, others[:5])) + (", …" if len(others) > 5 else "")
    text = (
        f"read as texts: of {len(words)} different values only {some} {'is' if len(others) == 1 else 'are'} no {what}; "
        f"--na {shlex.quote(as_list(others))} reads it as missing and the column as {column}"
    )
    return text, tuple(others)


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
        if long := next((w for w in words if LONG.fullmatch(w) and int(w) >= _EXACT), None):
            remarks.append(_LONG.format(long))
        if word := other_minus([w for w, missing in zip(words, gone, strict=False) if not missing]):
            remarks.append(f"{word!r} is read as a negative number")
    if read:
        count = int((gone[codes] & (codes >= 0)).sum())
        remarks.append(f"{', '.join(read)} in {count} row(s) read as missing")
    return replace(cells, remark="; ".join(remarks))


def _infinite(values: Array, name: str) -> list[TableFault]:
    said = infinity_note(values, name)
    if not said:
        return []
    words = {"inf" if value > 0 else "-inf" for value in values[np.isinf(values)]}
    cure = "if it means a missing value, name it in --na, else leave the column out (--drop)"
    return [TableFault(f"{said}; {cure}", {"na": tuple(sorted(words))})]
