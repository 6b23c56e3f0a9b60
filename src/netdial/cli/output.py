"""What commands print: one JSON object for programs, short tables for people."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

from netdial.core.storage.files import finite

_WIDTH, _TEXT = 100, 32
"""Columns of output that is not a terminal; from how many characters on a text is wrapped where space is short."""


def print_json(value: dict[str, Any]) -> None:
    """Prints one JSON object; numbers that JSON cannot hold become null."""
    print(json.dumps(finite(value), indent=2, ensure_ascii=False))


def file_size(path: Path, size: int) -> str:
    """Returns the size of what was written, and which file beside the one that is named has a part in it."""
    alone = not path.is_file() or path.stat().st_size == size
    beside = "" if alone else f" with {path.with_suffix('.json').name}"
    return f"{size} bytes{beside}"


def console() -> Console:
    """Returns the console for results; where it is not a terminal, as wide as COLUMNS says, or 100 columns."""
    plain = Console(highlight=False)
    if plain.is_terminal:
        return plain
    return Console(highlight=False, width=int(os.environ.get("COLUMNS") or _WIDTH))


def print_table(screen: Console, table: Table, labels: int = 1) -> None:
    """Prints a table whole: where it is too wide, in blocks of columns, each with the first columns, which are labels."""
    widths = [_needed(column) for column in table.columns]
    names, wide = list(range(labels)), sum(widths[:labels]) + 1
    blocks, block, used = [], names[:], wide
    for index, width in enumerate(widths[labels:], start=labels):
        if used + width > screen.width and len(block) > labels:
            blocks.append(block)
            block, used = names[:], wide
        block.append(index)
        used += width
    for chosen in [*blocks, block]:
        screen.print(_columns(table, chosen))


def _needed(column: Column) -> int:
    """Returns the width that a column needs with its edge and padding; long texts may be wrapped."""
    lines = [line for cell in (column.header, *column.cells) for line in str(cell).splitlines()]
    whole = max(map(cell_len, lines), default=0)
    if column.no_wrap or whole <= _TEXT:
        return whole + 3
    return max(_TEXT, max(cell_len(word) for line in lines for word in line.split())) + 3


def _columns(table: Table, block: Sequence[int]) -> Table:
    """Returns a table with some of the columns, none narrower than it needs to be."""
    part = Table(
        title=table.title,
        title_justify=table.title_justify,
        header_style=table.header_style,
        box=table.box,
    )
    for index in block:
        column = table.columns[index]
        part.add_column(
            column.header,
            justify=column.justify,
            no_wrap=column.no_wrap,
            min_width=_needed(column) - 3,
        )
    rows = zip(*(table.columns[index].cells for index in block), strict=True)
    for row, whole in zip(rows, table.rows, strict=True):
        part.add_row(*row, style=whole.style, end_section=whole.end_section)
    return part


def data_json(source: dict[str, Any]) -> dict[str, Any]:
    """Returns how a table was read: its columns, and what was found out; nothing for other data."""
    if "columns" not in source:
        return {}
    return {"columns": source["columns"], "notes": source.get("notes", [])}


def left_out_line(source: dict[str, Any]) -> str:
    """Returns which columns of a table are no inputs, "" if all are or the data are no table."""
    found = source.get("left_out")
    if not isinstance(found, dict) or not found:
        return ""
    return "columns left out: " + "; ".join(f"{name} ({why})" for name, why in found.items())
