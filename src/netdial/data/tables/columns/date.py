"""A column of dates as inputs.

Shape legend: B rows, P parts of dates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from netdial.data.tables.columns.model import FrozenModel, marked, never_missing
from netdial.data.tables.columns.new import days_of
from netdial.data.tables.options import TableOptions
from netdial.data.tables.words.dates import find_order, year_last
from netdial.data.tables.words.texts import Array

if TYPE_CHECKING:
    import pandas as pd

DATE_PARTS = ("year", "month", "day", "weekday", "hour")


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
        return "; ".join(word for word in (how, self.order, marked(self.missing)) if word)

    def read(self, column: pd.Series[Any], na: Sequence[str]) -> Array:
        """Returns a column as days since 1970-01-01 [B], NaN where missing; raises DataError at what is no date."""
        return days_of(column, self.column, self.order, na)

    def unlike(self, column: pd.Series[Any]) -> str:
        """Returns a remark if new cells look as if another of day and month came first than in training."""
        if self.order is None or column.dtype.kind in "biufM":
            return ""
        texts = (word.strip() for word in column.unique() if isinstance(word, str))
        words = [word for word in texts if year_last([word])]
        if find_order(words, TableOptions()) in (None, self.order):
            return ""
        return f"column {self.column!r}: {words[0]!r} is read {self.order}, as dates of training; write it as 2024-12-31"

    def inputs(self, values: Array) -> tuple[Array, str]:
        """Returns inputs [B, P] of days [B], and a remark if something was not seen in training."""
        gone = np.isnan(values)
        raw = date_parts(np.where(gone, 0.0, values), self.parts)
        scaled = (raw - np.asarray(self.mean)) / np.asarray(self.std)
        scaled[gone] = 0
        if self.missing:
            return np.column_stack([scaled, gone]), ""
        return scaled, never_missing(self.column, gone, "the mean date")


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
