"""What one column of a table becomes: numbers, one input for each text, or dates; learned once, applied to any rows.

Shape legend: B rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from netdial.core.best import signed
from netdial.core.errors import DataError
from netdial.data.tables.cells import days_of, numbers_of, read_cells, texts_of
from netdial.data.tables.words import (
    MISSING_WORDS,
    Array,
    mark_of,
    numbers,
    other_spellings,
    unit_note,
    unit_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from netdial.data.tables.options import TableOptions
    from netdial.data.tables.read import Table

_FAR = 100  # standard deviations, which only one in 10,000 training rows can be away from the mean
DATE_PARTS = ("year", "month", "day", "weekday", "hour")


class FrozenModel(BaseModel):
    """A frozen value that JSON can hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
        """Returns a column of a new file as float64 [B], found as in training, where the file writes numbers in another way.

        Raises:
            DataError: 1,234 may be a thousand, and nothing in the file decides.
        """
        if column.dtype.kind in "biuf" or table.sep is None:
            return None
        words = [word for word in set(texts_of(column, options.na)) if word]
        words = [word for word in words if word.lower() not in MISSING_WORDS]
        plain = table.sep == "," or table.decimal == self.decimal
        alike = plain and numbers(words, [(self.decimal, self.thousands)]) is not None
        if alike or mark_of(words):
            return None
        cells, problems = read_cells(column, name, table, options)
        if problems:
            raise DataError(problems[0].text)
        return cells.values if cells.kind == "number" else None

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
            _marked(self.missing),
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
        never = _never_missing(self.column, gone, f"{self.fill:g}")
        return scaled[:, None], "; ".join(filter(None, [remark, never]))


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
        words = [f"{len(self.values)} texts: {some_texts(self.values)}", _marked(self.missing)]
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
        out = np.zeros((len(values), len(position)))
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
        return out, "; ".join(
            [*remarks, *filter(None, [_never_missing(self.column, gone, "none")])]
        )


class Date(FrozenModel):
    """A column of dates: days since 1970-01-01, or parts such as year and month, each (value - mean) / std.

    A missing date gives 0 for all of them, which is the mean of the training part; with ``missing``, one more input is
    1 there.
    """

    kind: Literal["date"] = "date"
    column: str
    parts: tuple[Literal["days", "year", "month", "day", "weekday", "hour"], ...]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    missing: bool
    order: Literal["day-first", "month-first"] | None = None

    @model_validator(mode="after")
    def _agree(self) -> Date:
        if not len(self.parts) == len(self.mean) == len(self.std):
            raise ValueError("parts, mean and std differ in length")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        named = [self.column if part == "days" else f"{self.column} {part}" for part in self.parts]
        return (*named, *([f"{self.column} is missing"] if self.missing else []))

    @property
    def is_text(self) -> bool:
        """Whether a file's cells are read as texts, where they look like numbers."""
        return False

    @property
    def example(self) -> str:
        """A usual date, as a form shows it: the mean of the training part."""
        mean = {part: round(value) for part, value in zip(self.parts, self.mean, strict=True)}
        if "days" in mean:
            return str(np.datetime64(mean["days"], "D"))
        return f"{mean['year']:04d}-{mean['month']:02d}-{min(mean['day'], 28):02d}"

    def describe(self) -> str:
        """Returns how the column is read, in words."""
        how = "days since 1970" if self.parts == ("days",) else ", ".join(self.parts)
        return "; ".join(word for word in (how, self.order, _marked(self.missing)) if word)

    def read(self, column: pd.Series[Any], na: Sequence[str]) -> Array:
        """Returns a column as days since 1970-01-01 [B], NaN where missing; raises DataError at what is no date."""
        return days_of(column, self.column, self.order, na)

    def inputs(self, values: Array) -> tuple[Array, str]:
        """Returns inputs [B, P] of days [B], and a remark if something was not seen in training."""
        gone = np.isnan(values)
        raw = date_parts(np.where(gone, 0.0, values), self.parts)
        scaled = (raw - np.asarray(self.mean)) / np.asarray(self.std)
        scaled[gone] = 0
        if self.missing:
            return np.column_stack([scaled, gone]), ""
        return scaled, _never_missing(self.column, gone, "the mean date")


def some_texts(texts: Sequence[str], most: int = 6) -> str:
    """Returns the first texts of a list, and how many more there are; in quotes where one could be read as two, or as none.

    >>> some_texts(["a", "b", "c"], 2)
    'a, b, … (3 in all)'
    >>> some_texts(["a, b", "c", " "])
    '"a, b", c, " "'
    """
    shown = ", ".join(
        f'"{text}"' if "," in text or text != text.strip() or not text else text
        for text in texts[:most]
    )
    return shown if len(texts) <= most else f"{shown}, … ({len(texts)} in all)"


def _marked(missing: bool) -> str:
    return "missing values are marked" if missing else ""


def date_parts(days: Array, parts: Sequence[str]) -> Array:
    """Returns parts of dates [B, P]; ``weekday`` counts from Monday = 0, ``hour`` has a fraction.

    >>> date_parts(np.array([0.75]), ("days", *DATE_PARTS)).tolist()
    [[0.75, 1970.0, 1.0, 1.0, 3.0, 18.0]]
    """
    whole = np.floor(days)
    day = whole.astype("datetime64[D]")
    month, year = day.astype("datetime64[M]"), day.astype("datetime64[Y]")
    found = {
        "days": days,
        "year": year.astype(np.int64) + 1970,
        "month": (month - year.astype("datetime64[M]")).astype(np.int64) + 1,
        "day": (day - month.astype("datetime64[D]")).astype(np.int64) + 1,
        "weekday": (whole + 3) % 7,
        "hour": (days - whole) * 24,
    }
    return np.stack([np.asarray(found[part], dtype=float) for part in parts], axis=1)


def _never_missing(column: str, gone: Array, instead: str) -> str:
    """Returns a remark if values are missing in a column that was complete in training."""
    if not gone.any():
        return ""
    return f"column {column!r}: missing in {int(gone.sum())} row(s), never in training; read as {instead}"


Input = Annotated[Number | Category | Date, Field(discriminator="kind")]
"""What one column of a table becomes."""
