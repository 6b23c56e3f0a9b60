"""What is told, or asked, of words that can be read in two ways, or are nearly all numbers or dates.

Where a text can be read in two ways and nothing in the file decides, that is a problem to be told, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from netdial.data.tables.options import TableFault, TableOptions
from netdial.data.tables.words.dates import MONTH, Order, dates, is_dated
from netdial.data.tables.words.numbers import THOUSAND, bare, find_style

if TYPE_CHECKING:
    from netdial.data.tables.files.frame import Table


_FEW_WORDS, _MANY_NUMBERS = 3, 10
"""Different words, and different numbers, in a column that looks like one of numbers but for those words."""

_MEASURED = re.compile(r"[+-]?\d[\d.,']*\s*((?:[^\W\d_]|°)[^\d\s]*)")
"""A number with a unit behind it."""


def almost_numbers(words: Sequence[str], table: Table, options: TableOptions) -> list[str]:
    """Returns the few words that keep a column from being one of numbers; none if there are many, or few numbers."""
    others = _few(words, lambda word: find_style([word], table, options) is not None)
    rest = sorted(set(words).difference(others))
    few = len(others) > 0 and len(rest) >= _MANY_NUMBERS
    return others if few and find_style(rest, table, options) is not None else []


def almost_dates(words: Sequence[str], order: Order) -> list[str]:
    """Returns the few words that keep a column from being one of dates; none if there are many, or few dates."""
    others = _few(words, is_dated)
    rest = sorted(set(words).difference(others))
    if len(rest) < _MANY_NUMBERS or not all(map(is_dated, rest)):
        return []
    if dates(rest, order) is None:  # some of them are no days, such as a 31st of February
        others += [word for word in rest if dates([word], order) is None]
    return others if len(others) <= _limit(words) else []


def _limit(words: Sequence[str]) -> int:
    return max(_FEW_WORDS, len(words) // 20)


def _few(words: Sequence[str], good: Callable[[str], object]) -> list[str]:
    """Returns the words that are not good if they are few, else none of them."""
    others = list(islice((word for word in words if not good(word)), _limit(words) + 1))
    return others if len(others) <= _limit(words) else []


def unit_of(words: Sequence[str]) -> str:
    """Returns the one unit that stands behind every number of a column of texts; nothing if they are something else.

    >>> unit_of(["2.3 kg", "11 kg", "0,5 kg"]), unit_of(["7 °C"] * 3), unit_of(["1a", "1b", "2a"]), unit_of(["3 kg"])
    ('kg', '°C', '', '')
    """
    found = [_MEASURED.fullmatch(word) for word in words]
    units = {match[1] for match in found if match}
    return units.pop() if len(units) == 1 and all(found) and len(words) >= _FEW_WORDS else ""


def unit_note(unit: str) -> str:
    """Returns what to know of texts that are numbers with a unit behind them."""
    return f"all are numbers with {unit!r} behind them, read as texts; write the numbers alone to have them read as numbers"


def mixed_styles(words: Sequence[str], table: Table, options: TableOptions) -> str:
    """Returns what to know of texts that are numbers one by one, and not together: some with a %, some with a decimal comma."""
    if any(find_style([word], table, options) is None for word in words):
        return ""
    other = (w for w in words if find_style([words[0], w], table, options) is None)
    return (
        f"numbers written in different ways, such as {words[0]!r} and {next(other, words[-1])!r}, read as texts; "
        "write them alike to have them read as numbers"
    )


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


def open_order(words: Sequence[str], name: str) -> TableFault:
    """Returns the problem that day and month cannot be told apart."""
    return TableFault(
        f"column {name!r}: in {words[0]!r} the day or the month may come first (--date-order day-first or month-first)",
        {"date_order": "day-first"},
    )


_DAY = r"(0?[1-9]|[12]\d|3[01])"

_TIME = r"([T ,]+\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]\.?m\.?)?)?"

_OTHER_DATE = re.compile(
    rf"({_DAY}[-/. ]*{MONTH}[-/., ]*\d{{2}}|{MONTH}[-/. ]*{_DAY}[-/., ]+\d{{2}}|{MONTH}[-/., ]*(\d{{2}}|\d{{4}})"
    rf"|\d{{4}}-(0[1-9]|1[012])|{_DAY}(?P<mark>[-/.]){_DAY}(?P=mark)\d{{2}}){_TIME}",
    re.I,
)
"""A date in a form that is not read, such as 13-Apr-20, 13.04.20 and April 2020."""

_MOMENT = re.compile(r"(-?\d+ days?,? )?\+?\d{1,3}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]\.?m\.?)?", re.I)
"""A time of day, or a span of time."""


def in_thousands(words: Iterable[object]) -> str:
    """Returns the first word such as 1.234, if all numbers from a thousand on may be so written, and only they; else nothing.

    >>> in_thousands(["1.289", "764", "1.476", "3.096"]), in_thousands(["1.289", "764.000", "1.476", "3.096"])
    ('1.289', '')
    """
    found = list(dict.fromkeys(word for word in words if isinstance(word, str) and word))
    pointed = [word for word in found if THOUSAND.fullmatch(word)]
    small = [word for word in found if re.fullmatch(r"[+-]?\d{1,3}", word)]
    whole = len(pointed) > 2 and len(small) > 0 and len(pointed) + len(small) == len(found)
    return pointed[0] if whole else ""


def open_points(
    words: Sequence[str], name: str, table: Table, options: TableOptions
) -> list[TableFault]:
    """Returns a problem if numbers such as 1.234 beside 764 may be thousands, and nothing in the file decides."""
    if options.decimal or options.thousands or table.sep in (None, ",") or table.decimal != ".":
        return []
    word = in_thousands(map(bare, words))
    text = f"column {name!r}: {word!r} may be {word.replace('.', '')} (--thousands .) or {word} (--decimal .)"
    return [TableFault(text, {"thousands": "."})] if word else []


def moment_note(words: Sequence[str]) -> str:
    """Returns what to know of texts that all are dates in a form that is not read, or times; nothing if they are not.

    >>> moment_note(["13-Apr-20", "2-Mar-2021"]), moment_note(["may", "june"])
    ("'13-Apr-20' looks like a date in a form that is not read; write it as 2024-12-31", '')
    """
    if len(words) > 1 and all(_OTHER_DATE.fullmatch(word) or is_dated(word) for word in words):
        unread = next(filter(_OTHER_DATE.fullmatch, words), "")
        note = f"{unread!r} looks like a date in a form that is not read; write it as 2024-12-31"
        return note if unread else ""
    if len(words) > 1 and all(map(_MOMENT.fullmatch, words)):
        return f"{words[0]!r} looks like a time, which is read as a text; write times as numbers, such as hours"
    return ""
