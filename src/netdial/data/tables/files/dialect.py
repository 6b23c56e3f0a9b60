"""How a text table is written: the character between columns, the decimal mark, rows of odd length.

Everything is decided from the content, and an option overrules it. The separator is the one that divides the header and the
rows into the same number of columns.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from netdial.data.tables.files.headings import heading
from netdial.data.tables.options import TableOptions
from netdial.data.tables.words.numbers import THOUSAND, bare

SEPARATORS = (",", ";", "\t", "|", " ")

SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", " ": "space"}

SAMPLE_ROWS = 200

_COMMA_NUMBER = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+")

_COMMA_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")

_POINT_NUMBER = re.compile(r"[+-]?\d+\.\d+")


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


def separator_name(sep: str) -> str:
    """Returns the word for a separator."""
    return SEPARATOR_NAMES.get(sep, repr(sep))


def _lines(text: str) -> Iterator[str]:
    """Yields the lines that are not blank."""
    return (line for line in io.StringIO(text, newline="") if line.strip(" \r\n"))


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
        rows = _rows(sample, sep)
        if len(head := next(rows, [])) < 2:
            continue
        fits = [len(head) <= len(row) <= len(head) + 1 for row in rows]
        score = (round(sum(fits) / max(len(fits), 1), 1), len(head) if sep != " " else 0)
        if score > best:
            best, found = score, sep
    return found


def _decimal(rows: Sequence[Sequence[str]], sep: str, usual: str) -> str:
    """Returns the mark that more fields can only have as a decimal mark; the usual one if none has one."""
    if sep == "," and not any("," in "".join(row) for row in rows):
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


def _names_rows(rows: Sequence[Sequence[str]]) -> bool:
    """Returns whether the first field is different in each row, and the last is not always empty."""
    first = [row[0] for row in rows]
    return all(first) and len(set(first)) == len(first) and any(row[-1].strip() for row in rows)


def _ends_empty(text: str, sep: str, width: int) -> bool:
    """Returns whether the fields beyond the header are all empty: rows that end in a separator."""
    rows = _rows(_lines(text), sep)
    return all(not field.strip() for row in rows for field in row[width:])
