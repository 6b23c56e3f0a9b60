"""What columns say of the rows of a table: which part each is in (a part named in each row, groups, time), and its weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError, some_of
from netdial.data.dataset import PARTS, Dataset
from netdial.data.split import split_rows
from netdial.data.tables.columns.cells import read_cells
from netdial.data.tables.columns.new import numbers_of
from netdial.data.tables.columns.stored import texts_of
from netdial.data.tables.options import TableOptions, refuse
from netdial.data.tables.words.texts import Array, look_alike

if TYPE_CHECKING:
    import pandas as pd

    from netdial.data.tables.files.frame import Table

_WORDS = {
    "train": ("train", "training", "trn", "tr"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing", "tst", "te", "holdout"),
}
_COPIED = 0.05  # fraction of rows that are found in the training part, from which on it is told
_DRAWS = 64  # orders of the groups that are tried for parts of the right size and classes


def split_by_column(
    texts: Array,
    name: str,
    *,
    valid: float,
    test: float,
    seed: int,
    labels: Tensor | None,
    classes: Sequence[str],
    where: str,
) -> dict[str, Tensor]:
    """Returns the rows [N] of each part, as a column of texts says; a part that it does not name is drawn from training.

    Raises:
        DataError: a cell is empty or names no part, or no row is for training.
    """
    meaning = {word: part for part, words in _WORDS.items() for word in words}
    found = np.asarray([meaning.get(str(text).lower(), "") for text in texts])
    if (found == "").any():
        row = int((found == "").argmax())
        what = "is empty" if texts[row] is None else f"holds {texts[row]!r}"
        raise DataError(
            f"{where}: the split column {name!r} {what} in row {row} (counted from 0); it must say train, valid or test"
        )
    parts = {part: torch.from_numpy(np.flatnonzero(found == part)) for part in PARTS}
    if not len(parts["train"]):
        raise DataError(f"{where}: the split column {name!r} names no row for training")
    wanted = {"valid": valid, "test": test}
    absent = {part: share for part, share in wanted.items() if not len(parts[part]) and share > 0}
    if absent:
        train = parts["train"]
        drawn = split_rows(
            len(train),
            valid=absent.get("valid", 0.0),
            test=absent.get("test", 0.0),
            seed=seed,
            labels=None if labels is None else labels[train],
            classes=classes,
            where=where,
        )
        parts |= {part: train[drawn[part]] for part in ("train", *absent)}
    return parts


def split_by_time(
    times: Array, name: str, *, valid: float, test: float, where: str
) -> dict[str, Tensor]:
    """Returns the rows of each part in the order of time: training first, then validation, then test.

    Rows of the same time are in the same part.

    Raises:
        DataError: a time is missing, or there are too few different times.
    """
    _check_fractions(valid, test, where)
    if np.isnan(times).any():
        raise DataError(
            f"{where}: the time column {name!r} is empty in row {int(np.isnan(times).argmax())} (counted from 0);"
            " every row needs a time"
        )
    moments, counts = np.unique(times, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])  # rows before each moment
    shares = {"train": 1 - valid - test, "valid": valid, "test": test}
    parts = [part for part in PARTS if shares[part] > 0]
    if len(moments) < len(parts):
        raise DataError(
            f"{where}: {len(moments)} different time(s) in {name!r} cannot be divided into {len(parts)} parts; rows of the"
            " same time are in the same part"
        )
    bounds, wanted = [0], 0.0
    for position, part in enumerate(parts[:-1]):
        wanted += shares[part] * len(times)
        first, last = bounds[-1] + 1, len(moments) - (len(parts) - position - 1)
        bounds.append(first + int(np.abs(before[first : last + 1] - wanted).argmin()))
    which = np.searchsorted(moments[bounds], times, side="right") - 1
    return {
        part: torch.from_numpy(
            np.flatnonzero(which == (parts.index(part) if part in parts else -1))
        )
        for part in PARTS
    }


def split_by_group(
    groups: Array,
    name: str,
    *,
    valid: float,
    test: float,
    seed: int,
    labels: Tensor | None,
    where: str,
) -> dict[str, Tensor]:
    """Returns the rows of each part; all rows of a group are in one part.

    Several orders of the groups are drawn, and the one is taken whose parts come nearest to the sizes asked for and, for
    classification, to the proportions of the classes.

    Raises:
        DataError: a row has no group, or there are fewer groups than parts.
    """
    _check_fractions(valid, test, where)
    gone = np.asarray([text is None for text in groups], dtype=bool)
    if gone.any():
        raise DataError(
            f"{where}: the group column {name!r} is empty in row {int(gone.argmax())} (counted from 0); every row needs a"
            " group"
        )
    _, codes = np.unique(groups.astype(str), return_inverse=True)
    sizes = np.bincount(codes)
    shares = {"valid": valid, "test": test}
    wanted = [part for part, share in shares.items() if share > 0]
    if len(sizes) < len(wanted) + 1:
        raise DataError(
            f"{where}: {len(sizes)} group(s) in {name!r} cannot be divided into {len(wanted) + 1} parts; a group is never"
            " in two"
        )
    classes = np.zeros(len(groups), dtype=int) if labels is None else labels.numpy()
    table = np.zeros((len(sizes), classes.max() + 1))
    np.add.at(table, (codes, classes), 1)
    random = np.random.default_rng(seed)
    drawn = [_assign(random.permutation(len(sizes)), sizes, shares) for _ in range(_DRAWS)]
    best = min(drawn, key=lambda which: _misfit(which, table, shares))
    return {
        part: torch.from_numpy(np.flatnonzero(best[codes] == number))
        for number, part in enumerate(PARTS)
    }


def _assign(order: Array, sizes: Array, shares: dict[str, float]) -> Array:
    """Returns the part (0, 1, 2) of each group: groups in this order fill test, then validation, the rest is training."""
    which = np.zeros(len(sizes), dtype=int)
    taken = 0
    for number, part in ((2, "test"), (1, "valid")):
        if shares[part] == 0:
            continue
        need, rows = shares[part] * sizes.sum(), 0.0
        last = len(order) - (1 if number == 1 or shares["valid"] == 0 else 2)
        while taken < last and (
            rows == 0 or abs(rows + sizes[order[taken]] - need) <= abs(rows - need)
        ):
            which[order[taken]] = number
            rows += sizes[order[taken]]
            taken += 1
    return which


def _misfit(which: Array, table: Array, shares: dict[str, float]) -> float:
    """Returns how far the classes of the parts are from their share; a class absent from training counts most."""
    total = table.sum(0)
    fractions = [1 - sum(shares.values()), shares["valid"], shares["test"]]
    parts = [table[which == number].sum(0) for number in range(3)]
    off = sum(
        float(np.abs(part / total - f).mean()) for part, f in zip(parts, fractions, strict=True)
    )
    return off + 10.0 * float((parts[0] == 0).sum())


def _check_fractions(valid: float, test: float, where: str) -> None:
    if min(valid, test) < 0 or not valid + test < 1:
        raise ConfigError(
            f"{where}: valid={valid}, test={test} leave no training rows; give fractions >= 0 whose sum is below 1"
        )


def copied_rows(parts: Mapping[str, Dataset]) -> list[str]:
    """Returns a remark if many rows of validation and test part are in the training part, too: inputs and target alike."""
    known = set(map(hash, _rows(parts["train"])))
    said = []
    for part in PARTS[1:]:
        found = [hash(row) in known for row in _rows(parts[part])]
        if sum(found) > _COPIED * len(found):
            said.append(f"{sum(found)} of {len(found)} {part} rows")
    if not said:
        return []
    return [
        f"{' and '.join(said)} have the inputs and the target of a training row: if rows were copied, what is measured there "
        "is partly memory; leave copies out, or keep them in one part (--group-column)"
    ]


def _rows(part: Dataset) -> list[bytes]:
    """Returns inputs and target of each row as bytes."""
    if not len(part):
        return []
    x, y = part.x.flatten(1).numpy(), part.y.reshape(len(part), -1).numpy()
    return [one.tobytes() + other.tobytes() for one, other in zip(x, y, strict=True)]


def absent_classes(parts: Mapping[str, Dataset], classes: Sequence[str]) -> list[str]:
    """Returns remarks on classes of which a part has no row, as parts by groups, by time or of their own may."""
    said = []
    for part in PARTS if classes else ():
        there = set(parts[part].y.tolist())
        gone = [name for index, name in enumerate(classes) if index not in there]
        if gone and there:
            what, it = ("class", "it") if len(gone) == 1 else ("classes", "them")
            how = "training" if part == "train" else "what is measured there"
            some = some_of(map(repr, gone))
            said.append(f"the {part} part has no row of {what} {some}: {how} says nothing of {it}")
    return said


def row_weights(
    frame: pd.DataFrame, rows: Array, options: TableOptions, where: str
) -> Tensor | None:
    """Returns the weights of all rows of a table, float32 [N], or None without a column of weights.

    Args:
        frame: the table.
        rows: numbers of the rows that are used; weights of others are not looked at.
        options: which column it is, and how numbers are written.
        where: the table, for messages.

    Raises:
        DataError: the column is not there, or a weight is missing, no number, negative or infinite.
    """
    name = options.weight_column
    if name is None:
        return None
    if name not in frame.columns:
        raise DataError(f"{where}: no column {name!r}, which holds the weights of the rows")
    values = numbers_of(frame[name], name, options.decimal or ".", options.thousands, options.na)
    used = values[rows]
    bad = ~(used >= 0)  # NaN, too
    if bad.any():
        row = int(rows[int(bad.argmax())])
        what = "is empty" if np.isnan(values[row]) else f"holds {values[row]:g}"
        raise DataError(
            f"{where}: the weight column {name!r} {what} in row {row} (counted from 0); weights are numbers, 0 or more"
        )
    return torch.as_tensor(np.nan_to_num(values), dtype=torch.float32)


def times_of(
    column: pd.Series[Any], name: str, table: Table, options: TableOptions, where: str
) -> Array:
    """Returns a column of times as numbers [N], read as an input would be: numbers, or days of dates; NaN where missing.

    Raises:
        DataError: it holds something else, or dates of which day and month cannot be told apart.
    """
    cells, problems = read_cells(
        column, name, table, options.model_copy(update={"parse_dates": "number"})
    )
    refuse(where, problems)
    if cells.kind not in ("number", "date"):
        word = next((str(v) for v in (*cells.others, *cells.values) if v is not None), "nothing")
        raise DataError(
            f"{where}: the time column {name!r} holds {word!r}, which is not a date and no number; "
            f"{cells.remark or 'write dates as 2024-12-31'}"
        )
    return cells.values


def alike_groups(frame: pd.DataFrame, options: TableOptions) -> list[str]:
    """Returns a remark if names of groups differ in small and capital letters alone."""
    name = options.group_column
    texts = [] if name is None else dict.fromkeys(texts_of(frame[name], options.na))
    alike = look_alike(text for text in texts if text is not None)
    return (
        [f"{name}: {alike} are different groups; write them alike if they are one"] if alike else []
    )
