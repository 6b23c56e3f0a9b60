"""A column of texts as inputs.

Shape legend: B rows, C texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from netdial.data.tables.columns.model import FrozenModel, marked, never_missing, some_texts
from netdial.data.tables.columns.stored import texts_of
from netdial.data.tables.words.doubts import unit_note, unit_of
from netdial.data.tables.words.texts import Array, other_spellings

if TYPE_CHECKING:
    import pandas as pd


class Category(FrozenModel):
    """A column of texts: one input of 0 and 1 for each text of the training part, in the order of ``values``.

    With ``missing``, one more input is 1 where the cell is empty. A text that the training part does not hold gives zeros;
    1.0 is 1, and true is True, unless training held both.
    """

    kind: Literal["category"] = "category"
    column: str
    values: tuple[str, ...]
    missing: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        named = [f"{self.column} = {value}" for value in self.values]
        return (*named, *([f"{self.column} is missing"] if self.missing else []))

    @property
    def is_text(self) -> bool:
        """Whether a file's cells are read as texts."""
        return True

    @property
    def example(self) -> str:
        """A text of the training part, as a form shows it; nothing if it held none."""
        return self.values[0] if self.values else ""

    def describe(self) -> str:
        """Returns how the column is read, in words."""
        words = [f"{len(self.values)} texts: {some_texts(self.values)}", marked(self.missing)]
        if unit := unit_of(self.values):
            words.append(unit_note(unit))
        return "; ".join(word for word in words if word)

    def read(self, column: pd.Series[Any], na: Sequence[str]) -> Array:
        """Returns a column as texts [B], None where missing."""
        return texts_of(column, na)

    def inputs(self, values: Array) -> tuple[Array, str]:
        """Returns inputs [B, C] of texts [B], and a remark if something was not seen in training."""
        position = {value: index for index, value in enumerate(self.values)}
        if self.missing:
            position[None] = len(position)  # type: ignore[index]
        out = np.zeros((len(values), len(position)), dtype=np.float32)
        if any(value not in position for value in values):
            meant = other_spellings(values, self.values)
            position |= {word: position[text] for word, text in meant.items()}
        found = np.asarray([position.get(value, -1) for value in values], dtype=np.int64)
        known = found >= 0
        out[np.flatnonzero(known), found[known]] = 1
        new = sorted({str(value) for value in values[~known] if value is not None})
        remarks = []
        if new:
            count = sum(value is not None for value in values[~known])
            some = ", ".join(repr(value) for value in new[:5]) + (", …" if len(new) > 5 else "")
            remarks.append(
                f"column {self.column!r}: {some} in {count} row(s) not seen in training, read as no category"
            )
        gone = np.asarray([value is None for value in values[~known]], dtype=bool)
        return out, "; ".join([*remarks, *filter(None, [never_missing(self.column, gone, "none")])])
