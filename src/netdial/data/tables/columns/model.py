"""What columns as inputs share: frozen values that JSON can hold, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from netdial.data.tables.words.texts import Array


class FrozenModel(BaseModel):
    """A frozen value that JSON can hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LeftOut(FrozenModel):
    """A column that is no input, and why."""

    column: str
    why: str


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


def marked(missing: bool) -> str:
    """Returns what is done about missing values, in words."""
    return "missing values are marked" if missing else ""


def never_missing(column: str, gone: Array, instead: str) -> str:
    """Returns a remark if values are missing in a column that was complete in training."""
    if not gone.any():
        return ""
    return f"column {column!r}: missing in {int(gone.sum())} row(s), never in training; read as {instead}"
