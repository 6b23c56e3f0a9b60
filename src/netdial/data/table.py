"""Any CSV or Parquet table as a task: one column (or several) is the target, all others are inputs.

What is to be predicted decides the kind: texts, truth values and up to 20 different whole numbers
are classes; other numbers are regression targets, standardised by the training part. ``kind``
overrules that. Inputs are encoded in ``columns``.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError
from netdial.data._optional import require
from netdial.data.assemble import assemble
from netdial.data.columns import encode_columns
from netdial.data.dataset import Dataset, Kind, Splits
from netdial.data.folder import data_folder, fingerprints
from netdial.data.scale import standard_targets
from netdial.data.split import split_rows

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".parquet")
VALID, TEST = 0.2, 0.2
MAX_CLASSES = 20  # more different whole numbers than this are taken for a regression target


def load_table(
    path: str | Path,
    *,
    target: str | None,
    data_dir: str | Path | None = None,
    kind: Kind | None = None,
    seed: int = 0,
    valid: float | None = None,
    test: float | None = None,
) -> Splits:
    """Returns a table as a task.

    Args:
        path: A ``.csv`` or ``.parquet`` file; a relative one is also looked for in the data folder.
        target: Column to predict; several regression targets are separated by commas.
        data_dir: The data folder; default: the environment variable NETDIAL_DATA.
        kind: ``"classification"`` or ``"regression"``; default: what the target looks like.
        seed: Decides the split.
        valid: Fraction of rows for validation (0.2).
        test: Fraction of rows for the test part (0.2).

    Raises:
        DataError: if the file is missing or damaged, the target is not one of its columns or has
            missing values, or a column cannot be encoded.
        MissingExtra: if pandas, pyarrow or scikit-learn is not installed.
    """
    file = _locate(Path(path), data_dir)
    where = f"data {file.name!r}"
    frame = _read(file)
    if len(frame) < 2:
        raise DataError(
            f"{where}: {len(frame)} row(s) of data; at least two are needed to learn anything"
        )
    names = _targets(frame, target, where)
    goal = frame[names]
    _check_present(goal, where)
    kind = kind or _infer(goal)
    valid, test = VALID if valid is None else valid, TEST if test is None else test
    labels, classes = _classes(goal, where) if kind == "classification" else (None, ())
    splits = split_rows(
        len(frame), valid=valid, test=test, seed=seed, labels=labels, classes=classes, where=where
    )
    features = frame.drop(columns=names)
    if not len(features.columns):
        raise DataError(f"{where}: no column is left to predict {target!r} from")
    x, encoding = encode_columns(features, splits["train"], where)
    source: dict[str, Any] = {
        "origin": "table",
        "files": fingerprints([file]),
        "rows": "rows of the file, counted from 0 after the header",
        "split": {"seed": seed, "valid": valid, "test": test, "stratified": labels is not None},
        "encoding": encoding,
        "targets": names,
        "notes": [
            "numeric inputs standardised by mean and standard deviation of the training part"
        ],
    }
    y = labels
    if y is None:
        y = standard_targets(_numbers(goal, where), names, splits["train"], source)
    return assemble(
        file.stem,
        kind,
        parts={part: Dataset(x[rows], y[rows]) for part, rows in splits.items()},
        splits=splits,
        source=source,
        classes=classes,
    )


def _locate(path: Path, data_dir: str | Path | None) -> Path:
    """Returns the file, also looked for in the data folder."""
    folder = data_folder(data_dir)
    places = [path.expanduser()] + ([folder / path] if folder and not path.is_absolute() else [])
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"data {str(path)!r}: no such file; looked for {' and '.join(str(p) for p in places)}"
    )


def _read(path: Path) -> pd.DataFrame:
    """Returns the table in a file, with column names as texts."""
    pandas = require("pandas", "reading a table")
    arrow = require("pyarrow", "reading Parquet") if path.suffix.lower() == ".parquet" else None
    damaged: tuple[type[Exception], ...] = (ValueError, OSError) + (
        (arrow.ArrowException,) if arrow else ()
    )
    try:
        frame: pd.DataFrame = pandas.read_parquet(path) if arrow else pandas.read_csv(path)
    except pandas.errors.EmptyDataError:
        raise DataError(
            f"data {path.name!r}: the file is empty; a table needs a header and rows"
        ) from None
    except damaged as error:  # pandas' parser and decoding errors are ValueErrors
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"data {path.name!r}: damaged, or not a table ({text})") from error
    frame.columns = [str(name) for name in frame.columns]
    return frame.reset_index(drop=True)


def _targets(frame: pd.DataFrame, target: str | None, where: str) -> list[str]:
    """Returns the names of the target columns, which are all in the table."""
    columns = list(frame.columns)
    some = ", ".join(columns[:12]) + (f", ... ({len(columns)} in all)" if len(columns) > 12 else "")
    if not target:
        raise DataError(
            f"{where}: which column is to be predicted? Give --target COLUMN (columns: {some})"
        )
    names = [target] if target in columns else [name.strip() for name in target.split(",")]
    for name in names:
        if name not in columns:
            close = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise DataError(f"{where}: no column {name!r} for the target{hint} (columns: {some})")
    if len(set(names)) < len(names):
        raise DataError(f"{where}: a target is named twice in {target!r}")
    return names


def _check_present(goal: pd.DataFrame, where: str) -> None:
    """Refuses rows without a target."""
    for name in goal.columns:
        missing = goal[name].isna().to_numpy()
        if missing.any():
            raise DataError(
                f"{where}: the target {name!r} is missing in {int(missing.sum())} row(s), first in"
                f" row {int(missing.argmax())} (counted from 0); remove these rows"
            )


def _infer(goal: pd.DataFrame) -> Kind:
    """Returns the kind of task that the target columns look like."""
    types = require("pandas", "reading a table").api.types
    if len(goal.columns) > 1:
        return "regression"
    column = goal.iloc[:, 0]
    if types.is_bool_dtype(column) or not types.is_numeric_dtype(column):
        return "classification"
    whole = types.is_integer_dtype(column)
    return "classification" if whole and column.nunique() <= MAX_CLASSES else "regression"


def _classes(goal: pd.DataFrame, where: str) -> tuple[Tensor, tuple[str, ...]]:
    """Returns class indices [N] and the names of the classes, sorted as numbers or as texts."""
    if len(goal.columns) > 1:
        raise ConfigError(
            f"{where}: classification has one target column, got {', '.join(goal.columns)}"
        )
    column = goal.iloc[:, 0]
    values = column.to_numpy()
    if values.dtype.kind not in "biuf":
        values = np.asarray([str(value) for value in values])
    elif values.dtype.kind == "f":
        _check_infinite(values, where, goal.columns[0])
    classes, labels = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"{where}: the target {goal.columns[0]!r} has one class only ({classes[0]});"
            " classification needs at least two"
        )
    return torch.as_tensor(labels.reshape(-1), dtype=torch.int64), tuple(
        str(name) for name in classes
    )


def _numbers(goal: pd.DataFrame, where: str) -> np.ndarray[Any, Any]:
    """Returns regression targets [N, T] as float64."""
    columns: Sequence[np.ndarray[Any, Any]] = []
    try:
        columns = [goal[name].to_numpy(dtype=float) for name in goal.columns]
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{where}: regression needs numbers in {', '.join(goal.columns)} ({error}); choose"
            " another target or kind='classification'"
        ) from None
    for name, values in zip(goal.columns, columns, strict=True):
        _check_infinite(values, where, name)
    return np.stack(columns, axis=1)


def _check_infinite(values: np.ndarray[Any, Any], where: str, name: str) -> None:
    """Refuses infinity in a target."""
    if np.isinf(values).any():
        raise DataError(
            f"{where}: the target {name!r} holds infinity, first in row"
            f" {int(np.isinf(values).argmax())} (counted from 0); remove these rows"
        )
