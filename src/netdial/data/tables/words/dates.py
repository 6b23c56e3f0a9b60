"""Dates that are written as texts, as days since 1970-01-01; and times of day as seconds."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netdial.data._optional import require
from netdial.data.tables.options import TableOptions
from netdial.data.tables.words.texts import Array

if TYPE_CHECKING:
    import pandas as pd

Order = Literal["day-first", "month-first"]

_SECONDS_A_DAY = 86_400.0

_TAIL = r"([T ]+\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?"

YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TAIL}")

YEAR_LAST = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TAIL}")


def days_since_1970(column: pd.Series[Any]) -> Array:
    """Returns days since 1970-01-01 (UTC) of a column of dates, NaN where missing."""
    pandas = require("pandas", "reading a table")
    stamps = pandas.DatetimeIndex(column)
    stamps = stamps.tz_convert(None) if stamps.tz is not None else stamps
    moments = stamps.to_numpy().astype("datetime64[us]")
    days = moments.astype(np.int64) / (_SECONDS_A_DAY * 1e6)
    return np.where(np.isnat(moments), np.nan, days)


def seconds(value: Any) -> float:
    """Returns the seconds of a time of day since midnight, or of a time span; NaN if it is missing."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if not isinstance(value, datetime.time):
        return float("nan")
    return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond * 1e-6


def year_last(words: Sequence[str]) -> bool:
    """Returns whether some words are dates such as 3.4.2020."""
    return any(YEAR_LAST.fullmatch(word) for word in words)


def find_order(words: Sequence[str], options: TableOptions) -> Order | None:
    """Returns the order of day and month in dates with the year last, None if the dates leave it open."""
    found = [match for match in map(YEAR_LAST.fullmatch, words) if match]
    if options.date_order is not None or not found:
        return options.date_order
    if any(int(match[1]) > 12 for match in found) or all(match[2] == "." for match in found):
        return "day-first"
    return "month-first" if any(int(match[3]) > 12 for match in found) else None


def dates(words: Sequence[str], order: Order) -> Array | None:
    """Returns days since 1970-01-01 if all words are dates, else None."""
    pandas = require("pandas", "reading a table")
    plain = []
    for word in words:
        if match := YEAR_FIRST.fullmatch(word):
            year, month, day = match[1], match[3], match[4]
        elif match := YEAR_LAST.fullmatch(word):
            year, first, second = match[4], match[1], match[3]
            day, month = (first, second) if order == "day-first" else (second, first)
        else:
            return None
        time, zone = (match[5] or " 00:00").strip(" T"), (match[6] or "").replace("UTC", "Z")
        hour, _, rest = time.partition(":")
        plain.append(f"{year}-{int(month):02d}-{int(day):02d}T{int(hour):02d}:{rest}{zone}")
    stamps = pandas.to_datetime(plain, format="ISO8601", utc=True, errors="coerce")
    return None if stamps.isna().any() else days_since_1970(stamps)
