"""``netdial inspect``: what a file is, and what the bytes of a compressed network are for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.options import JsonOption, RunsDirOption
from netdial.cli.places import model_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

_PARTS = ("positions", "symbols", "tables", "exact", "framing", "total")


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A file, a folder, or the name of a run.", show_default=False
        ),
    ],
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Say what a file is, and what the bytes of a compressed network are for."""
    path = model_place(model, runs_dir)
    from netdial.cli.output import console, print_json, print_table
    from netdial.models.door import inspect as found_in

    found = found_in(path)
    if as_json:
        print_json(
            {
                "model": str(found.path),
                "kind": found.kind,
                "summary": found.summary,
                "opens": found.opens,
                "digests": found.digests,
                "facts": dict(found.facts),
                "about": dict(found.about),
            }
        )
        return
    screen = console()
    screen.print(str(found), markup=False, soft_wrap=True)
    if "ledger" in found.facts:
        print_table(screen, _layers(found.facts))
        parts = ", ".join(f"{name} {size}" for name, size in found.facts["ledger"].items())
        screen.print(f"{found.facts['size_bytes']} bytes: {parts}", soft_wrap=True)


def _layers(facts: Mapping[str, Any]) -> Table:
    """Returns the table of bytes by tensor."""
    from rich.table import Table

    table = Table(title="bytes")
    table.add_column("tensor", no_wrap=True)
    for column in ("shape", "coder", *_PARTS):
        table.add_column(column, justify="right")
    for row in facts["layers"]:
        shape = " × ".join(map(str, row["shape"])) or "1"
        table.add_row(row["name"], shape, row["coder"], *(str(row[part]) for part in _PARTS))
    return table
