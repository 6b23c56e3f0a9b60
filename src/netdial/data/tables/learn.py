"""Which columns of a table are inputs, and what is learned about each from the training part.

Left out are columns that say nothing (empty, constant) and columns that name a row in place of describing it: saved row
numbers, counters, ids, texts that are different in almost every row; and copies of the target, which would give it away.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from netdial.core.errors import DataError
from netdial.data.scale import moments
from netdial.data.tables.columns.category import Category
from netdial.data.tables.columns.date import DATE_PARTS, Date, date_parts
from netdial.data.tables.columns.headings import is_id_name
from netdial.data.tables.columns.model import LeftOut
from netdial.data.tables.columns.number import Number
from netdial.data.tables.columns.stored import MAX_TEXTS, MOST_TEXTS, Cells, is_whole
from netdial.data.tables.options import TableOptions, as_list
from netdial.data.tables.surprises import surprises
from netdial.data.tables.target import Goal
from netdial.data.tables.words.texts import Array


@dataclass(frozen=True)
class Learned:
    """The columns of a table as inputs.

    Attributes:
        inputs: what was learned of each column that is an input.
        left_out: the other columns, and why.
        remarks: what may surprise, a sentence each.
    """

    inputs: tuple[Number | Category | Date, ...]
    left_out: tuple[LeftOut, ...]
    remarks: tuple[str, ...]


def learn_columns(
    cells: Mapping[str, Cells],
    goal: Goal,
    train: Array,
    rows: Array,
    *,
    unnamed: frozenset[str],
    options: TableOptions,
    roles: Mapping[str, str],
) -> Learned:
    """Returns which columns are inputs and how each is read.

    Args:
        cells: Columns by name, N rows each.
        goal: The target.
        train: Row numbers of the training part.
        rows: Row numbers that are used at all, those with a target.
        unnamed: Columns without a heading.
        options: Columns to keep, and how dates are read.
        roles: Columns that are no inputs for another reason, and that reason.
    """
    why: dict[str, str] = {}
    only_counts: list[str] = []
    for name, column in cells.items():
        if name in roles:
            why[name] = roles[name]
        elif reason := _says_nothing(column, train):
            why[name] = "; ".join(dict.fromkeys(filter(None, [reason, column.remark])))
        elif name in options.keep:
            continue
        elif reason := (
            _copies(column, goal, rows)
            or _stands_twice(name, cells, rows)
            or _names_rows(name, column, rows, train, unnamed)
        ):
            about = f"; {column.remark}" if column.kind == "category" and column.remark else ""
            why[name] = f"{reason} (--keep {shlex.quote(as_list([name]))} to use it){about}"
        elif _counts(column, rows):
            why[name] = f"counts the rows (--keep {shlex.quote(as_list([name]))} to use it)"
            only_counts.append(name)
    if len(why) == len(cells):  # a plain counter is better than nothing to predict from
        for name in only_counts:
            del why[name]
    used = [name for name in cells if name not in why]
    inputs = [_learn(name, cells[name], train, options) for name in used]
    remarks = [f"{name}: {cells[name].remark}" for name in used if cells[name].remark]
    remarks += surprises({name: cells[name] for name in used}, inputs, goal, train, rows)
    return Learned(
        tuple(inputs),
        tuple(LeftOut(column=name, why=reason) for name, reason in why.items()),
        tuple(remarks),
    )


def _says_nothing(column: Cells, train: Array) -> str:
    """Returns why a column holds no information in the training part, or nothing."""
    if column.kind == "nothing":
        return column.remark
    missing = column.missing
    if missing.all():
        return "is empty"
    if missing[train].all():
        return "is empty in the training part"
    known = column.values[train][~missing[train]]
    if not missing[train].any() and bool((known == known[0]).all()):
        return f"is constant ({known[0] if column.kind == 'category' else format(known[0], 'g')})"
    return ""


def _copies(column: Cells, goal: Goal, rows: Array) -> str:
    """Returns why a column is a copy of the target, or nothing."""
    for name, target in zip(goal.names, goal.cells, strict=True):
        if _equal(column, target, rows):
            return f"is a copy of the target {name!r}"
    return ""


def _stands_twice(name: str, cells: Mapping[str, Cells], rows: Array) -> str:
    """Returns why a column stands there a second time, under the same heading and with the same cells, or nothing."""
    first, _, number = name.rpartition(".")
    if number.isdecimal() and first in cells and _equal(cells[name], cells[first], rows):
        return f"is a copy of {first!r}"
    return ""


def _equal(column: Cells, other: Cells, rows: Array) -> bool:
    """Returns whether two columns have the same cells."""
    if column.kind != other.kind:
        return False
    mine, theirs = column.values[rows], other.values[rows]
    if column.kind == "category":
        return np.array_equal(mine, theirs)
    return np.array_equal(mine, theirs, equal_nan=True)


def _names_rows(
    name: str, column: Cells, rows: Array, train: Array, unnamed: frozenset[str]
) -> str:
    """Returns why a column tells rows apart and does not describe them, or nothing."""
    if column.kind == "date" or (column.kind == "number" and not is_whole(column.values[rows])):
        return ""
    if column.distinct and name in unnamed:
        return "has no heading and a different value in each row: saved row numbers"
    if column.distinct and is_id_name(name):
        return "has a different value in each row: an id"
    if column.kind != "category":
        return ""
    seen = column.values[train][~column.missing[train]]
    different = len(set(seen.tolist()))
    if different > max(MAX_TEXTS, len(seen) // 2):
        return f"has {different} different texts in {len(train)} training rows"
    if different > MOST_TEXTS:
        return f"has {different} different texts, each of which would be an input"
    return ""


def _counts(column: Cells, rows: Array) -> bool:
    """Returns whether a column of whole numbers counts the rows of the file, from 0 or 1."""
    if column.kind != "number" or len(rows) < 3:
        return False
    return any(np.array_equal(column.values[rows], rows + start) for start in (0, 1))


def _learn(
    name: str, column: Cells, train: Array, options: TableOptions
) -> Number | Category | Date:
    """Returns what the training part says of a column."""
    values, missing = column.values[train], bool(column.missing[train].any())
    if column.kind == "category":
        texts = tuple(sorted({str(value) for value in values if value is not None}))
        return Category(column=name, values=texts, missing=missing)
    if column.kind == "date":
        parts = _parts(column.values, options)
        raw = date_parts(values[~np.isnan(values)], parts)
        mean, std = _moments(raw)
        return Date.model_validate(
            {
                "column": name,
                "parts": parts,
                "mean": mean.tolist(),
                "std": std.tolist(),
                "missing": missing,
                "order": column.order,
            }
        )
    fill = float(np.nanmedian(values))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = _moments(np.where(np.isnan(values), fill, values)[:, None])
    if not np.isfinite([mean[0], std[0]]).all():
        raise DataError(
            f"column {name!r}: values up to {np.nanmax(np.abs(values)):.4g} are too large for a mean and a standard deviation; "
            "rescale them, or leave the column out (--drop)"
        )
    return Number.model_validate(
        {
            "column": name,
            "fill": fill,
            "mean": float(mean[0]),
            "std": float(std[0]),
            "missing": missing,
            "decimal": column.decimal,
            "thousands": column.thousands,
            "mark": column.mark,
        }
    )


def _moments(values: Array) -> tuple[Array, Array]:
    """Returns mean and population standard deviation of columns [N, F]; a constant one keeps 1."""
    mean, std = moments(torch.from_numpy(values.astype(np.float64)))
    return mean.numpy(), std.numpy()


def _parts(days: Array, options: TableOptions) -> Sequence[str]:
    """Returns the parts that a column of dates becomes; hours only where some time is not midnight."""
    if options.parse_dates != "parts":
        return ("days",)
    known = days[~np.isnan(days)]
    with_time = bool((known != np.floor(known)).any())
    return DATE_PARTS if with_time else DATE_PARTS[:-1]
