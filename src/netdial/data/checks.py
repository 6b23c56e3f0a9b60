"""What no data set may do: be empty, hold one class only, or contain numbers that are not finite.

Every loader passes its task through ``check_splits``, so a bad table fails before training with the
row that is wrong and not after an hour with a loss that is not a number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.data.dataset import DENSE, PARTS, Splits
from netdial.data.memory.targets import NOT_COUNTED

CHUNK = 4096  # rows looked at together: keeps memory modest


def check_splits(task: Splits) -> Splits:
    """Returns the task unchanged if it can be learnt from.

    Raises:
        DataError: on empty parts, a single training row, a single class, labels out of range, parts
            of different shapes, or NaN and infinity in inputs or targets.
    """
    for name in PARTS:
        part = task.part(name)
        where = f"data {task.name!r}, {name} part"
        needed = 2 if name == "train" else 1
        if len(part) < needed:
            cure = (
                "" if name == "train" else f"; give {name} a share above 0, such as 0.2, or a table"
            )
            raise DataError(f"{where}: {len(part)} row(s); at least {needed} needed{cure}")
        if part.x.shape[1:] != task.train.x.shape[1:]:
            raise DataError(
                f"{where}: inputs of shape {list(part.x.shape[1:])}, but the train part has"
                f" {list(task.input_shape)}; all parts need the same shape"
            )
        check_finite(part.x, where, "inputs")
        if task.kind in DENSE.values():
            _check_places(part.y, task, where)
        elif task.kind == "classification":
            _check_labels(part.y, task.n_outputs, where)
        else:
            _check_targets(part.y, task.n_outputs, where)
    if task.classes and len(task.train.y[task.train.y >= 0].unique()) < 2:
        raise DataError(
            f"data {task.name!r}: one class only in the train part; classification needs at least"
            " two"
        )
    return task


def check_finite(values: Tensor, where: str, what: str) -> None:
    """Raises DataError naming the first row of ``values`` [N, ...] that holds NaN or infinity."""
    if not values.is_floating_point():
        return
    for start in range(0, len(values), CHUNK):
        bad = ~torch.isfinite(values[start : start + CHUNK].flatten(1))
        if bad.any():
            row = start + int(bad.any(1).nonzero()[0])
            raise DataError(
                f"{where}: NaN or infinity in the {what}, first in row {row} (counted from 0);"
                " remove or replace these rows"
            )


def _check_labels(y: Tensor, n_classes: int, where: str) -> None:
    """Raises DataError unless labels are [N] class indices below ``n_classes``."""
    if y.ndim != 1 or y.dtype != torch.int64:
        raise DataError(
            f"{where}: class labels must be int64 of shape [N]; got {y.dtype} {list(y.shape)}"
        )
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        raise DataError(
            f"{where}: class labels run from {low} to {high}; allowed are 0 to {n_classes - 1}"
        )


def _check_places(y: Tensor, task: Splits, where: str) -> None:
    """Raises DataError unless targets are of the shape of the training part's, and finite, or classes or -100."""
    if y.shape[1:] != task.train.y.shape[1:]:
        raise DataError(
            f"{where}: targets of shape {list(y.shape[1:])}, but the train part has {list(task.train.y.shape[1:])}; all parts "
            "need the same shape"
        )
    check_finite(y, where, "targets")
    if task.classes and bool(((y < 0) & (y != NOT_COUNTED)).any()):
        raise DataError(
            f"{where}: class labels run from {int(y.min())}; allowed are 0 to {task.n_outputs - 1}, and {NOT_COUNTED} where "
            "nothing counts"
        )


def _check_targets(y: Tensor, n_targets: int, where: str) -> None:
    """Raises DataError unless targets are finite floats [N, T]."""
    if y.ndim != 2 or y.shape[1] != n_targets or not y.is_floating_point():
        raise DataError(
            f"{where}: regression targets must be float [N, {n_targets}]; got {y.dtype}"
            f" {list(y.shape)}"
        )
    check_finite(y, where, "targets")
