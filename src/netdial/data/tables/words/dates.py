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

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?,? +)?"
_TIME = (
    r"(?:(?:[T ,]+|:)(?P<hour>\d{1,2})(?P<rest>:\d{2}(?::\d{2}(?:\.\d+)?)?)(?P<half>\s*[ap]\.?m\.?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
)

YEAR_LAST = re.compile(
    rf"(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<second>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}){_TIME}",
    re.I,
)
"""A date such as 3.4.2020, of which another has to say what stands first."""

_PLAIN = tuple(
    re.compile(form + _TIME, re.I)
    for form in (
        r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})",
        rf"{_WEEKDAY}{_DAY}[-/. ]*(?P<name>{MONTH})[-/., ]*(?P<year>\d{{4}})",
        rf"{_WEEKDAY}(?P<name>{MONTH})[-/. ]*{_DAY}[-/., ]+(?P<year>\d{{4}})",
        rf"(?P<year>\d{{4}})[-/. ]*(?P<name>{MONTH})[-/. ]*{_DAY}",
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
    )
)
"""Dates that can be read in one way: 2020-04-13, 13-Apr-2020, April 13, 2020, 2020 Apr 13 and 20200413."""


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


def is_dated(word: str) -> bool:
    """Returns whether a word has a form that dates have, be there such a day or not.

    >>> [is_dated(word) for word in ("2020-04-31", "Apr. 3rd, 2020", "3/4/2020 4:05 PM", "3/4/20")]
    [True, True, True, False]
    """
    return bool(YEAR_LAST.fullmatch(word) or _plain(word))


def _plain(word: str) -> re.Match[str] | None:
    return next((match for form in _PLAIN if (match := form.fullmatch(word))), None)


def year_last(words: Sequence[str]) -> bool:
    """Returns whether some words are dates such as 3.4.2020."""
    return any(YEAR_LAST.fullmatch(word) for word in words)


def find_order(words: Sequence[str], options: TableOptions) -> Order | None:
    """Returns the order of day and month in dates with the year last, None if the dates leave it open."""
    found = [match for match in map(YEAR_LAST.fullmatch, words) if match]
    if options.date_order is not None or not found:
        return options.date_order
    if any(int(match["first"]) > 12 for match in found) or all(m["mark"] == "." for m in found):
        return "day-first"
    return "month-first" if any(int(match["second"]) > 12 for match in found) else None


def dates(words: Sequence[str], order: Order) -> Array | None:
    """Returns days since 1970-01-01 if all words are dates, else None.

    >>> dates(["2 Jan 1970", "Jan 2, 1970, 6:00 PM", "1970-01-02T06:00+06:00"], "day-first").tolist()
    [1.0, 1.75, 1.0]
    """
    pandas = require("pandas", "reading a table")
    plain = []
    for word in words:
        if match := YEAR_LAST.fullmatch(word):
            first, second = match["first"], match["second"]
            day, month = (first, second) if order == "day-first" else (second, first)
        elif match := _plain(word):
            found = match.groupdict()
            name = found.get("name")
            day = found["day"]
            month = found["month"] if name is None else str(_MONTHS.index(name[:3].lower()) + 1)
        else:
            return None
        hour = int(match["hour"] or 0)
        if match["half"]:
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + 12 * ("p" in match["half"].lower())
        zone = re.sub("utc|gmt|z", "Z", match["zone"] or "", flags=re.I)
        day_of = f"{match['year']}-{int(month):02d}-{int(day):02d}"
        plain.append(f"{day_of}T{hour:02d}{match['rest'] or ':00'}{zone}")
    stamps = pandas.to_datetime(plain, format="ISO8601", utc=True, errors="coerce")
    return None if stamps.isna().any() else days_since_1970(stamps)


def without(days: Array, na: Sequence[str], order: Order | None) -> Array:
    """Returns days, NaN where they are one of the dates among some words; one without a time is the whole day.

    >>> without(np.array([1.0, 1.5, 2.0]), ["?", "1970-01-02"], None).tolist()
    [nan, nan, 2.0]
    """
    for word in na:
        if is_dated(word) and (found := dates([word], order or "month-first")) is not None:
            same = days == found[0] if found[0] % 1 else np.floor(days) == found[0]
            days = np.where(same, np.nan, days)
    return days
