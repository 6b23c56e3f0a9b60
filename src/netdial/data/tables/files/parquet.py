"""Reads Parquet files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netdial.data._optional import require
from netdial.data.tables.files.frame import parsed

if TYPE_CHECKING:
    import pandas as pd


def read_parquet(path: Path, where: str) -> pd.DataFrame:
    """Returns a Parquet file; an index with a name is a column like others, one without is no column."""
    pandas = require("pandas", "reading a table")
    parquet = require("pyarrow.parquet", "reading Parquet")
    arrow = require("pyarrow", "reading Parquet")
    # with gaps they would be floats, of which long codes are alike
    whole = {arrow.int64(): pandas.Int64Dtype(), arrow.uint64(): pandas.UInt64Dtype()}

    def parse() -> pd.DataFrame:
        with parquet.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # texts that are no UTF-8 would fail later, anywhere
        given = table.column_names
        kept = [i for i, name in enumerate(given) if not re.fullmatch(r"__index_level_\d+__", name)]
        coded = _categorical(table.schema.pandas_metadata)
        frame: pd.DataFrame = (
            table.rename_columns([str(i) for i in range(len(given))])
            .select([str(i) for i in kept])
            .to_pandas(ignore_metadata=True, types_mapper=whole.get)
        )
        as_texts = {name: "category" for name in frame.columns if given[int(name)] in coded}
        return frame.astype(as_texts).set_axis([given[i] for i in kept], axis=1)

    frame: pd.DataFrame = parsed(parse, where)
    return frame


def _categorical(metadata: Any) -> set[str]:
    """Returns the columns that pandas wrote as categories; those of numbers come back as plain numbers otherwise."""
    columns = metadata.get("columns", ()) if isinstance(metadata, dict) else ()
    return {
        str(column.get("field_name"))
        for column in columns
        if isinstance(column, dict) and column.get("pandas_type") == "categorical"
    }
