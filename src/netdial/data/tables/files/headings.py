"""Headings of columns: in one line, different from each other, and told of where they look like a row of numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_FRACTION = re.compile(r"[+-]?\d*[.,]\d+([eE][+-]?\d+)?")

_WHOLE = re.compile(r"[+-]?\d{1,18}")


def heading(field: str) -> str:
    """Returns a heading in one line, without surrounding blanks."""
    return re.sub(r"\s*[\r\n]+\s*", " ", field).strip()


def is_no_heading(name: str) -> bool:
    """Returns whether there is no heading, or the one that pandas gives to a column without."""
    return not name or name.startswith("Unnamed: ")


def unique_names(given: Sequence[str]) -> list[str]:
    """Returns names that differ: repeated ones get a number, missing ones their position.

    >>> unique_names(["x", "y", "y", ""]), unique_names(["", "Unnamed: 0"])
    (['x', 'y', 'y.1', 'Unnamed: 3'], ['Unnamed: 0.1', 'Unnamed: 0'])
    """
    taken = set(given)
    names: dict[str, None] = {}
    for position, name in enumerate(given):
        usual = found = name or f"Unnamed: {position}"
        count = 0
        while found in names or (found in taken and found != name):
            count += 1
            found = f"{usual}.{count}"
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
    return frozenset(name for name, count in Counter(given).items() if name and count > 1)


def renamed(given: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns remarks if headings occur twice, or look like a row of numbers."""
    twice = [
        f"{old!r} is called {new!r}"
        for old, new in zip(given, names, strict=True)
        if old and old != new
    ]
    said = [f"headings occur twice: {', '.join(twice)}"] if twice else []
    return [*said, *([note] if (note := no_headings(given)) else [])]
