"""What a table is to predict: the target columns, classes or numbers, and the rows that have no target.

Texts, truth values and up to 20 different whole numbers (also when written as 0.0 and 1.0) are classes; other numbers are
regression targets, standardised by the training part.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError, nearest
from netdial.data.dataset import Kind
from netdial.data.tables.columns.cells import read_cells
from netdial.data.tables.columns.stored import Cells, texts_of
from netdial.data.tables.files.frame import Table
from netdial.data.tables.files.headings import no_headings
from netdial.data.tables.options import TableFault, TableOptions, as_list, listed
from netdial.data.tables.words.texts import MISSING_WORDS, Array, look_alike

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES = 20  # more different whole numbers than this are taken for a regression target


@dataclass(frozen=True)
class Goal:
    """The target columns of a table, read.

    Attributes:
        names: target columns.
        kind: ``classification`` or ``regression``.
        cells: their cells, one for each column.
        labels: class indices int64 [N], -1 where missing; None for regression.
        classes: names of the classes, sorted as numbers or as texts.
        remark: how the kind was found.
        guessed: whether the kind follows from whole numbers, so that the other one may be meant.
    """

    names: tuple[str, ...]
    kind: Kind
    cells: tuple[Cells, ...]
    labels: Tensor | None
    classes: tuple[str, ...]
    remark: str
    guessed: bool

    @property
    def missing(self) -> Array:
        """Rows without a target, bool [N]."""
        missing: Array = np.any([cells.missing for cells in self.cells], axis=0)
        return missing

    @property
    def numbers(self) -> Array:
        """Regression targets, float64 [N, T]."""
        return np.stack([cells.values for cells in self.cells], axis=1)


def target_names(
    frame: pd.DataFrame, target: str | None, table: Table, where: str, dropped: Sequence[str] = ()
) -> list[str]:
    """Returns the names of the target columns, which are all in the table.

    Raises:
        DataError: none is named, one is not there (the nearest name is offered), or it is the heading of several columns that
            are not all left out (``dropped``).
    """
    columns = list(frame.columns)
    some = ", ".join(columns[:12]) + (f", ... ({len(columns)} in all)" if len(columns) > 12 else "")
    if not target:
        raise DataError(
            f"{where}: which column is to be predicted? Give --target COLUMN, in Python target='COLUMN' (columns: {some})"
        )
    names = [target] if target in columns else listed(target)
    for name in names:
        if name not in columns:
            close = nearest(name, columns)
            hint = f"; did you mean {close!r}?" if close else ""
            if len(columns) == 1 and table.sep is not None:
                hint = (
                    "; there is only one column: if another character separates columns, give --sep"
                )
            if note := no_headings(columns):
                hint += f"; {note}"
            elif 2 * len(table.unnamed) > len(columns):
                hint += f"; {len(table.unnamed)} of {len(columns)} columns have no heading: leave lines above the headings out"
            raise DataError(f"{where}: no column {name!r} for the target{hint} (columns: {some})")
    for name in names if table.twice else ():
        again = [c for c in columns if re.fullmatch(rf"{re.escape(name)}\.\d+", c)]
        other = [c for c in again if c not in dropped and not frame[c].equals(frame[name])]
        if name in table.twice and other:
            raise DataError(
                f"{where}: the heading {name!r} of the target occurs more than once, with other values; rename one, or leave "
                f"the other out (--drop {shlex.quote(as_list(other[:1]))})"
            )
    if len(set(names)) < len(names):
        raise DataError(f"{where}: a target is named twice in {target!r}")
    return names


def read_goal(
    table: Table, names: Sequence[str], kind: Kind | None, options: TableOptions, where: str
) -> tuple[Goal, list[TableFault]]:
    """Returns the target, read as ``kind`` or as what it looks like, and what is wrong with it.

    Raises:
        ConfigError: several targets are to be classes.
        DataError: numbers are needed and there are none.
    """
    problems: list[TableFault] = []
    cells = []
    for name in names:
        found, wrong = read_cells(table.frame[name], name, table, options)
        if found.kind == "date":
            remark = "dates are read as classes; to predict when, give numbers such as days"
            found, wrong = Cells("category", texts_of(table.frame[name], options.na), remark), []
        if found.kind == "nothing":
            raise DataError(f"{where}: the target {name!r} {found.remark}; choose another target")
        if kind == "classification" and found.kind == "category":
            found = replace(found, remark="", others=())
        cells.append(found)
        problems += [TableFault(p.text.replace("column", "the target", 1), p.mend) for p in wrong]
    if kind == "classification" and len(names) > 1:
        raise ConfigError(
            f"{where}: classification has one target column, got {', '.join(names)}; fit one run for each, and leave the "
            "others out (--drop)"
        )
    found_kind, remark, guessed = _infer(cells) if kind is None else (kind, "", False)
    if found_kind == "regression":
        _check_numbers(cells, names, where)
        if kind is None and len(cells) == 1:
            problems += _open_thousands(cells[0], names[0])
        problems += _constant(cells, names)
        return Goal(tuple(names), "regression", tuple(cells), None, (), remark, guessed), problems
    labels, classes = _classes(texts_of(table.frame[names[0]], options.na), cells[0])
    if len(classes) == 1:
        text = f"the target {names[0]!r} has one class only ({classes[0]})"
        problems.append(TableFault(f"{text}; classification needs at least two"))
    remark = "; ".join(each for each in (remark, _odd_classes(classes)) if each)
    goal = Goal(tuple(names), "classification", tuple(cells), labels, classes, remark, guessed)
    return goal, problems


def missing_target(goal: Goal, options: TableOptions) -> list[TableFault]:
    """Returns a problem if rows have no target and are not to be left out."""
    gone = goal.missing
    if options.drop_missing_target or not gone.any():
        return []
    names = ", ".join(repr(name) for name in goal.names)
    text = (
        f"the target {names} is missing in {int(gone.sum())} row(s), first in row {int(gone.argmax())} (counted from 0;"
        " --drop-missing-target leaves these rows out)"
    )
    return [TableFault(text, {"drop_missing_target": True})]


def rare_classes(goal: Goal, shares: Mapping[str, float]) -> list[TableFault]:
    """Returns a problem if classes have fewer rows than there are parts to draw."""
    if goal.labels is None:
        return []
    needed = 1 + sum(share > 0 for share in shares.values())
    counts = torch.bincount(goal.labels[goal.labels >= 0], minlength=len(goal.classes)).tolist()
    rare = [(name, n) for name, n in zip(goal.classes, counts, strict=True) if n < needed]
    if not rare:
        return []
    some = ", ".join(f"class {name!r} with {n} row(s)" for name, n in rare[:3])
    more = f" and {len(rare) - 3} more" if len(rare) > 3 else ""
    text = f"{some}{more} cannot be split into {needed} parts"
    only = goal.cells[0]
    if only.kind == "category" and only.remark:
        text = f"the target {goal.names[0]!r}: {only.remark}; as classes, {text}"
        cure = TableFault(text, {"na": only.others, "drop_missing_target": True})
        return [cure if only.others else TableFault(text)]
    text = f"the target {goal.names[0]!r}: {text}"
    if goal.guessed:
        text += f"; it holds {len(goal.classes)} different whole numbers, taken for classes: say whether they are quantities"
        return [TableFault(f"{text} (--kind regression)", {"kind": "regression"})]
    if len(goal.classes) - len(rare) < 2:
        return [TableFault(f"{text}; give more rows of each class")]
    names = tuple(name for name, _ in rare)
    return [
        TableFault(
            f"{text}; merge rare classes, or leave their rows out",
            {"na": names, "drop_missing_target": True},
        )
    ]


def _infer(cells: Sequence[Cells]) -> tuple[Kind, str, bool]:
    """Returns the kind that target columns look like, why, and whether the other one may be meant."""
    if len(cells) > 1:
        flags = all(
            one.kind == "number" and set(np.unique(one.values)) <= {0.0, 1.0} for one in cells
        )
        ways = "; 0 and 1 are predicted as numbers, not as probabilities: fit one run for each (--drop leaves the others out)"
        return "regression", f"several targets{ways if flags else ''}", False
    only = cells[0]
    if only.kind != "number":
        return "classification", "", False
    known = only.values[~np.isnan(only.values)]
    different = np.unique(known)
    if not np.array_equal(different, np.round(different)) or np.isinf(different).any():
        return "regression", "numbers with fractions", False
    if len(different) <= MAX_CLASSES:
        obvious = set(different) <= {0.0, 1.0}
        why = f"{len(different)} different whole numbers; --kind regression if they are quantities"
        return "classification", "" if obvious else why, not obvious
    why = f"{len(different)} different whole numbers; --kind classification if they name classes"
    return "regression", why, True


def _open_thousands(found: Cells, name: str) -> list[TableFault]:
    """Returns a problem for a target such as 1,234, whose kind is not plain."""
    if found.thousands is None or found.mark:  # $1,200 names no class
        return []
    text = (
        f"the target {name!r} holds texts that look like numbers with {found.thousands!r} between thousands; say"
        " whether they are numbers (--kind regression) or names of classes (--kind classification)"
    )
    return [TableFault(text, {"kind": "regression"})]


def _constant(cells: Sequence[Cells], names: Sequence[str]) -> list[TableFault]:
    """Returns problems for targets that are the same number in every row."""
    problems = []
    for found, name in zip(cells, names, strict=True):
        known = found.values[~np.isnan(found.values)]
        if len(known) and bool((known == known[0]).all()):
            text = f"the target {name!r} is {known[0]:g} in every row, so there is nothing to learn"
            problems.append(TableFault(text))
    return problems


def _check_numbers(cells: Sequence[Cells], names: Sequence[str], where: str) -> None:
    """Refuses texts as regression targets, with an example."""
    wrong = [name for name, found in zip(names, cells, strict=True) if found.kind != "number"]
    if not wrong:
        return
    found = next(c for c in cells if c.kind != "number")
    word = next((str(v) for v in (*found.others, *found.values) if v is not None), "nothing")
    cure = "choose another target or kind='classification' (--kind classification)"
    if found.others:
        cure = (
            f"--na {shlex.quote(as_list(found.others))} --drop-missing-target leaves these rows out"
        )
    elif len(names) > 1:
        cure = (
            "several targets are numbers: fit one run for each, and leave the others out (--drop)"
        )
    raise DataError(
        f"{where}: regression needs numbers in {', '.join(wrong)}, which holds {word!r}; {cure}"
    )


def _classes(texts: Array, cells: Cells) -> tuple[Tensor, tuple[str, ...]]:
    """Returns class indices [N], -1 where missing, and the names of the classes."""
    gone = cells.missing | np.asarray([text is None for text in texts], dtype=bool)
    names = sorted({str(text) for text in texts[~gone]}, key=_order)
    position = {name: index for index, name in enumerate(names)}
    labels = [-1 if missing else position[text] for text, missing in zip(texts, gone, strict=True)]
    return torch.tensor(labels, dtype=torch.int64), tuple(names)


def _odd_classes(classes: Sequence[str]) -> str:
    """Returns what to know of classes that may be one, or none: names that look alike, and words for a missing value."""
    said = []
    if alike := look_alike(classes):
        said.append(f"{alike} are different classes; write them alike if they are one")
    if words := [name for name in classes if name.lower() in MISSING_WORDS]:
        said.append(
            f"{', '.join(map(repr, words))} {'is a class' if len(words) == 1 else 'are classes'}; "
            f"--na {shlex.quote(as_list(words))} --drop-missing-target if it means that the target is missing"
        )
    return "; ".join(said)


def _order(name: str) -> tuple[bool, float, str]:
    """Returns a key that sorts numbers by value, before texts."""
    number = re.fullmatch(r"-?\d+(\.\d+)?", name)
    return number is None, float(name) if number else 0.0, name


def target_json(goal: Goal, extra: dict[str, Any]) -> dict[str, Any]:
    """Returns what a schema holds of the target."""
    base: dict[str, Any] = {"kind": goal.kind, "columns": goal.names, "classes": goal.classes}
    if goal.kind == "regression":
        first, *others = [
            {"decimal": one.decimal, "thousands": one.thousands, "mark": one.mark}
            for one in goal.cells
        ]
        base |= {**first, "others": others}
    return base | extra
