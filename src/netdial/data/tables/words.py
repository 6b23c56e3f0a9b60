"""Numbers and dates that are written as texts: decimal commas, marks between thousands, orders of day and month.

Where a text can be read in two ways and nothing in the file decides, that is a problem to be told, never a guess.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netdial.data._optional import require
from netdial.data.tables.options import TableFault, TableOptions

if TYPE_CHECKING:
    import pandas as pd

    from netdial.data.tables.read import Table

Array = np.ndarray[Any, Any]
Order = Literal["day-first", "month-first"]

_FEW_WORDS, _MANY_NUMBERS = 3, 10
"""Different words, and different numbers, in a column that looks like one of numbers but for those words."""

_MEASURED = re.compile(r"[+-]?\d[\d.,']*\s*([^\W\d_][^\d\s]*)")
"""A number with a unit behind it."""

_UNITS = "%$€£¥"
"""Marks that a number may have at one end."""

_MINUS = "-−–"
"""Signs that stand for a minus: that of keyboards, that of print, and a dash."""

_SIGNED = re.compile(rf"[{_MINUS}]\s*(\D?\s*\d.*)|\((\D?\s*[\d.,].*)\)")
"""A negative number, with a sign or in parentheses as in accounts, perhaps with a mark such as $ before it."""

CODE = re.compile(r"0\d+")
"""A whole number as codes are written, with a 0 in front."""

LONG = re.compile(r"0\d+|[1-9]\d{15,}")
"""A whole number as codes are written, or too long for a float, which is what numbers with gaps are read as."""

_WHOLE_AS_FLOAT = re.compile(r"(-?[1-9]\d*|0)\.0")
"""A whole number as it is written among numbers with fractions."""

THOUSAND = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
"""A number such as 1.234: a whole one with a point behind the thousands, or a fraction."""

_NOT_GIVEN = "na n/a #n/a <na> nan nat null none nil ? - -- . – — −"
MISSING_WORDS = frozenset(("", *_NOT_GIVEN.split()))
"""Words, in small letters, that stand for a missing value among numbers and dates."""

_SECONDS_A_DAY = 86_400.0
_TAIL = r"([T ]+\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?"
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TAIL}")
_YEAR_LAST = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TAIL}")


def days_since_1970(column: pd.Series[Any]) -> Array:
    """Returns days since 1970-01-01 (UTC) of a column of dates, NaN where missing."""
    pandas = require("pandas", "reading a table")
    stamps = pandas.DatetimeIndex(column)
    stamps = stamps.tz_convert(None) if stamps.tz is not None else stamps
    moments = stamps.to_numpy().astype("datetime64[us]")
    days = moments.astype(np.int64) / (_SECONDS_A_DAY * 1e6)
    return np.where(np.isnat(moments), np.nan, days)


def _patterns(decimal: str, thousands: str | None) -> re.Pattern[str]:
    """Returns what numbers of a style look like."""
    mark, group = re.escape(decimal), re.escape(thousands or "")
    if thousands == " ":
        group = "[ \u00a0\u202f]"
    if thousands is None:
        return re.compile(
            rf"[+-]?(\d+({mark}\d*)?|{mark}\d+)(e[+-]?\d+)?|[+-]?(\d+{mark}\d*|{mark}\d+)d[+-]\d+|[+-]?inf(inity)?",
            re.I,
        )
    return re.compile(rf"[+-]?([1-9]\d{{0,2}}({group}\d{{3}})+|\d+)({mark}\d*)?")


_STYLES: tuple[tuple[str, str | None], ...] = (
    (".", None),
    (",", None),
    (".", ","),
    (",", "."),
    (".", " "),
    (",", " "),
    (".", "'"),
)


def text_of(value: object) -> str:
    """Returns a cell as text: whole numbers without a decimal point, so that 1.0 and 1 are the same."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def seconds(value: Any) -> float:
    """Returns the seconds of a time of day since midnight, or of a time span; NaN if it is missing."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if not isinstance(value, datetime.time):
        return float("nan")
    return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond * 1e-6


def plainly(word: str) -> str:
    """Returns a text as a program writes what it means, if that is a whole number or a truth value; else as it is.

    >>> [plainly(word) for word in ("1.0", "TRUE", "1.10", "01.0", "west")]
    ['1', 'True', '1.10', '01.0', 'west']
    """
    if _WHOLE_AS_FLOAT.fullmatch(word):
        return word[:-2]
    return word.capitalize() if word.lower() in ("true", "false") else word


def other_spellings(words: Iterable[str | None], known: Collection[str]) -> dict[str, str]:
    """Returns which known text each of some that are none means: 1 for 1.0, True for TRUE, where only one is so spelled.

    >>> other_spellings(["1", "TRUE", "west", None, "2.0"], ["1.0", "True", "2", "2.0"])
    {'1': '1.0', 'TRUE': 'True'}
    """
    spelled = [(plainly(word), word) for word in known]
    count = Counter(plain for plain, _ in spelled)
    once = {plain: word for plain, word in spelled if count[plain] == 1}
    new = [word for word in dict.fromkeys(words) if word is not None and word not in known]
    return {word: once[plainly(word)] for word in new if plainly(word) in once}


def find_style(
    words: Sequence[str], table: Table, options: TableOptions
) -> tuple[str, str | None] | None:
    """Returns decimal mark and mark of thousands of the first style that fits all words, None if none does.

    Styles with the decimal mark of the file come first. A mark such as % or $ is no matter if all words have it.
    """
    if len({_unit(word) for word in words}) > 1 or all(word.startswith("(") for word in words):
        return None
    words = [bare(word) for word in words]
    for decimal, thousands in sorted(_STYLES, key=lambda s: s[0] != table.decimal):
        if options.decimal is not None and decimal != options.decimal:
            continue
        if options.thousands is not None and thousands != options.thousands:
            continue
        pattern = _patterns(decimal, thousands)
        if all(pattern.fullmatch(word) for word in words):
            return decimal, thousands
    return None


def number(word: str, decimal: str, thousands: str | None, *, hundredths: bool = True) -> float:
    """Returns the number that a word of a style is, without a mark such as $; with a % it is so many hundredths.

    >>> number("12.5%", ".", None), number("$1,200", ".", ","), number("12.5%", ".", None, hundredths=False)
    (0.125, 1200.0, 12.5)
    """
    plain = bare(word)
    if thousands is not None:
        plain = re.sub("[ \u00a0\u202f]" if thousands == " " else re.escape(thousands), "", plain)
    plain = plain.replace(decimal, ".").lower().replace("d", "e")  # Fortran writes 1.5D+03
    if hundredths and unit_mark(word) == "%":
        return float(Decimal(plain).scaleb(-2))  # 63.7 / 100 is not the float next to .637
    return float(plain)


def bare(word: str) -> str:
    """Returns a word without a mark such as % or $ at one of its ends, and with a plain minus where it is a negative number.

    >>> bare("12.5 %"), bare("-$1,200"), bare("high")
    ('12.5', '-1,200', 'high')
    >>> bare("−3"), bare("(3.5)"), bare("(high)")
    ('-3', '-3.5', '(high)')
    """
    sign, rest = _sign(word)
    return sign + (rest.strip(_UNITS + " ") if _unit(word) else rest)


def unit_mark(word: str) -> str:
    """Returns the mark such as % or $ that a number has; nothing for another word.

    >>> unit_mark("-$5"), unit_mark("5 %"), unit_mark("(5)")
    ('$', '%', '')
    """
    return _unit(word).strip()


def mark_of(words: Iterable[object]) -> str:
    """Returns the first mark such as % or $ that a number has among some cells; nothing if none has one."""
    texts = (word for word in words if isinstance(word, str))
    return next((mark for text in texts if (mark := unit_mark(text.strip()))), "")


def mark_note(words: Sequence[str]) -> str:
    """Returns how the mark that numbers have is read; nothing if they have none."""
    mark = mark_of(words)
    read = "read as hundredths: 12.5% is 0.125" if mark == "%" else "which is left out"
    return f"with {mark}, {read}" if mark else ""


def other_minus(words: Sequence[str]) -> str:
    """Returns the first word that is a negative number and does not begin with the minus of keyboards; nothing if none is."""
    return next((word for word in words if word[0] != "-" and _sign(word)[0]), "")


def _sign(word: str) -> tuple[str, str]:
    """Returns a minus and what it stands before, if a word is a negative number; else nothing and the word."""
    match = _SIGNED.fullmatch(word)
    return ("-", match[1] or match[2]) if match else ("", word)


def _unit(word: str) -> str:
    """Returns the mark at one end of a word, with a blank before what starts with it; empty if there is none."""
    word = _sign(word)[1]
    if word[-1:] in _UNITS and len(word) > 1 and word[0] not in _UNITS:
        return word[-1]
    return f"{word[0]} " if word[:1] in _UNITS and len(word) > 1 and word[-1] not in _UNITS else ""


def almost_numbers(words: Sequence[str], table: Table, options: TableOptions) -> list[str]:
    """Returns the few words that keep a column from being one of numbers; none if there are many, or few numbers."""
    others = [word for word in words if find_style([word], table, options) is None]
    rest = sorted(set(words).difference(others))
    few = 0 < len(others) <= max(_FEW_WORDS, len(words) // 20) and len(rest) >= _MANY_NUMBERS
    return others if few and find_style(rest, table, options) is not None else []


def almost_dates(words: Sequence[str], order: Order) -> list[str]:
    """Returns the few words that keep a column from being one of dates; none if there are many, or few dates."""
    others = [w for w in words if not (_YEAR_FIRST.fullmatch(w) or _YEAR_LAST.fullmatch(w))]
    rest = sorted(set(words).difference(others))
    few = max(_FEW_WORDS, len(words) // 20)
    if len(others) > few or len(rest) < _MANY_NUMBERS:
        return []
    if dates(rest, order) is None:  # some of them are no days, such as a 31st of February
        others += [word for word in rest if dates([word], order) is None]
    return others if len(others) <= few else []


def unit_of(words: Sequence[str]) -> str:
    """Returns the one unit that stands behind every number of a column of texts; nothing if they are something else.

    >>> unit_of(["2.3 kg", "11 kg", "0,5 kg"]), unit_of(["1a", "1b", "2a"]), unit_of(["3 kg"])
    ('kg', '', '')
    """
    found = [_MEASURED.fullmatch(word) for word in words]
    units = {match[1] for match in found if match}
    return units.pop() if len(units) == 1 and all(found) and len(words) >= _FEW_WORDS else ""


def unit_note(unit: str) -> str:
    """Returns what to know of texts that are numbers with a unit behind them."""
    return f"all are numbers with {unit!r} behind them, read as texts; write the numbers alone to have them read as numbers"


def number_or_nan(word: str) -> float:
    """Returns the number that a word is, NaN if it is none."""
    try:
        return float(word)
    except ValueError:
        return float("nan")


def open_style(
    words: Sequence[str],
    name: str,
    style: tuple[str, str | None],
    table: Table,
    options: TableOptions,
) -> list[TableFault]:
    """Returns a problem if 1,234 may be a thousand or one and a bit, and nothing in the file decides."""
    if options.decimal or options.thousands or table.sep == ",":
        return []
    groups = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
    marked = [bare(word) for word in words if "," in word]
    if style != (".", ",") or not marked or not all(groups.fullmatch(word) for word in marked):
        return []
    word = marked[0]
    text = (
        f"column {name!r}: {word!r} may be {word.replace(',', '')} (--thousands ,) or {word.replace(',', '.')}"
        " (--decimal ,)"
    )
    return [TableFault(text, {"thousands": ","})]


def year_last(words: Sequence[str]) -> bool:
    """Returns whether some words are dates such as 3.4.2020."""
    return any(_YEAR_LAST.fullmatch(word) for word in words)


def find_order(words: Sequence[str], options: TableOptions) -> Order | None:
    """Returns the order of day and month in dates with the year last, None if the dates leave it open."""
    found = [match for match in map(_YEAR_LAST.fullmatch, words) if match]
    if options.date_order is not None or not found:
        return options.date_order
    if any(int(match[1]) > 12 for match in found) or all(match[2] == "." for match in found):
        return "day-first"
    return "month-first" if any(int(match[3]) > 12 for match in found) else None


def open_order(words: Sequence[str], name: str) -> TableFault:
    """Returns the problem that day and month cannot be told apart."""
    return TableFault(
        f"column {name!r}: in {words[0]!r} the day or the month may come first (--date-order day-first or month-first)",
        {"date_order": "day-first"},
    )


def dates(words: Sequence[str], order: Order) -> Array | None:
    """Returns days since 1970-01-01 if all words are dates, else None."""
    pandas = require("pandas", "reading a table")
    plain = []
    for word in words:
        if match := _YEAR_FIRST.fullmatch(word):
            year, month, day = match[1], match[3], match[4]
        elif match := _YEAR_LAST.fullmatch(word):
            year, first, second = match[4], match[1], match[3]
            day, month = (first, second) if order == "day-first" else (second, first)
        else:
            return None
        time, zone = (match[5] or " 00:00").strip(" T"), (match[6] or "").replace("UTC", "Z")
        hour, _, rest = time.partition(":")
        plain.append(f"{year}-{int(month):02d}-{int(day):02d}T{int(hour):02d}:{rest}{zone}")
    stamps = pandas.to_datetime(plain, format="ISO8601", utc=True, errors="coerce")
    return None if stamps.isna().any() else days_since_1970(stamps)


def numbers(
    words: Sequence[str], styles: Sequence[tuple[str, str | None]], *, hundredths: bool = True
) -> Array | None:
    """Returns the numbers that words are by the first style that fits each; None if one is no number or truth value."""
    truth = {"true": 1.0, "false": 0.0}
    patterns = [(_patterns(*style), style) for style in styles]
    found = []
    for word in words:
        plain = bare(word)
        style = next((style for pattern, style in patterns if pattern.fullmatch(plain)), None)
        value = number(word, *style, hundredths=hundredths) if style else truth.get(word.lower())
        if value is None:
            return None
        found.append(value)
    return np.asarray(found)
