"""``netdial fit``: the flags are the fields of ``FitConfig``; the work is ``study.job``."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.options import DataDirOption, JsonOption, RunsDirOption, flags, values, with_flags
from netdial.cli.output import answer_line, console, members_table, print_json, rows_json
from netdial.cli.progress import watching
from netdial.config import FitConfig
from netdial.study.curves import Headline, headline, members
from netdial.study.run import Run

if TYPE_CHECKING:
    from netdial.study.job import Job

_DATA_PANEL, _TRAINING_PANEL = (
    "Data and network",
    "Training (defaults in brackets; data sets have presets)",
)

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="wine, digits, breast-cancer, diabetes, mnist, cifar10, a .csv or .parquet file, "
        "or package.module:function, which returns (module, train, valid, test).",
    ),
]


def _about_data(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, show_default=False, rich_help_panel=_DATA_PANEL)


def fit_command(help_text: str) -> Any:
    """Returns the command with all its options."""
    shell = typer.Typer(add_completion=False)
    command = with_flags(fit, flags(FitConfig, _TRAINING_PANEL))
    shell.command("fit", help=help_text)(command)
    return typer.main.get_command(shell)


def fit(
    data: DataArgument,
    *,
    model: Annotated[
        str | None,
        _about_data("--model", "linear, mlp:300-100, lenet5, cnn, vgg16-bn or resnet20."),
    ] = None,
    target: Annotated[str | None, _about_data("--target", "Column of a table to predict.")] = None,
    kind: Annotated[
        str | None, _about_data("--kind", "classification or regression; else as the target looks.")
    ] = None,
    data_dir: DataDirOption = None,
    valid: Annotated[
        float | None, _about_data("--valid", "Fraction of rows for validation.")
    ] = None,
    test: Annotated[float | None, _about_data("--test", "Fraction of rows for the test.")] = None,
    split_seed: Annotated[
        int | None,
        _about_data("--split-seed", "Seed of the split. [default: 0]".replace("[", "\\[")),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=0, show_default=False, help="Posterior draws of the final evaluation; 0 for none."
        ),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(min=1, show_default=False, help="Complexity values of the final curves."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(show_default=False, help="Name of the run; else that of the data.")
    ] = None,
    runs_dir: RunsDirOption = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run, if there is one.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete an earlier run of that name.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Trains a family and prints what became of it."""
    from netdial.study.job import Job

    choices = {
        "model": model,
        "target": target,
        "kind": kind,
        "valid": valid,
        "test": test,
        "split_seed": split_seed,
        "samples": samples,
        "points": points,
    }
    given = {key: value for key, value in choices.items() if value is not None}
    job = Job(
        data,
        {**given, **values(FitConfig, settings)},
        data_dir=data_dir,
        name=name,
        runs_dir=runs_dir,
        resume=resume,
        overwrite=overwrite,
    )
    started = time.monotonic()
    run = _work(job, quiet=quiet)
    if run is not None:
        _show(run, time.monotonic() - started, as_json=as_json)


def _work(job: Job, *, quiet: bool) -> Run | None:
    from netdial.report.page import write_report
    from netdial.study.job import fit_job, process_rank
    from netdial.train.loop import Interrupted

    helper = process_rank() > 0
    try:
        with watching(quiet=quiet or helper) as watch:
            return fit_job(job, watch, write_report)
    except KeyboardInterrupt as error:
        if not helper:
            state = (
                f"{error}, the state is saved" if isinstance(error, Interrupted) else "interrupted"
            )
            again = f"; go on with: {_resume_line(job)}" if job.path.exists() else ""
            print(f"netdial: {state}{again}", file=sys.stderr)
        raise typer.Exit(130) from None


def _resume_line(job: Job) -> str:
    """Returns the command that goes on with a job; its settings are in the run folder."""
    words = ["netdial", "fit", job.data]
    words += ["--name", job.name] if job.name is not None else []
    words += ["--runs-dir", str(job.runs_dir)] if job.runs_dir != Path("runs") else []
    return shlex.join([*words, "--resume"])


def _show(run: Run, seconds: float, *, as_json: bool) -> None:
    rows = members(run.records())
    answer = headline(rows, run.config)
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "report": str(run.report_path),
                "seconds": round(seconds, 3),
                "config": run.config,
                "headline": _headline_json(answer),
                "members": rows_json(rows),
            }
        )
        return
    out = console()
    out.print(members_table(rows, run.config["kind"], answer))
    out.print(answer_line(answer), markup=False, soft_wrap=True)
    out.print(f"{run.path}: done in {seconds:.1f} s", markup=False)
    out.print(f"report: {run.report_path}", markup=False, soft_wrap=True)


def _headline_json(answer: Headline | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    return {
        "metric": answer.metric,
        "lam": answer.best.lam,
        "value": answer.value,
        "standard_error": answer.standard_error,
        "simplest_lam": answer.simplest.lam if answer.simplest else None,
    }
