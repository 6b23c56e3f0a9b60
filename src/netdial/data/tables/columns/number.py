"""A column of numbers: how they are written, and as inputs.

Shape legend: B rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from netdial.core.best import signed
from netdial.core.errors import DataError
from netdial.data.tables.columns.cells import read_cells
from netdial.data.tables.columns.model import FrozenModel, marked, never_missing
from netdial.data.tables.columns.new import numbers_of
from netdial.data.tables.columns.stored import texts_of
from netdial.data.tables.words.numbers import mark_of, numbers, restyled
from netdial.data.tables.words.texts import MISSING_WORDS, Array

if TYPE_CHECKING:
    import pandas as pd

    from netdial.data.tables.files.frame import Table
    from netdial.data.tables.options import TableOptions

_FAR = 100  # standard deviations, which only one in 10,000 training rows can be away from the mean

Mark = Literal["", "%", "$", "€", "£", "¥"]
"""What may stand at one end of a number."""


class Style(FrozenModel):
    """How the numbers of a column are written: decimal mark, mark between thousands, and what stands at one end.

    ``mark`` with % makes them hundredths; None, in older files, leaves a % out.
    """

    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None
    mark: Mark | None = None

    def describe(self) -> str:
        """Returns what is to be known of the numbers, in words."""
        return "hundredths, with % in the table" if self.mark == "%" else ""

    def read(self, column: pd.Series[Any], name: str, na: Sequence[str]) -> Array:
        """Returns a column as float64 [B], NaN where missing; raises DataError at what is no number."""
        hundredths = self.mark is not None
        return numbers_of(column, name, self.decimal, self.thousands, na, hundredths=hundredths)

    def own(
        self, column: pd.Series[Any], name: str, table: Table, options: TableOptions
    ) -> Array | None:
        """Returns a column of a new file [B], found as in training, where the file writes numbers in another way.

        Numbers are float64, NaN where missing; with a mark such as % they are texts that have it, in this style.

        Raises:
            DataError: 1,234 may be a thousand, and nothing in the file decides.
        """
        if column.dtype.kind in "biuf" or table.sep is None:
            return None
        texts = texts_of(column, options.na)
        words = [word for word in set(texts) if word and word.lower() not in MISSING_WORDS]
        plain = table.sep == "," or table.decimal == self.decimal
        if plain and numbers(words, [(self.decimal, self.thousands)]) is not None:
            return None
        cells, problems = read_cells(column, name, table, options)
        if problems:
            raise DataError(problems[0].text)
        if cells.kind != "number":
            return None
        if not cells.mark:
            return cells.values
        found = {
            word: restyled(word, cells.decimal, cells.thousands, self.decimal) for word in words
        }
        return np.asarray([found.get(text, text) for text in texts], dtype=object)

    def unlike(self, column: pd.Series[Any], where: str) -> str:
        """Returns a remark if new cells have another mark than those of training, where that may be another number."""
        plain = column.dtype.kind in "biuf"  # numbers already, of which none is a text
        mark, known = "" if plain else mark_of(column.unique()), self.mark
        if known is None or mark == known or column.isna().all():
            return ""
        if mark == "%":
            return f"{where}: has %, which training had not; read as hundredths, 12.5% is 0.125"
        if known == "%":
            return f"{where}: has no %, which training had; read as it is, 0.125 for 12.5%"
        return f"{where}: has {mark} for {known}, and is read alike" if mark and known else ""


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
