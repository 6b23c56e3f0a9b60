"""What may surprise in columns that are inputs: codes among numbers, targets given away, values far from all others."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from netdial.data.tables.columns.category import Category
from netdial.data.tables.columns.date import Date
from netdial.data.tables.columns.headings import is_code_name, is_id_name
from netdial.data.tables.columns.number import Number
from netdial.data.tables.columns.stored import MAX_TEXTS, Cells, is_whole
from netdial.data.tables.options import as_list
from netdial.data.tables.target import Goal
from netdial.data.tables.words.texts import Array, look_alike, text_of

_SQUEEZED = 0.05  # standard deviation without one value over that with it, below which it is told


def surprises(
    cells: Mapping[str, Cells],
    inputs: Sequence[Number | Category | Date],
    goal: Goal,
    train: Array,
    rows: Array,
) -> list[str]:
    """Returns what is to be told of columns that are inputs, and of targets, a sentence each.

    Args:
        cells: The columns.
        inputs: What was learned of each.
        goal: The target.
        train: Row numbers of the training part.
        rows: Row numbers that are used at all.
    """
    told = []
    for name, column in cells.items():
        told += [
            _gives_away(name, column, goal, rows),
            _far_value(name, column, train),
            _named_as_codes(name, column, train),
            _as_merged(name, column),
        ]
    told += [_spelled(one.column, one.values) for one in inputs if isinstance(one, Category)]
    if goal.labels is None:
        named = zip(goal.names, goal.cells, strict=True)
        told += [_far_value(name, column, train) for name, column in named]
    return [text for text in told if text]


def _named_as_codes(name: str, column: Cells, train: Array) -> str:
    """Returns a remark on whole numbers under a name that codes have, such as store_id and zip, which are no quantities."""
    named = is_id_name(name) or is_code_name(name)
    if column.kind != "number" or not named or "--categorical" in column.remark:
        return ""
    known = column.values[train][~column.missing[train]]
    different = len(np.unique(known))
    if not is_whole(known) or not 2 < different <= max(MAX_TEXTS, len(known) // 2):
        return ""
    how = f"--categorical {shlex.quote(as_list([name]))} reads them as texts"
    return (
        f"{name}: {different} different whole numbers, read as quantities; if they are codes, {how}"
    )


def _spelled(name: str, texts: Sequence[str]) -> str:
    """Returns a remark on texts that differ in small and capital letters alone; nothing if there are none."""
    alike = look_alike(texts)
    return f"{name}: {alike} are different texts; write them alike if they are one" if alike else ""


def _as_merged(name: str, column: Cells) -> str:
    """Returns a remark if values each stand once, the first in the first row, before empty cells; nothing if they do not."""
    missing = column.missing
    if missing[0] or 2 * missing.sum() < len(missing):
        return ""
    at = np.flatnonzero(~missing)
    known = column.values[at]
    apart = np.diff(at, append=len(missing)) > 1
    once = 1 < len(known) == len(set(known.tolist())) and 2 * apart.sum() > len(known)
    if not once or (column.kind == "number" and not is_whole(known)):
        return ""
    return (
        f"{name}: each of its values stands once, before empty cells, as merged cells are written; "
        "if they are, write it in all of their rows"
    )


def _gives_away(name: str, column: Cells, goal: Goal, rows: Array) -> str:
    """Returns a remark on a column that determines the target by itself, though it is no copy."""
    advice = f"leave it out (--drop {shlex.quote(as_list([name]))}) if it is not known when a prediction is made"
    values, gone = column.values[rows], column.missing[rows]
    if goal.labels is not None:
        if gone.any() or len(set(values[:1000].tolist())) > len(goal.classes):
            return ""
        pairs = set(zip(values.tolist(), goal.labels.numpy()[rows].tolist(), strict=True))
        one_to_one = len(pairs) == len({v for v, _ in pairs}) == len({y for _, y in pairs})
        if one_to_one and len(rows) >= 3 * len(pairs):
            return f"{name}: names the class of each row; {advice}"
        return ""
    if column.kind != "number" or gone.any() or len(rows) < 10:
        return ""
    for target, found in zip(goal.names, goal.cells, strict=True):
        y = found.values[rows]
        with np.errstate(all="ignore"):  # numbers too large to be squared are refused elsewhere
            same = values.std() > 0 and y.std() > 0 and abs(np.corrcoef(values, y)[0, 1]) > 1 - 1e-9
        if same:
            return f"{name}: is the target {target!r} in another unit; {advice}"
    return ""


def _far_value(name: str, column: Cells, train: Array) -> str:
    """Returns a remark on a number or date that is so far from all others that they are alike beside it; nothing if none is."""
    if column.kind not in ("number", "date"):
        return ""
    known = column.values[train][~column.missing[train]]
    with np.errstate(all="ignore"):  # numbers too large to be squared are refused elsewhere
        spread = _SQUEEZED * known.std() if len(known) else 0.0
    for end in (known.min(initial=np.inf), known.max(initial=-np.inf)):
        rest = known[known != end]
        with np.errstate(all="ignore"):
            squeezed = len(rest) > 1 and rest.std() < spread
        if squeezed and rest.min() < rest.max():
            far = _day(end) if column.kind == "date" else text_of(end)
            low, high = (
                _day(v) if column.kind == "date" else f"{v:g}" for v in (rest.min(), rest.max())
            )
            return (
                f"{name}: {far} in {len(known) - len(rest)} training row(s) is far from all others, which lie between "
                f"{low} and {high} and are nearly alike beside it; if it means a missing value, --na={far} reads it so"
            )
    return ""


def _day(days: float) -> str:
    """Returns the date of days since 1970-01-01."""
    return str(np.datetime64(int(np.floor(days)), "D"))
