"""``netdial reproduce``: an experiment of the papers, by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netdial.cli.options import DataDirOption, JsonOption, QuietOption

if TYPE_CHECKING:
    from netdial.jobs.pool import Made
    from netdial.papers.lab.outcome import Outcome


def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Experiment; without one, the list of them."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small version.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="The paper's size, where the usual one is smaller.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="How many starts; else as in the paper.", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Another data set than the paper's.", show_default=False)
    ] = None,
    data_dir: DataDirOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder of the results; else runs/reproduce/NAME.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes, one thread each; 0 for one on every core.")
    ] = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Repeat an experiment of the papers: tables against the published figures, and plots."""
    from netdial.papers import EXPERIMENTS, folder_of, perform

    if name is None:
        _list(EXPERIMENTS, as_json=as_json)
        return
    folder = out or folder_of(name, quick=quick)
    try:
        outcome = perform(
            name,
            folder=folder,
            quick=quick,
            full=full,
            seeds=seeds,
            data=data,
            data_dir=data_dir,
            workers=workers,
            report=None if quiet else _say,
        )
    except KeyboardInterrupt:
        print(
            f"netdial: interrupted; what is done is kept in {folder}: the same command goes on",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    _show(outcome, folder, as_json=as_json)


def _list(experiments: dict[str, str], *, as_json: bool) -> None:
    from rich.table import Table

    from netdial.cli.output import console, print_json, print_table

    if as_json:
        print_json({"experiments": experiments})
        return
    table = Table("experiment", "what it repeats", header_style="bold")
    for name, what in experiments.items():
        table.add_row(name, what)
    print_table(console(), table)


def _say(made: Made) -> None:
    print(made, file=sys.stderr, flush=True)


def _show(outcome: Outcome, folder: Path, *, as_json: bool) -> None:
    from rich.table import Table

    from netdial.cli.output import console, print_json, print_table
    from netdial.papers.lab.page import PAGE, RESULT

    if as_json:
        print_json({"folder": str(folder), **outcome.to_json()})
        return
    screen = console()
    for found in outcome.tables:
        table = Table(
            title=found.title, title_style="bold", header_style="bold", caption=found.note
        )
        for place, heading in enumerate(found.columns):
            words = place == 0 or place in found.of_words
            table.add_column(
                heading, justify="left" if words else "right", no_wrap=not words, overflow="fold"
            )
        for row in found.rows:
            table.add_row(*row)
        print_table(screen, table)
    for line in (outcome.lead, *outcome.notes):
        screen.print(line, markup=False, soft_wrap=True)
    screen.print(f"results: {folder / RESULT}", markup=False, soft_wrap=True)
    screen.print(f"page: {folder / PAGE}", markup=False, soft_wrap=True)
