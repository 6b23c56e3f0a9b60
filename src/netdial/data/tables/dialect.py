"""How a text table is written: its encoding, the character between columns, the decimal mark, rows of odd length.

Everything is decided from the content, and an option overrules it. A byte order mark decides the encoding; without one the
text is UTF-8 if it can be, else Windows-1252 or Latin-1. The separator is the one that divides the header and the rows
into the same number of columns.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from netdial.core.errors import DataError
from netdial.data.tables.options import TableFault, TableOptions
from netdial.data.tables.words import CODE, LONG, THOUSAND, bare

if TYPE_CHECKING:
    import pandas as pd

    from netdial.data.tables.read import Table

SEPARATORS = (",", ";", "\t", "|", " ")
SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", " ": "space"}
SAMPLE_ROWS = 200
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMA_NUMBER = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+")
_FRACTION = re.compile(r"[+-]?\d*[.,]\d+([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_POINT_NUMBER = re.compile(r"[+-]?\d+\.\d+")
_MONTH = (
    r"(jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)(r?uary?|ch|il|[iey]|ust|(o|em)ber)?\.?"
)
_DAY = r"(0?[1-9]|[12]\d|3[01])"
_TIME = r"([T ,]+\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]\.?m\.?)?)?"
_OTHER_DATE = re.compile(
    rf"({_DAY}[-/. ]+{_MONTH}[-/., ]+\d{{2,4}}|{_MONTH}[-/. ]*({_DAY}[-/., ]+)?\d{{2,4}}"
    rf"|\d{{4}}-(0[1-9]|1[012])|{_DAY}(?P<mark>[-/.]){_DAY}(?P=mark)(\d{{2}}|\d{{4}})){_TIME}",
    re.I,
)
_MOMENT = re.compile(r"(-?\d+ days?,? )?\+?\d{1,3}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]\.?m\.?)?", re.I)
"""Dates in forms that are not read, such as 13-Apr-2020 and 13.04.20; and times of day, or spans of time."""


@dataclass(frozen=True)
class Dialect:
    """How one text table is written.

    Attributes:
        sep: character between columns.
        decimal: decimal mark.
        header: names of the columns in order, without surrounding blanks; "" where there is none.
        short: rows with too few fields; the missing ones are empty.
        long: rows with too many fields, which cannot be read.
        first_long: number of the first of them, from 0 after the header.
    """

    sep: str
    decimal: str
    header: tuple[str, ...]
    short: int
    long: int
    first_long: int


def decode(content: bytes, encoding: str | None, where: str) -> tuple[str, str]:
    """Returns the text of a table and the encoding that it was read with.

    Raises:
        DataError: the content is no text, or not in the encoding given.
    """
    if encoding is None:
        encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is not None:
        try:
            return content.decode(encoding).lstrip("\ufeff"), encoding
        except (UnicodeError, ValueError) as error:
            raise DataError(
                f"{where}: is not in the encoding {encoding} ({error}); choose another one with"
                " --encoding, such as utf-8, utf-16, cp1252 or latin-1"
            ) from None
    guesses = ["utf-8", "cp1252", "latin-1"]
    start = content[:4096]
    if b"\0" in start:  # UTF-16 of Latin letters: nearly every second byte is 0
        even, odd = start[::2].count(0), start[1::2].count(0)
        if max(even, odd) < 0.1 * len(start) or min(even, odd) > 0.01 * len(start):
            raise DataError(f"{where}: damaged, or not a table: it holds binary data, no text")
        guesses = ["utf-16-le" if odd > even else "utf-16-be"]
    for guess in guesses:
        try:
            return content.decode(guess), guess
        except UnicodeError:
            continue
    raise DataError(
        f"{where}: damaged, or not a table: no text in UTF-8, UTF-16 or Latin-1; give --encoding"
    )


def find_dialect(text: str, name: str, options: TableOptions, usual: str = ".") -> Dialect:
    """Returns how a text table is written.

    Args:
        text: The decoded file.
        name: Name of the file; ``.tsv`` and ``.tab`` mean tabs.
        options: What the caller knows already.
        usual: Decimal mark where nothing in the file decides.
    """
    tabs = "\t" if re.search(r"\.(tsv|tab)(\.gz)?$", name.lower()) else None
    sample = list(islice(_lines(text), SAMPLE_ROWS))
    sep = options.sep or tabs or _separator(sample)
    head, *some = list(_rows(sample, sep)) or [[]]
    header = [heading(field) for field in head]
    counts, first = _lengths(text, sep)
    if counts and set(counts) == {len(header) + 1}:
        if _names_rows(some) and not all(
            _COMMA_NUMBER.fullmatch(line.strip()) for line in sample[1:]
        ):  # as R writes tables: row names without a heading
            header = ["", *header]
        elif _ends_empty(text, sep, len(header)):  # every row ends in a separator
            header = [*header, ""]
    long = [size for size in counts if size > len(header)]
    return Dialect(
        sep=sep,
        decimal=options.decimal
        or {".": ",", ",": "."}.get(options.thousands or "")
        or _decimal(some, sep, usual),
        header=tuple(header),
        short=sum(count for size, count in counts.items() if size < len(header)),
        long=sum(counts[size] for size in long),
        first_long=min((first[size] for size in long), default=-1),
    )


def heading(field: str) -> str:
    """Returns a heading in one line, without surrounding blanks."""
    return re.sub(r"\s*[\r\n]+\s*", " ", field).strip()


def unique_names(given: Sequence[str]) -> list[str]:
    """Returns names that differ: repeated ones get a number, missing ones their position.

    >>> unique_names(["x", "y", "y", ""])
    ['x', 'y', 'y.1', 'Unnamed: 3']
    """
    taken = set(given)
    names: dict[str, None] = {}
    for position, name in enumerate(given):
        found, count = name or f"Unnamed: {position}", 0
        while found in names or (found in taken and found != name):
            count += 1
            found = f"{name}.{count}"
        names[found] = None
    return list(names)


def no_headings(names: Sequence[str]) -> str:
    """Returns a remark if headings look like a row of the table: numbers with fractions, or whole ones in no order.

    >>> no_headings(["a", "0.25"])
    "the first row is read as headings, but '0.25' looks like a number: if they are none, write headings above it"
    >>> no_headings(["0", "1", "2"]), no_headings(["town", "2019", "2020"])
    ('', '')
    """
    found = [name for name in names if _FRACTION.fullmatch(name)]
    whole = [int(name) for name in names if _WHOLE.fullmatch(name)]
    if not found and len(whole) == len(names) > 1 and whole != sorted(set(whole)):
        found = [names[0]]
    if not found:
        return ""
    what = f"the first row is read as headings, but {found[0]!r} looks like a number"
    return f"{what}: if they are none, write headings above it"


def repeated(given: Sequence[str]) -> frozenset[str]:
    """Returns the headings that occur more than once."""
    return frozenset(name for name in given if name and given.count(name) > 1)


def renamed(given: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns remarks if headings occur twice, or look like a row of numbers."""
    twice = [
        f"{old!r} is called {new!r}"
        for old, new in zip(given, names, strict=True)
        if old and old != new
    ]
    said = [f"headings occur twice: {', '.join(twice)}"] if twice else []
    return [*said, *([note] if (note := no_headings(given)) else [])]


