"""Targets in the form that tasks take: class indices ``[N]`` in int64, or columns of numbers ``[N, T]`` in floating point."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from netdial.core.errors import DataError

Targets = Literal["classes", "numbers"]
"""What targets are: indices of classes, or numbers."""


def as_targets(y: Tensor, targets: Targets, where: str) -> Tensor:
    """Returns targets in the form that their task takes, if they are given as integers; else as they are.

    Class labels may be integers of any size or truth values, ``[N]`` or ``[N, 1]``; numbers may be integers.

    Raises:
        DataError: a class index is negative, or there are several columns of them.
    """
    if y.is_floating_point():
        return y
    if targets == "numbers":
        return y.to(torch.get_default_dtype())
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim > 1:
        raise DataError(
            f"{where} {list(y.shape)} of {y.dtype} are no classes; give one index for each example, int64 [N] from 0 on "
            "(of one-hot rows: y.argmax(1)), or kind='regression'"
        )
    if len(y) and int(y.min()) < 0:
        row = int(y.argmin())
        raise DataError(
            f"{where} {list(y.shape)} of {y.dtype} are no classes: {int(y[row])} in row {row} (counted from 0) is "
            "negative; number the classes from 0 (-1 and 1 become 0 and 1) and leave rows without a label out, or "
            "kind='regression'"
        )
    return y.to(torch.int64)
