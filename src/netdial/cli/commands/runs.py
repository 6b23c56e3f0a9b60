"""``netdial list`` and ``netdial report``: what runs there are, and the report of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netdial.cli.options import JsonOption, RunsDirOption, run_folder

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.runs.listing import RunRow


_WORDS = {"best on validation": 10}
"""Widths of columns that keep their words whole."""
_PAGES = (".html", ".htm", "")
"""Endings of pages."""


def list_command(runs_dir: RunsDirOption = Path("runs"), as_json: JsonOption = False) -> None:
    """List the runs in a folder, with the best validation result of each."""
    from netdial.cli.output import console, print_json, print_table
    from netdial.jobs.reports import list_runs

    rows = list_runs(runs_dir)
    if as_json:
        print_json({"runs_dir": str(runs_dir), "runs": [asdict(row) for row in rows]})
        return
    if not rows:
        console().print(f"no runs in {runs_dir}; start with: netdial fit wine", markup=False)
        return
    print_table(console(), _runs_table(rows))


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folder, or the name of a run; several are compared on one page.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write; else report.html in the run folder, or compare.html in this folder.",
            show_default=False,
        ),
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Write the report of a run or a sweep again, from its records, or one page that compares several runs.

    With --out also while it is training.
    """
    from netdial.cli.output import console, print_json
    from netdial.core.arguments import refuse_twice
    from netdial.core.errors import unknown
    from netdial.core.storage.places import check_replaceable, free_path, starts_as
    from netdial.jobs.reports import write_comparison, write_report

    folders = [run_folder(run, runs_dir) for run in runs]
    refuse_twice("runs", [str(folder.resolve()) for folder in folders])
    if out is not None:
        if out.suffix.lower() not in _PAGES:
            raise unknown(f"ending of --out {out}:", out.suffix, [one for one in _PAGES if one])
        out = check_replaceable(out, "a page", starts_as("<!doctype html>"))
    if len(folders) == 1 and (folders[0] / "sweep.json").exists():
        from netdial.sweeps import open_sweep
        from netdial.sweeps.page import write_sweep_page

        path, told = write_sweep_page(open_sweep(folders[0]), out), {"run": str(folders[0])}
    elif len(folders) == 1:
        path, told = write_report(folders[0], out), {"run": str(folders[0])}
    else:
        path, told = write_comparison(folders, out or free_path(Path("compare.html"))), {}
    if as_json:
        print_json({**told, "runs": [str(folder) for folder in folders], "report": str(path)})
        return
    console().print(f"report: {path}", markup=False, soft_wrap=True)


def _runs_table(rows: Sequence[RunRow]) -> Table:
    """Returns a row for each run; sizes have a column where a network shrank, λ where there is a family."""
    from rich.table import Table

    from netdial.report.text import count, number
    from netdial.runs import FIRST_WAY

    sized = any(row.params for row in rows)
    dialled = any(row.best_lam is not None for row in rows)
    headings = ["run", "status", "data", "model", *(["parameters"] if sized else [])]
    headings += ["best on validation", *(["at λ"] if dialled else []), "started"]
    table = Table()
    for heading in headings:
        whole = heading in ("run", "parameters")
        table.add_column(heading, no_wrap=whole, overflow="fold", min_width=_WORDS.get(heading))
    for row in rows:
        size = "" if row.params is None else f"{count(row.params[0])} → {count(row.params[1])}"
        way = "" if row.way in (None, FIRST_WAY) else f"({row.way})"
        model = " ".join(word for word in (row.model, way) if word)
        lam = "" if row.best_lam is None else number(row.best_lam)
        started = (row.started or "").replace("T", " ")[:16]
        cells = [
            model,
            *([size] if sized else []),
            _best(row),
            *([lam] if dialled else []),
            started,
        ]
        table.add_row(row.name, row.problem or row.status, row.data, *cells)
    return table


def _best(row: RunRow) -> str:
    from netdial.report.text import MEASURES, percent, value_of

    if row.best is None or row.metric is None:
        return ""
    text = f"{MEASURES.get(row.metric, (row.metric, ''))[0]} {value_of(row.metric, row.best)}"
    return text if row.accuracy is None else f"{text}, {percent(row.accuracy)}"
