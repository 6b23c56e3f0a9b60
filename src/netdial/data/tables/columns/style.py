"""How the numbers of a column are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netdial.core.errors import DataError
from netdial.data.tables.columns.cells import read_cells
from netdial.data.tables.columns.model import FrozenModel
from netdial.data.tables.columns.new import numbers_of
from netdial.data.tables.columns.stored import texts_of
from netdial.data.tables.words.numbers import mark_of, numbers, restyled
from netdial.data.tables.words.texts import MISSING_WORDS, Array

if TYPE_CHECKING:
    import pandas as pd

    from netdial.data.tables.files.frame import Table
    from netdial.data.tables.options import TableOptions

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
