"""``netdial evaluate``: members of a trained family at any complexity values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netdial.cli.options import (
    DataDirOption,
    JsonOption,
    RunArgument,
    RunsDirOption,
    numbers,
    run_folder,
)
from netdial.core.errors import ConfigError, unknown

PARTS = ("valid", "test")


def evaluate(
    run: RunArgument,
    lams: Annotated[
        str | None,
        typer.Option("--lams", metavar="A,B,…", help="Complexity values.", show_default=False),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(min=1, help="Or how many, evenly over the range.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(metavar="valid|test", help="Part of the data.")] = "valid",
    samples: Annotated[
        int | None,
        typer.Option(min=0, help="Posterior draws; else as in training.", show_default=False),
    ] = None,
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Evaluate members of a run's family: accuracy, NLL, KL and effective parameters."""
    if lams is not None and points is not None:
        raise ConfigError("--lams and --points exclude each other; give one of them")
    if split not in PARTS:
        raise unknown("split", split, PARTS)
    values = numbers(lams, "--lams")
    from netdial.cli.output import console, members_table, print_json
    from netdial.study.curves import Member
    from netdial.study.job import check_lams, evaluate_run, open_family, open_task
    from netdial.study.run import Run

    folder = Run.open(run_folder(run, runs_dir))
    if values is not None:
        check_lams(folder, values)
    family = open_family(folder, data_dir)
    task = open_task(folder, data_dir)
    path = evaluate_run(folder, family, split, task, lams=values or points, n_samples=samples)
    if as_json:
        print_json(
            {"run": str(folder.path), "split": split, "kind": task.kind, "members": path.table()}
        )
        return
    alike = ("kl_bits", "effective_parameters", "n_params", "objective")
    rows = [
        Member(
            row["lam"],
            {k if k in alike else f"{split}/{k}": v for k, v in row.items() if k != "lam"},
        )
        for row in path.table()
    ]
    console().print(members_table(rows, task.kind, None, most=len(rows)))
