"""Targets in the form that tasks take.

Class indices ``[N]`` in int64, or columns of numbers ``[N, T]`` in floating point; and the same at every place of an image or a
text: classes ``[N, ...]``, of which -100 is not counted, and numbers ``[N, ...]``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from netdial.core.errors import DataError

Targets = Literal["classes", "numbers", "class maps", "arrays", "any"]
"""What targets are: indices of classes, columns of numbers, the same at many places, or whatever a loss takes."""

NOT_COUNTED = -100
"""Class index of places that do not count, as in torch's losses."""


def as_targets(y: Tensor, targets: Targets, where: str) -> Tensor:
    """Returns targets in the form that their task takes, if they are given as integers; else as they are.

    Class labels may be integers of any size or truth values, ``[N]`` or ``[N, 1]``; numbers may be integers.

    Raises:
        DataError: a class index is negative, or there are several columns of them.
    """
    if y.is_floating_point() or targets == "any":
        return y
    if targets == "class maps":
        return _class_maps(y, where)
    if targets in ("numbers", "arrays"):
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


def _class_maps(y: Tensor, where: str) -> Tensor:
    """Returns class indices at many places ``[N, ...]`` in int64."""
    wrong = (y < 0) & (y != NOT_COUNTED) if y.dtype != torch.bool else torch.zeros(0)
    if bool(wrong.any()):
        raise DataError(
            f"{where} {list(y.shape)} of {y.dtype}: class {int(y[wrong][0])} is negative; number the classes from 0, and mark "
            f"places that do not count by {NOT_COUNTED}"
        )
    return y.to(torch.int64)
