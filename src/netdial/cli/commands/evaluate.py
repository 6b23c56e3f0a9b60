"""``netdial evaluate``: members of a trained family at any complexity values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netdial.cli.options import (
    DataDirOption,
    JsonOption,
    LamsOption,
    PointsOption,
    RunArgument,
    RunsDirOption,
    SplitOption,
    TrustOption,
    check_split,
    complexities,
    run_folder,
)


def evaluate(
    run: RunArgument,
    lams: LamsOption = None,
    points: PointsOption = None,
    split: SplitOption = "valid",
    samples: Annotated[
        int | None,
        typer.Option(min=0, help="Posterior draws; else as in training.", show_default=False),
    ] = None,
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Evaluate members of a run's family (mean weights, and the posterior predictive): accuracy, NLL, KL and more."""
    values = complexities(lams, points)
    check_split(split)
    from netdial.cli.output import console, print_json, print_table
    from netdial.jobs.opening import evaluate_run, open_run
    from netdial.report.tables import members_table
    from netdial.runs.curves import MemberRow
    from netdial.runs.run import Run

    folder = Run.open(run_folder(run, runs_dir))
    family, task = open_run(folder, data_dir, values, trust=trust)
    path = evaluate_run(folder, family, split, task, lams=values or points, n_samples=samples)
    if as_json:
        print_json(
            {
                "run": str(folder.path),
                "split": split,
                "kind": task.kind,
                "members": path.table(),
                "constant": path.constant,
            }
        )
        return
    alike = ("kl_bits", "effective_parameters", "n_params", "objective")
    rows = [
        MemberRow(
            row["lam"],
            {k if k in alike else f"{split}/{k}": v for k, v in row.items() if k != "lam"},
        )
        for row in path.table()
    ]
    constant = {f"{split}/{name}": value for name, value in path.constant.items()}
    table = members_table(rows, folder.config, None, constant=constant, most=len(rows))
    print_table(console(), table)