def separator_name(sep: str) -> str:
    """Returns the word for a separator."""
    return SEPARATOR_NAMES.get(sep, repr(sep))


def _lines(text: str) -> Iterator[str]:
    """Yields the lines that are not blank."""
    return (line for line in io.StringIO(text, newline="") if line.strip("\r\n"))


def _rows(lines: Iterable[str], sep: str) -> Iterator[list[str]]:
    """Yields rows of fields; stops where the text is no table, which the reader then explains."""
    if sep == " ":
        lines = (line.rstrip() for line in lines)
    with contextlib.suppress(csv.Error):
        yield from csv.reader(lines, delimiter=sep, skipinitialspace=sep != "\t")


def _lengths(text: str, sep: str) -> tuple[Counter[int], dict[int, int]]:
    """Returns how many rows there are of each number of fields, and the first such row, without the header."""
    counts, first = Counter[int](), dict[int, int]()
    for number, row in enumerate(islice(_rows(_lines(text), sep), 1, None)):
        counts[len(row)] += 1
        first.setdefault(len(row), number)
    return counts, first


def _separator(sample: Sequence[str]) -> str:
    """Returns the separator by which most rows have as many fields as the header, and that more than one."""
    best, found = (0.0, 0), ","
    for sep in SEPARATORS:
        head, *rows = list(_rows(sample, sep)) or [[]]
        if len(head) < 2:
            continue
        fitting = sum(len(head) <= len(row) <= len(head) + 1 for row in rows)
        score = (round(fitting / max(len(rows), 1), 1), len(head) if sep != " " else 0)
        if score > best:
            best, found = score, sep
    return found


