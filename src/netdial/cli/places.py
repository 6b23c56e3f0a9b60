"""Where a model is that a command names: a file, a folder, or a run by its name; and which member of a run is meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from netdial.runs.run import Run

DataOption = Annotated[
    str | None,
    typer.Option(
        help="Data set of a model in a file; else what the file says.", show_default=False
    ),
]

_MOST = 8
"""Runs that are named where none of the name asked for is there."""


def to_write_in(run: Run) -> Run:
    """Returns a run that a command will write to when its work is done.

    Raises:
        WriteError: it is read-only.
    """
    from netdial.core.storage.files import check_writable

    check_writable(run.records_path)
    return run


def model_place(model: str, runs_dir: Path) -> Path:
    """Returns the path of a model, given as a path or as the name of a run.

    Raises:
        CheckpointError: neither is there, or it is a sweep; says where was looked and what there is.
    """
    from netdial.core.errors import CheckpointError

    for path in (Path(model), runs_dir / model):
        if (path / "sweep.json").is_file():
            raise CheckpointError(_sweep(path))
        if path.exists():
            return path
    if (runs_dir / "sweeps" / model / "sweep.json").is_file():
        raise CheckpointError(_sweep(runs_dir / "sweeps" / model))
    raise CheckpointError(
        f"{model}: there is no such file, folder or run; looked for {Path(model)} and {runs_dir / model}; {_there(runs_dir)}"
    )


def member_of(folder: Run, lam: float | None) -> float:
    """Returns λ of the member that a command was asked for.

    Raises:
        ConfigError: the run has no family, or none was asked for; names the best.
    """
    from netdial.core.errors import ConfigError
    from netdial.jobs.opening import check_lams
    from netdial.runs.curves import headline, members

    check_lams(folder, [] if lam is None else [lam])
    if lam is not None:
        return lam
    best = headline(members(folder.records()), folder.config)
    which = (
        "a λ of its range"
        if best is None
        else f"--lam {best.best.lam:.4g} is the best on validation data"
    )
    raise ConfigError(f"{folder.path}: which member? Give --lam; {which}")


def _there(runs_dir: Path) -> str:
    """Returns which runs there are, in words."""
    found = sorted(path.parent.name for path in runs_dir.glob("[!.]*/config.json"))
    if not found:
        return f"{runs_dir} holds no runs, --runs-dir names another folder"
    more = f" and {len(found) - _MOST} more (netdial list)" if len(found) > _MOST else ""
    return f"runs in {runs_dir}: {', '.join(found[:_MOST])}{more}"


def _sweep(path: Path) -> str:
    """Returns that a folder holds many runs, and which of them is best."""
    from netdial.core.errors import NetdialError
    from netdial.sweeps import open_sweep

    try:
        best = f"; the best trial is {open_sweep(path).best().run}"
    except NetdialError:
        best = ""
    return (
        f"{path}: is a sweep, many runs; name one of them{best} (netdial report {path} shows all)"
    )
