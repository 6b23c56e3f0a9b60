"""Weights of the rows of a table, from the column that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.data.tables.cells import numbers_of
from netdial.data.tables.options import TableOptions
from netdial.data.tables.words import Array

if TYPE_CHECKING:
    import pandas as pd


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