def _decimal(rows: Sequence[Sequence[str]], sep: str, usual: str) -> str:
    """Returns the mark that more fields can only have as a decimal mark; the usual one if none has one."""
    if sep == "," and not any("," in field for row in rows for field in row):
        return "."
    fields = [field.strip() for row in rows for field in row]
    fields = [f if f[:1].isdigit() and f[-1:].isdigit() else bare(f) for f in fields]
    commas = [f for f in fields if _COMMA_NUMBER.fullmatch(f) and not _COMMA_GROUPS.fullmatch(f)]
    points = [f for f in fields if _POINT_NUMBER.fullmatch(f) and not THOUSAND.fullmatch(f)]
    if sep == ",":  # where points need no quotes
        return "," if commas and not points else "."
    if len(commas) == len(points):
        return usual if not commas else "."
    return "," if len(commas) > len(points) else "."


def kept_texts(
    frame: pd.DataFrame,
    parse: Callable[[Any, Sequence[str]], pd.DataFrame],
    text: str,
    dialect: Dialect,
    options: TableOptions,
) -> Iterator[tuple[str, pd.Series[Any]]]:
    """Yields columns that were read as numbers, as they are written, where numbers do not say what they hold.

    Such are codes with a 0 in front, whole numbers that are too long for a float, and 1.234 where it may be a thousand.

    Args:
        frame: The table.
        parse: Reads given columns of it again, as a type.
        text: The file.
        dialect: How it is written.
        options: What the caller knows already.
    """
    numeric = {str(name): column for name, column in frame.select_dtypes("number").items()}
    asked = (
        dialect.sep != "," and dialect.decimal == "." and not (options.decimal or options.thousands)
    )
    pointed = [name for name in numeric if asked and _may_be_thousands(numeric[name])]
    codes = rf'(?:^|["\s{re.escape(dialect.sep)}])(0\d|\d{{16}})'
    doubted = [*numeric] if re.search(codes, text, re.MULTILINE) else pointed
    again = parse(str, doubted) if doubted else frame
    for name in doubted:
        written = again[name]
        code = LONG if frame[name].dtype.kind == "f" else CODE
        if written.str.fullmatch(code).eq(True).any() or (
            name in pointed and in_thousands(written)
        ):
            yield name, written


def _may_be_thousands(column: pd.Series[Any]) -> bool:
    """Returns whether numbers are below 1000, and fractions, of three places, above 1: those may be thousands."""
    known = abs((column.dropna() if column.dtype.kind == "f" else column[:0]).to_numpy())
    if len(known) == 0 or known.max() >= 1000:
        return False
    thousandths = (known * 1000).round(6)
    return not (thousandths % 1).any() and bool((known[thousandths % 1000 != 0] > 1).all())


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

    >>> moment_note(["13-Apr-2020", "2-Mar-2021"]), moment_note(["may", "june"])
    ("'13-Apr-2020' looks like a date in a form that is not read; write it as 2024-12-31", '')
    """
    if len(words) > 1 and all(map(_OTHER_DATE.fullmatch, words)):
        return f"{words[0]!r} looks like a date in a form that is not read; write it as 2024-12-31"
    if len(words) > 1 and all(map(_MOMENT.fullmatch, words)):
        return f"{words[0]!r} looks like a time, which is read as a text; write times as numbers, such as hours"
    return ""


def _names_rows(rows: Sequence[Sequence[str]]) -> bool:
    """Returns whether the first field is different in each row, and the last is not always empty."""
    first = [row[0] for row in rows]
    return all(first) and len(set(first)) == len(first) and any(row[-1].strip() for row in rows)


def _ends_empty(text: str, sep: str, width: int) -> bool:
    """Returns whether the fields beyond the header are all empty: rows that end in a separator."""
    rows = _rows(_lines(text), sep)
    return all(not field.strip() for row in rows for field in row[width:])
