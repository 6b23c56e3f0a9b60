"""What commands print: one JSON object for programs, short tables for people."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table

from netdial.core.best import PREDICTIVE
from netdial.core.files import finite
from netdial.report.text import count, fixed, number, percent, value_of, worth
from netdial.runs.curves import Headline, Member, deciding, is_worse

_WIDTH, _TEXT = 100, 32
"""Columns of output that is not a terminal; from how many characters on a text is wrapped where space is short."""


def print_json(value: dict[str, Any]) -> None:
    """Prints one JSON object; numbers that JSON cannot hold become null."""
    print(json.dumps(finite(value), indent=2, ensure_ascii=False))


def console() -> Console:
    """Returns the console for results; where it is not a terminal, as wide as COLUMNS says, or 100 columns."""
    plain = Console(highlight=False)
    if plain.is_terminal:
        return plain
    return Console(highlight=False, width=int(os.environ.get("COLUMNS") or _WIDTH))


def print_table(screen: Console, table: Table) -> None:
    """Prints a table whole: where it is too wide, in blocks of columns, each with the labels of the first column."""
    widths = [_needed(column) for column in table.columns]
    blocks, block, used = [], [0], widths[0] + 1
    for index, width in enumerate(widths[1:], start=1):
        if used + width > screen.width and len(block) > 1:
            blocks.append(block)
            block, used = [0], widths[0] + 1
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


def members_table(
    rows: Sequence[Member],
    kind: str,
    answer: Headline | None,
    *,
    constant: dict[str, float] | None = None,
    most: int = 7,
) -> Table:
    """Returns members along λ, about ``most`` and the chosen ones among them; absent columns are left out.

    Args:
        rows: the members.
        kind: name of the task.
        answer: the answer of the run; its members are marked.
        constant: what a constant is worth, record name -> value; it has the last row, and what is worse is marked.
        most: rows at most, beside those marked by the answer.
    """
    metric, title, show = (
        ("rmse", "RMSE", fixed) if kind == "regression" else ("accuracy", "acc.", percent)
    )
    columns = [
        (f"valid/{metric}", f"valid {title}", show),
        (f"test/{metric}", f"test {title}", show),
        ("valid/nll", "valid NLL", fixed),
        ("test/nll", "test NLL", fixed),
        ("kl_bits", "KL, bits", count),
        ("effective_parameters", "eff. params", count),
    ]
    recorded = {name for row in rows for name in row.values}
    columns = [column for column in columns if column[0] in recorded]
    table = Table(header_style="bold")
    table.add_column(
        "λ", justify="right", min_width=max((len(number(row.lam)) for row in rows), default=1)
    )
    for heading in (*(title for _, title, _ in columns), ""):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=not heading)
    for row in _thinned(rows, answer, most):
        cells = [show(row.values.get(name)) for name, _, show in columns]
        marks = [*_marks(row, answer), *_worse(row, kind, constant or {})]
        table.add_row(number(row.lam), *cells, ", ".join(marks))
    if constant:
        table.add_section()
        table.add_row("–", *(show(constant.get(name)) for name, _, show in columns), "a constant")
    return table


def answer_line(answer: Headline | None) -> str:
    """Returns the answer of a run in a sentence, and on further lines what should be known about it."""
    if answer is None:
        return "nothing was measured on validation data, so no member is named"
    what = worth(answer.best, answer.metric)
    lines = [f"best on validation data: λ = {number(answer.best.lam)} ({what})"]
    if answer.simplest is not None:
        lines[0] += f"; simplest within one standard error: λ = {number(answer.simplest.lam)}"
    if answer.using == PREDICTIVE:
        averaged = answer.best.values[f"{answer.metric}_predictive"]
        lines.append(
            f"averaged over the posterior (predictive) that member has {value_of(answer.metric, averaged)}; "
            "what is exported is the network of mean weights"
        )
    return "\n".join([*lines, *answer.remarks])


def rows_json(rows: Sequence[Member]) -> list[dict[str, float]]:
    """Returns members as flat objects."""
    return [{"lam": row.lam, **row.values} for row in rows]


def _worse(row: Member, kind: str, constant: dict[str, float]) -> list[str]:
    for split in ("valid", "test"):
        metric = deciding([row], {"kind": kind}, split)
        if metric is not None:
            return ["worse than a constant"] if is_worse(row, constant, metric) else []
    return []


def _marks(row: Member, answer: Headline | None) -> list[str]:
    if answer is None:
        return []
    marks = ["best"] if row.lam == answer.best.lam else []
    if answer.simplest is not None and row.lam == answer.simplest.lam:
        marks.append("1 s.e.")
    return marks


def _thinned(rows: Sequence[Member], answer: Headline | None, most: int) -> list[Member]:
    """Returns at most ``most`` rows spread evenly, and those that the answer names."""
    if len(rows) <= most:
        return list(rows)
    kept = {round(i * (len(rows) - 1) / (most - 1)) for i in range(most)}
    named = (
        {answer.best.lam, *([answer.simplest.lam] if answer.simplest else [])} if answer else set()
    )
    return [row for index, row in enumerate(rows) if index in kept or row.lam in named]
