"""Reads sheets of Excel workbooks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from netdial.core.errors import missing_extra, unknown
from netdial.data._optional import require
from netdial.data.tables.files.frame import Table, named, parsed
from netdial.data.tables.files.headings import is_no_heading
from netdial.data.tables.options import TableOptions

if TYPE_CHECKING:
    import pandas as pd


def read_excel(path: Path, options: TableOptions, where: str) -> Table:
    """Returns a sheet of a workbook, from the first row on that is not empty; the others are named in the remarks."""
    pandas = require("pandas", "reading a table")
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise missing_extra("reading Excel files (openpyxl)", "excel") from error
    with parsed(lambda: pandas.ExcelFile(path, engine="openpyxl"), where) as book:
        sheets = [str(name) for name in book.sheet_names]
        if options.sheet is not None and options.sheet not in sheets:
            raise unknown(f"sheet of {path.name}", options.sheet, sheets)
        sheet = options.sheet or sheets[0]

        def parse(skip: int) -> pd.DataFrame:
            frame: pd.DataFrame = pandas.read_excel(
                book,
                sheet_name=sheet,
                skiprows=skip,
                keep_default_na=False,
                na_values=["", *options.na],
                dtype=object,  # a cell of text stays one: 01 is a code, 1.234 may be a thousand
            )
            return frame

        frame = parsed(lambda: parse(0), where)
        filled = frame.notna().any(axis=1)
        if all(is_no_heading(str(name)) for name in frame.columns) and filled.any():
            frame = parsed(lambda: parse(1 + int(filled.to_numpy().argmax())), where)
    others = [name for name in sheets if name != sheet]
    table = named(frame)
    if not others or options.sheet is not None:
        return table
    return replace(
        table,
        remarks=(
            f"sheet {sheet!r} is read (--sheet); others are {', '.join(map(repr, others))}",
            *table.remarks,
        ),
    )
