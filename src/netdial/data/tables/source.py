"""Where a table comes from, a file or a frame in memory; and parts that come from a source of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError
from netdial.core.storage.files import write_atomic
from netdial.data._optional import require
from netdial.data.dataset import PARTS, Dataset
from netdial.data.folder import fingerprints
from netdial.data.tables.columns.stored import texts_of
from netdial.data.tables.files.frame import Frame, Table, as_frame, named
from netdial.data.tables.files.read import locate_table, read_table
from netdial.data.tables.options import TableOptions, foreign_options
from netdial.data.tables.parts import row_weights, times_of
from netdial.data.tables.schema import TableSchema
from netdial.data.tables.words.texts import Array

if TYPE_CHECKING:
    import pandas as pd

FRAME = "frame"
"""Name of data that is a frame in memory."""

Share = float | str | Path | Frame
"""A fraction of the rows, or a part of its own: a file or a frame."""


@dataclass(frozen=True, eq=False)
class Source:
    """A table as it is given.

    Attributes:
        name: of the file, or ``FRAME``.
        given: the file, or the frame, whose named index stands as a column behind the others, as in Parquet.
    """

    name: str
    given: Path | pd.DataFrame

    @property
    def where(self) -> str:
        """What it is, for messages."""
        return f"data {self.name!r}" if isinstance(self.given, Path) else "data of a frame"

    @property
    def said(self) -> str:
        """What provenance says of it: the path of a file."""
        return str(self.given) if isinstance(self.given, Path) else self.name

    def read(self, options: TableOptions) -> Table:
        """Returns the table.

        Raises:
            ConfigError: an option is about files, or about files of another kind.
            DataError: it is damaged, or no table.
        """
        if isinstance(self.given, Path):
            return read_table(self.given, options)
        if foreign := foreign_options(options, self.name):
            raise ConfigError(
                f"{self.where}: {' and '.join(foreign)}: how a file is written; leave it out"
            )
        return named(self.given)

    def rows(self, schema: TableSchema) -> pd.DataFrame:
        """Returns its rows, opened as the training part was."""
        if isinstance(self.given, Path):
            return schema.read_file(self.given)
        return named(self.given).frame

    def fingerprint(self) -> dict[str, str | int]:
        """Returns name, bytes and SHA-256 of what it holds."""
        if isinstance(self.given, Path):
            return fingerprints([self.given])[0]
        found = hashlib.sha256()
        for place, name in enumerate(self.given.columns):
            kind = _kind_of(self.given.iloc[:, place])
            found.update(f"{name}{kind}\n".encode("utf-8", "surrogatepass"))
            found.update(_hashed(self.given.iloc[:, place]).to_numpy().tobytes())
        size = int(self.given.memory_usage(deep=True).sum())
        return {"name": self.name, "bytes": size, "sha256": found.hexdigest()}


def _kind_of(column: pd.Series[Any]) -> str:
    """Returns the type of a column whose cells are hashed as those of other types are: categories, truth values, dates."""
    pandas = require("pandas", "reading a table")
    alike = isinstance(column.dtype, pandas.CategoricalDtype) or column.dtype.kind in "bmM"
    return f" {column.dtype.name}" if alike else ""


def _hashed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Returns a number for each cell, equal for equal ones."""
    pandas = require("pandas", "reading a table")
    try:
        found: pd.Series[Any] = pandas.util.hash_pandas_object(column, index=False)
    except TypeError:  # lists and the like, which columns are refused for later
        found = pandas.util.hash_pandas_object(column.astype(str), index=False)
    return found


def source_of(given: str | Path | Frame, data_dir: str | Path | None) -> Source:
    """Returns a table that is given as a file, also looked for in the data folder, or as a frame.

    Raises:
        DataError: the file is not there.
    """
    if isinstance(given, str | Path):
        path = locate_table(given, data_dir)
        return Source(path.name, path)
    return Source(FRAME, as_frame(given).reset_index(drop=True))


def kept_as_file(given: str | Path | Frame, folder: Path) -> str:
    """Returns the name of a table: a frame is written into a folder, as Parquet, under what its bytes say.

    Raises:
        ConfigError: it is no frame.
        DataError: a column cannot be written.
        WriteError: the disk refused it.
    """
    if isinstance(given, str | Path):
        return str(given)
    require("pyarrow", "keeping a frame")
    source = source_of(given, None)
    frame = source.given
    path = folder / f"{FRAME}-{str(source.fingerprint()['sha256'])[:16]}.parquet"
    assert not isinstance(frame, Path)

    def write(to: Path) -> None:
        try:
            frame.to_parquet(to, index=False)
        except (ValueError, TypeError) as error:
            raise DataError(f"data of a frame: {error}; make each column of one kind") from None

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, write)
    return str(path.absolute())


def own_part(
    source: Source, schema: TableSchema, where: str
) -> tuple[Dataset, Tensor, tuple[str, ...]]:
    """Returns a part that has a source of its own, its row numbers, and what was not seen in training."""
    frame = source.rows(schema)
    try:
        if schema.options.drop_missing_target:
            frame = frame[schema.has_target(frame)]
        encoded = schema.encode_rows(frame)
        weight = row_weights(frame, np.arange(len(frame)), schema.options, source.where)
        part = Dataset(encoded.x, schema.encode_target(frame), weight=weight)
    except DataError as error:
        raise DataError(f"{source.where}, to be used with {where}: {error}") from None
    remarks = (*encoded.remarks, *schema.unlike_target(frame))
    return part, torch.from_numpy(frame.index.to_numpy(dtype=np.int64).copy()), remarks


def check_apart(
    table: Table, splits: Mapping[str, Tensor], own: Mapping[str, Source], schema: TableSchema
) -> None:
    """Refuses files of their own that share a group with another part, or lie before it in time."""
    options = schema.options
    name = options.group_column or options.time_column
    if not own or name is None:
        return
    found: dict[str, Array] = {}
    for part in PARTS:
        frame = own[part].rows(schema) if part in own else table.frame
        if name not in frame.columns:
            raise DataError(f"{own[part].where}: no column {name!r}")
        if options.time_column is not None:
            cells = times_of(frame[name], name, table, options, f"data, {part} part")
        else:
            cells = texts_of(frame[name], options.na)
        found[part] = cells if part in own else cells[splits[part].numpy()]
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        one, two = found[first], found[second]
        if options.group_column and (both := set(one.tolist()) & set(two.tolist())):
            raise DataError(
                f"group {sorted(map(str, both))[0]!r} of {name!r} is in both the {first} and the {second} part"
            )
        if options.time_column and len(one) and len(two) and one.max() > two.min():
            raise DataError(
                f"some rows of the {second} part lie before rows of the {first} part by {name!r}; training must come"
                " before validation, and that before test"
            )


def rows_text(source: Source, own: Mapping[str, Source]) -> str:
    """Returns what row numbers of the splits count."""
    file = isinstance(source.given, Path)
    text = "rows of the file, counted from 0 after the header" if file else "rows, counted from 0"
    parts = [f"{part}: rows of {one.name}" for part, one in own.items()]
    return "; ".join([text if not parts else f"{text} ({source.name})", *parts])
