"""The command of a way of training: its options, the job made from them, and doing it."""

from __future__ import annotations

import inspect
import sys
import time
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.help import PlainCommand
from netdial.cli.options import (
    DataDirOption,
    JsonOption,
    QuietOption,
    RunsDirOption,
    flags,
    fraction,
    taking,
    values,
)
from netdial.cli.output import console, data_json, left_out_line, print_json, print_table
from netdial.cli.progress import watching
from netdial.data.tables.options import TableOptions
from netdial.runs.run import Run

if TYPE_CHECKING:
    from pydantic import BaseModel

    from netdial.jobs.request import Job
    from netdial.jobs.ways import Answer, Way

_DATA_PANEL, _TABLES_PANEL, _TRAINING_PANEL = (
    "Data and network",
    "Tables (what is not given is found out, and said)",
    "Training (defaults in brackets; data sets have presets)",
)


def _about_data(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, show_default=False, rich_help_panel=_DATA_PANEL)


def about_job(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="{netdial.data.loading:names}, a table (.csv, .tsv, .parquet, .xlsx), "
            "or package.module:function, which returns (module, train, valid, test).",
        ),
    ],
    *,
    model: Annotated[
        str | None,
        _about_data("--model", "Network: {netdial.nets:names}; mlp takes widths: mlp:300-100."),
    ] = None,
    target: Annotated[str | None, _about_data("--target", "Column of a table to predict.")] = None,
    kind: Annotated[
        str | None, _about_data("--kind", "Task: {netdial.task:TASKS}; else as the target looks.")
    ] = None,
    data_dir: DataDirOption = None,
    valid: Annotated[
        str | None,
        _about_data("--valid", "Fraction of rows for validation, or a table that holds them."),
    ] = None,
    test: Annotated[
        str | None,
        _about_data("--test", "Fraction of rows for the test, or a table that holds them."),
    ] = None,
    split_seed: Annotated[
        int | None,
        _about_data("--split-seed", "Seed of the split. [default: 0]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(show_default=False, help="Name of the run; else that of the data.")
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run, if there is one.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an earlier run of that name, once this one has saved its first state.",
        ),
    ] = False,
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log",
            metavar="SINK",
            show_default=False,
            help="Send records there, too: {netdial.jobs.records.sinks:SINKS}; may be given twice.",
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stands for the options of every way of training; it is never called."""


_DATA_CHOICES = ("model", "target", "kind", "valid", "test", "split_seed")


def way_command(way: Way) -> Any:
    """Returns the command of a way of training: options on the job, on tables, and one for each of its settings."""
    shell = typer.Typer(add_completion=False, rich_markup_mode=None)
    hints = typing.get_type_hints(about_job, include_extras=True)
    about = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(about_job).parameters.values()
        if parameter.name != "model" or way.takes_model
    ]
    settings = [flag for part in reversed(way.settings) for flag in flags(part, _TRAINING_PANEL)]

    def command(**given: Any) -> None:
        job = _job(way, given)
        started = time.monotonic()
        run = work(job, quiet=given["quiet"])
        if run is not None:
            _show(run, way.headline(run), time.monotonic() - started, as_json=given["as_json"])

    whole = taking(command, [*about, *flags(TableOptions, _TABLES_PANEL), *settings])
    shell.command(way.name, cls=PlainCommand, help=way.help)(whole)
    return typer.main.get_command(shell)


def _show(run: Run, answer: Answer, seconds: float, *, as_json: bool) -> None:
    """Prints what came out of a run, for people or as JSON."""
    from netdial.report.text import units_sentence

    source = run.data_source()
    if as_json:
        about = {"run": str(run.path), "report": str(run.report_path), "seconds": round(seconds, 3)}
        print_json({**about, "config": run.config, **answer.json, **data_json(source)})
        return
    out = console()
    for table in answer.tables:
        print_table(out, table)
    several = (run.config.get("n_outputs") or 1) > 1
    units = units_sentence(run.config).strip() if several else ""
    for line in (*answer.lines, units, left_out_line(source)):
        if line:
            out.print(line, markup=False, soft_wrap=True)
    out.print(f"{run.path}: done in {seconds:.1f} s", markup=False)
    out.print(f"report: {run.report_path}", markup=False, soft_wrap=True)


def _job(way: Way, given: Mapping[str, Any]) -> Job:
    """Returns the job that the command line asks for; what was not given is None."""
    from netdial.jobs.request import Job

    choices = {key: given[key] for key in _DATA_CHOICES if key in given}
    choices |= {part: fraction(given[part]) for part in ("valid", "test")}
    parts: list[type[BaseModel]] = [TableOptions, *way.settings]
    for settings in parts:
        choices |= values(settings, {key: given[key] for key in settings.model_fields})
    return Job(
        given["data"],
        {key: value for key, value in choices.items() if value is not None},
        data_dir=given["data_dir"],
        name=given["name"],
        runs_dir=given["runs_dir"],
        resume=given["resume"],
        overwrite=given["overwrite"],
        name_of_way=way.name,
        log=tuple(given["log"] or ()),
    )


def work(job: Job, *, quiet: bool) -> Run | None:
    """Does a job with progress on stderr; on Ctrl-C says how to go on, and exits with 130."""
    from netdial.jobs.job import do_job
    from netdial.jobs.request import process_rank

    helper = process_rank() > 0
    try:
        with watching(quiet=quiet or helper) as watch:
            return do_job(job, watch)
    except KeyboardInterrupt as error:
        if not helper:
            print(f"netdial: {_stopped(error, job)}", file=sys.stderr)
        raise typer.Exit(130) from None


def _stopped(error: KeyboardInterrupt, job: Job) -> str:
    """Returns how a job was stopped, and how to go on with it."""
    from netdial.train.session import Interrupted

    if isinstance(error, Interrupted):
        return f"{error}, the state is saved; go on with: {job.again}"
    if str(error) or not job.path.exists():
        return str(error) or "interrupted"
    return f"interrupted; go on with: {job.again}"
