"""A column of numbers as inputs.

Shape legend: B rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from netdial.core.best import signed
from netdial.data.tables.columns.model import FrozenModel, marked, never_missing
from netdial.data.tables.columns.style import Mark, Style
from netdial.data.tables.words.texts import Array

if TYPE_CHECKING:
    import pandas as pd

_FAR = 100  # standard deviations, which only one in 10,000 training rows can be away from the mean


class Number(FrozenModel):
    """A column of numbers: one input, (value - mean) / std.

    A missing value is replaced by ``fill``, the median of the training part; with ``missing``, a second input is 1 where
    the value was missing and 0 elsewhere.
    """

    kind: Literal["number"] = "number"
    column: str
    fill: float
    mean: float
    std: float = Field(gt=0)
    missing: bool
    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None
    mark: Mark | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return (self.column, *([f"{self.column} is missing"] if self.missing else []))

    @property
    def is_text(self) -> bool:
        """Whether a file's cells are read as texts: with marks between thousands, 1.234 is no fraction."""
        return self.thousands is not None

    @property
    def example(self) -> str:
        """A usual value, as a form shows it: the median of the training part."""
        return f"{self.fill:.4g}"

    @property
    def is_binary(self) -> bool:
        """Whether the training part held nothing but 0 and 1, as a column of truth values does."""
        spread = self.mean * (1 - self.mean)
        return 0 < self.mean < 1 and math.isclose(self.std**2, spread, rel_tol=1e-9)

    @property
    def style(self) -> Style:
        """How the numbers are written."""
        return Style(decimal=self.decimal, thousands=self.thousands, mark=self.mark)

    def describe(self) -> str:
        """Returns how the column is read, in words."""
        words = [
            f"mean {signed(self.mean, '.4g')}, standard deviation {self.std:.4g}",
            f"{self.thousands!r} between thousands" if self.thousands else "",
            self.style.describe(),
            marked(self.missing),
        ]
        return "; ".join(word for word in words if word)

    def read(self, column: pd.Series[Any], na: Sequence[str]) -> Array:
        """Returns a column as float64 [B], NaN where missing; raises DataError at what is no number."""
        return self.style.read(column, self.column, na)

    def unlike(self, column: pd.Series[Any]) -> str:
        """Returns a remark if new cells have another mark than those of training, where that may be another number."""
        return self.style.unlike(column, f"column {self.column!r}")

    def inputs(self, values: Array) -> tuple[Array, str]:
        """Returns inputs [B, 1 or 2] of numbers [B], and a remark if something was not seen in training."""
        gone = np.isnan(values)
        scaled = (np.where(gone, self.fill, values) - self.mean) / self.std
        far, remark = np.abs(scaled) > _FAR, ""
        if far.any():
            remark = (
                f"column {self.column!r}: numbers in {int(far.sum())} row(s), such as {values[far][0]:g}, are over {_FAR} "
                f"standard deviations from the mean of training, {self.mean:.4g}"
            )
        if self.missing:
            return np.stack([scaled, gone], axis=1), remark
        never = never_missing(self.column, gone, f"{self.fill:g}")
        return scaled[:, None], "; ".join(filter(None, [remark, never]))
