"""Reads delimited text.

Only an empty cell is missing, and what the options name. What such words as NA mean depends on the column, and is decided
where columns are read (``columns/cells``).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netdial.core.errors import DataError
from netdial.data._optional import require
from netdial.data.tables.files.dialect import Dialect, find_dialect, separator_name
from netdial.data.tables.files.encoding import content_of, decode
from netdial.data.tables.files.frame import Table, parsed
from netdial.data.tables.files.headings import is_no_heading, renamed, repeated, unique_names
from netdial.data.tables.options import TableOptions
from netdial.data.tables.words.doubts import in_thousands
from netdial.data.tables.words.numbers import CODE, LONG

if TYPE_CHECKING:
    import pandas as pd


def read_text(
    path: Path, options: TableOptions, texts: Sequence[str], usual: str, where: str
) -> Table:
    """Returns a table of delimited text."""
    pandas = require("pandas", "reading a table")
    text, encoding = decode(content_of(path, where), options.encoding, where)
    if not text.strip():
        raise DataError(f"{where}: the file is empty; a table needs a header and rows")
    if hint := re.match(r'"?sep=(.)"?\r?\n', text, re.IGNORECASE):  # as Excel writes and reads it
        text = text[hint.end() :]
        options = options.model_copy(update={"sep": options.sep or hint[1]})
    dialect = find_dialect(text, path.name, options, usual)
    if dialect.long:
        raise DataError(
            f"{where}: damaged, or not a table with the separator {separator_name(dialect.sep)}:"
            f" {dialect.long} row(s) have more fields than the {len(dialect.header)} columns of the header, first row"
            f" {dialect.first_long} (counted from 0); mend these rows (a field that holds the separator needs quotes;"
            " no lines may stand above the header), or give --sep"
        )
    names = unique_names(dialect.header)

    def parse(types: Any, columns: Sequence[str] | None = None) -> pd.DataFrame:
        found: pd.DataFrame = pandas.read_csv(
            io.StringIO(text),
            sep=r"\s+" if dialect.sep == " " else dialect.sep,
            header=0,
            names=names,
            usecols=columns,
            index_col=False,
            decimal=dialect.decimal,
            keep_default_na=False,
            na_values=["", *options.na],
            skipinitialspace=dialect.sep != "\t",
            low_memory=False,
            dtype=types,
        )
        return found

    as_texts = {name: str for name in (*texts, *options.categorical) if name in names}
    frame = parsed(lambda: parse(as_texts or None), where)
    for name, written in kept_texts(frame, parse, text, dialect, options):
        frame[name] = written
    return Table(
        frame,
        decimal=dialect.decimal,
        sep=dialect.sep,
        unnamed=frozenset(
            name for name, given in zip(names, dialect.header, strict=True) if is_no_heading(given)
        ),
        twice=repeated(dialect.header),
        remarks=tuple(_text_remarks(dialect, encoding, options, names)),
    )


def _text_remarks(
    dialect: Any, encoding: str, options: TableOptions, names: Sequence[str]
) -> list[str]:
    """Returns what was found out about a text file and is not what most files are."""
    said = []
    if dialect.sep != "," and options.sep is None:
        said.append(f"columns are separated by {separator_name(dialect.sep)} (--sep)")
    if dialect.decimal != "." and options.decimal is None:
        said.append("numbers have a decimal comma (--decimal)")
    if not encoding.startswith("utf-8") and options.encoding is None:
        said.append(f"the text is read as {encoding} (--encoding)")
    if dialect.short:
        said.append(
            f"{dialect.short} row(s) have fewer fields than the header; the missing ones are read as empty"
        )
    said += renamed(dialect.header, names)
    return said


def kept_texts(
    frame: pd.DataFrame,
    parse: Callable[[Any, Sequence[str]], pd.DataFrame],
    text: str,
    dialect: Dialect,
    options: TableOptions,
) -> Iterator[tuple[str, pd.Series[Any]]]:
    """Yields columns that were read as numbers, as they are written, where numbers do not say what they hold.

    Such are codes with a 0 in front, whole numbers that are too long for a float, and 1.234 where it may be a thousand.

    Args:
        frame: The table.
        parse: Reads given columns of it again, as a type.
        text: The file.
        dialect: How it is written.
        options: What the caller knows already.
    """
    numeric = [str(name) for name in frame.select_dtypes("number").columns]
    asked = (
        dialect.sep != "," and dialect.decimal == "." and not (options.decimal or options.thousands)
    )
    pointed = [name for name in numeric if asked and _may_be_thousands(frame[name])]
    codes = rf'["\s{re.escape(dialect.sep)}](0\d|\d{{16}})'
    doubted = numeric if re.search(codes, text) else pointed
    again = parse(str, doubted) if doubted else frame
    for name in doubted:
        written = again[name]
        code = LONG if frame[name].dtype.kind == "f" else CODE
        if written.str.fullmatch(code).eq(True).any() or (
            name in pointed and in_thousands(written)
        ):
            yield name, written


def _may_be_thousands(column: pd.Series[Any]) -> bool:
    """Returns whether numbers are below 1000, and fractions, of three places, above 1: those may be thousands."""
    known = abs((column.dropna() if column.dtype.kind == "f" else column[:0]).to_numpy())
    if len(known) == 0 or known.max() >= 1000:
        return False
    thousandths = (known * 1000).round(6)
    return not (thousandths % 1).any() and bool((known[thousandths % 1000 != 0] > 1).all())
