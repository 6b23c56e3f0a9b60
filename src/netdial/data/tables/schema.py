"""The schema of a table: how its columns become inputs and its target becomes classes or numbers, as a plain value.

It is learned from the training part, stored as JSON with runs and exported networks, and reads new rows exactly as the
training rows were read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from netdial.core.errors import DataError, ShapeError, some_of, warn
from netdial.core.storage.boundary import validated
from netdial.data.tables.columns.category import Category
from netdial.data.tables.columns.inputs import Input
from netdial.data.tables.columns.model import FrozenModel, LeftOut, some_texts
from netdial.data.tables.columns.number import Number
from netdial.data.tables.columns.stored import texts_of
from netdial.data.tables.columns.target import TargetColumns
from netdial.data.tables.files.frame import as_frame
from netdial.data.tables.files.headings import heading, repeated, unique_names
from netdial.data.tables.files.read import locate_table, read_table
from netdial.data.tables.options import TableOptions, foreign_options
from netdial.data.tables.words.texts import MISSING_WORDS, Array, other_spellings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Encoded:
    """Rows as a network takes them.

    Attributes:
        x: inputs, float32 [B, D].
        remarks: what was not seen in training and how it was read; a sentence for each column.
    """

    x: Tensor
    remarks: tuple[str, ...]


class TableSchema(FrozenModel):
    """How a table is read: its columns as inputs, its target, the columns left out, and how files are opened.

    ``Splits.schema`` holds that of the training part. It goes into files as JSON (``to_json``, ``from_json``) and is all
    that is needed to apply a network to new rows::

        schema = TableSchema.from_json(stored)
        frame = schema.read_file("new.csv")          # opened as the training file was; the target may be absent
        encoded = schema.encode_rows(frame)          # encoded.x: float32 [B, D]; encoded.remarks: unseen texts, …
        answers = schema.decode(network(encoded.x))  # class names, or numbers in the target's own units

    Attributes:
        inputs: columns that are inputs, in the order of the inputs.
        target: what is predicted.
        left_out: columns that are no inputs, and why.
        options: how files are opened.
        unread: columns that the network at hand does not read: new rows may be without them. They are no part of files, since
            the network tells them.
    """

    inputs: tuple[Input, ...]
    target: TargetColumns
    left_out: tuple[LeftOut, ...] = ()
    options: TableOptions = TableOptions()
    unread: tuple[str, ...] = Field(default=(), exclude=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the D inputs, in order."""
        return tuple(name for column in self.inputs for name in column.names)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that new rows must have."""
        return tuple(column.column for column in self.needed)

    @property
    def needed(self) -> tuple[Input, ...]:
        """Inputs whose columns new rows must have."""
        return tuple(column for column in self.inputs if column.column not in self.unread)

    def reading(self, inputs: Sequence[int] | None) -> TableSchema:
        """Returns the schema for a network that reads only some of the D inputs, by number; None for all."""
        if inputs is None:
            return self
        ends = np.cumsum([len(column.names) for column in self.inputs])
        read = np.searchsorted(ends, np.asarray(inputs, dtype=int), side="right").tolist()
        unread = tuple(c.column for at, c in enumerate(self.inputs) if at not in read)
        return self.model_copy(update={"unread": unread})

    def read_file(self, path: str | Path, data_dir: str | Path | None = None) -> pd.DataFrame:
        """Returns the rows of a file, opened as the training file was; it may be of another kind (Parquet for CSV).

        Raises:
            DataError: the file is not there, or damaged.
        """
        texts = [c.column for c in self.inputs if c.is_text]
        target = self.target
        for name, style in zip(target.columns, target.styles, strict=True):
            texts += [name] if target.kind == "classification" or style.thousands else []
        file = locate_table(path, data_dir)
        other = foreign_options(self.options, file.name)
        options = self.options.model_copy(update=dict.fromkeys(other))
        styles = {c.column: c.style for c in self.inputs if isinstance(c, Number)}
        if target.kind == "regression":
            styles |= zip(target.columns, target.styles, strict=True)
        usual = "," if any(style.decimal == "," for style in styles.values()) else "."
        table = read_table(file, options, texts, usual)
        self._refuse_other(table.frame, table.twice)
        for name in set(styles) & set(table.frame):
            if (own := styles[name].own(table.frame[name], name, table, options)) is not None:
                table.frame[name] = own
        return table.frame

    def encode_rows(self, frame: pd.DataFrame | Mapping[str, Sequence[Any]]) -> Encoded:
        """Returns rows as inputs, with remarks on what the training part did not hold.

        A text not seen in training gives zeros. A missing value where none was missing in training is replaced by the
        median (numbers), the mean (dates) or zeros (texts). Further columns are not looked at, nor are ``unread`` ones, whose
        inputs are 0.

        Raises:
            DataError: a column is not there, or a cell is no number or date where one is needed; infinity.
        """
        frame = self._frame(frame)
        absent = [column for column in self.columns if column not in frame.columns]
        if absent:
            alike = {str(name).strip().casefold(): name for name in frame.columns}
            meant = alike.get(absent[0].strip().casefold())
            hint = "" if meant is None else f"; {meant!r} is there: write headings as in training"
            raise DataError(
                f"{_columns(absent)} not in the table, whose columns are {some_of(frame.columns)}; the network needs "
                f"{some_of(self.columns)}{hint}"
            )
        x = np.zeros((len(frame), len(self.names)), dtype=np.float32)
        remarks, start = list[str](), 0
        for column in self.inputs:
            if column.column in self.unread:
                start += len(column.names)
                continue
            cells = frame[column.column]
            values = column.read(cells, self.options.na)
            encoded, remark = column.inputs(values)
            unlike = "" if isinstance(column, Category) else column.unlike(cells)
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
                x[:, start : start + encoded.shape[1]] = encoded
            large = ~np.isfinite(x[:, start : start + encoded.shape[1]]).all(axis=1)
            if large.any():
                row = int(large.argmax())
                raise DataError(
                    f"column {column.column!r}, row {row}: the number is too large for float32; give a smaller one"
                )
            start += encoded.shape[1]
            remarks += filter(None, [remark, unlike])
        return Encoded(torch.from_numpy(x), tuple(remarks))

    def encode(self, frame: pd.DataFrame | Mapping[str, Sequence[Any]]) -> Tensor:
        """Returns rows as inputs, float32 [B, D]; warns of what the training part did not hold (see ``encode_rows``)."""
        encoded = self.encode_rows(frame)
        if encoded.remarks:
            warn("; ".join(encoded.remarks))
        return encoded.x

    def has_target(self, frame: pd.DataFrame | Mapping[str, Sequence[Any]]) -> Array:
        """Returns which rows have a value in every target column, bool [B]."""
        known: Array = ~np.isnan(np.stack(self._targets(self._frame(frame)))).any(axis=0)
        return known

    def encode_target(self, frame: pd.DataFrame | Mapping[str, Sequence[Any]]) -> Tensor:
        """Returns targets: class indices int64 [B], or standardised numbers float32 [B, T]; see ``unlike_target``, too.

        Raises:
            DataError: a target column is not there, a value is missing, or it is no class of the training part.
        """
        frame, target = self._frame(frame), self.target
        values = np.stack(self._targets(frame), axis=1)
        gone = np.isnan(values).any(axis=1)
        if gone.any():
            row = int(gone.argmax())
            names = ", ".join(repr(name) for name in target.columns)
            raise DataError(
                f"the target {names} is missing in {int(gone.sum())} row(s), first in row {row} (counted from 0)"
            )
        if target.kind == "classification":
            return torch.from_numpy(values[:, 0].astype(np.int64))
        scaled = (values - np.asarray(target.mean)) / np.asarray(target.std)
        return torch.from_numpy(scaled.astype(np.float32))

    def _frame(self, rows: Any) -> pd.DataFrame:
        """Returns rows as a frame whose columns have the names that they have in a table for training."""
        frame = as_frame(rows)
        given = [heading(str(name)) for name in frame.columns]
        names = unique_names(given)
        frame = frame if names == list(frame.columns) else frame.set_axis(names, axis=1)
        self._refuse_other(frame, repeated(given))
        return frame

    def _refuse_other(self, frame: pd.DataFrame, twice: Collection[str]) -> None:
        """Refuses rows with several columns under one heading, of which training had one, if these differ."""
        used = {column.column for column in self.needed} | set(self.target.columns)
        known = used | {column.column for column in self.left_out}
        for name in sorted(used.intersection(twice)):
            again = [c for c in frame.columns if re.fullmatch(rf"{re.escape(name)}\.\d+", c)]
            if any(c not in known and not frame[c].equals(frame[name]) for c in again):
                raise DataError(
                    f"the heading {name!r} occurs more than once, with other values, and once in training; rename the others"
                )

    def _targets(self, frame: pd.DataFrame) -> list[Array]:
        """Returns the target columns as class indices or numbers, NaN where missing."""
        target = self.target
        absent = [column for column in target.columns if column not in frame.columns]
        if absent:
            raise DataError(f"the target {_columns(absent)} not in the table")
        if target.kind == "classification":
            return [self._classes(texts_of(frame[target.columns[0]], self.options.na))]
        named = zip(target.columns, target.styles, strict=True)
        return [style.read(frame[name], name, self.options.na) for name, style in named]

    def unlike_target(self, frame: pd.DataFrame | Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
        """Returns a remark on each target whose numbers have another mark than in training: with a % for none, and so on."""
        frame, target = self._frame(frame), self.target
        if target.kind == "classification":
            return ()
        named = zip(target.columns, target.styles, strict=True)
        said = (style.unlike(frame[name], f"the target {name!r}") for name, style in named)
        return tuple(filter(None, said))

    def _classes(self, texts: Array) -> Array:
        """Returns class indices as float64 [B], NaN where missing."""
        position: dict[str | None, float] = {None: np.nan}
        position |= {word: np.nan for word in texts if str(word).lower() in MISSING_WORDS}
        position |= {name: index for index, name in enumerate(self.target.classes)}
        meant = other_spellings(texts, self.target.classes)
        position |= {word: position[text] for word, text in meant.items()}
        for row, text in enumerate(texts):
            if text not in position:
                raise DataError(
                    f"the target {self.target.columns[0]!r} is {text!r} in row {row} (counted from 0); the classes are"
                    f" {', '.join(self.target.classes)}"
                )
        return np.asarray([position[text] for text in texts], dtype=float)

    def decode(self, outputs: Tensor) -> list[str] | Tensor:
        """Returns what outputs [B, K] of a network mean.

        Returns:
            For classification, the name of the class with the largest output, a list of B. For regression, numbers
            [B, T] in the units of the targets, of the type of the outputs.

        Raises:
            ShapeError: there is not one output for each class or target.
        """
        target = self.target
        if outputs.ndim != 2 or outputs.shape[1] != target.n_outputs:
            raise ShapeError(
                f"outputs of shape {list(outputs.shape)}; expected [B, {target.n_outputs}], one for each of"
                f" {', '.join(target.classes or target.columns)}"
            )
        if target.kind == "classification":
            return [target.classes[index] for index in outputs.argmax(1).tolist()]
        mean, std = (
            torch.tensor(v, dtype=outputs.dtype, device=outputs.device)
            for v in (target.mean, target.std)
        )
        return outputs * std + mean

    def to_json(self) -> dict[str, Any]:
        """Returns the schema as plain JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Any, where: object = "schema of a table") -> TableSchema:
        """Returns the schema that ``to_json`` wrote.

        Raises:
            CheckpointError: the value is something else; the message starts with ``where`` and names the first field that
                is wrong.
        """
        found: TableSchema = validated(cls, value, where)
        return found

    def describe(self) -> tuple[tuple[str, str, str], ...]:
        """Returns for each column its name, what it is (target, number, category, date, left out), and how it is read."""
        target = self.target
        whats = [
            "; ".join(filter(None, [target.kind, style.describe()])) for style in target.styles
        ]
        if target.classes:
            whats = [f"{target.kind}: {some_texts(target.classes)}"]
        return (
            *((name, "target", what) for name, what in zip(target.columns, whats, strict=True)),
            *((column.column, column.kind, column.describe()) for column in self.inputs),
            *((column.column, "left out", column.why) for column in self.left_out),
        )


def _columns(names: Sequence[str]) -> str:
    listed = some_of(map(repr, names))
    return f"column {listed} is" if len(names) == 1 else f"columns {listed} are"
