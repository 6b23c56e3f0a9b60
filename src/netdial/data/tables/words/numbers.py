"""Numbers that are written as texts: decimal commas, marks between thousands, signs, and marks such as % and $."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from netdial.data.tables.options import TableOptions
from netdial.data.tables.words.texts import Array

if TYPE_CHECKING:
    from netdial.data.tables.files.frame import Table

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

THOUSAND = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
"""A number such as 1.234: a whole one with a point behind the thousands, or a fraction."""


@functools.cache
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
    plain = (
        restyled(bare(word), decimal, thousands, ".").lower().replace("d", "e")
    )  # Fortran: 1.5D+03
    if hundredths and unit_mark(word) == "%":
        return float(Decimal(plain).scaleb(-2))  # 63.7 / 100 is not the float next to .637
    return float(plain)


def restyled(word: str, decimal: str, thousands: str | None, other: str) -> str:
    """Returns a number of a style with another decimal mark and nothing between its thousands.

    >>> restyled("$1.234,5", ",", ".", ".")
    '$1234.5'
    """
    if thousands is not None:
        word = re.sub("[ \u00a0\u202f]" if thousands == " " else re.escape(thousands), "", word)
    return word.replace(decimal, other)


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


def number_or_nan(word: str) -> float:
    """Returns the number that a word is, NaN if it is none."""
    try:
        return float(word)
    except ValueError:
        return float("nan")


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
