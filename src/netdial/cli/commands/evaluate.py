"""``netdial evaluate``: members of a trained family at any complexity values."""

from __future__ import annotations

from typing import Annotated

import typer

from netdial.cli.command import options_of
from netdial.cli.options import (
    AtRun,
    LamsOption,
    PointsOption,
    SplitOption,
    check_split,
    complexities,
)


@options_of(dict)
def evaluate(
    at: AtRun,
    lams: LamsOption = None,
    points: PointsOption = None,
    split: SplitOption = "valid",
    samples: Annotated[
        int | None,
        typer.Option(min=0, help="Posterior draws; else as in training.", show_default=False),
    ] = None,
) -> None:
    """Evaluate members of a run's family (mean weights, and the posterior predictive): accuracy, NLL, KL and more."""
    values = complexities(lams, points)
    check_split(split)
    from netdial.cli.output import console, print_json, print_table
    from netdial.jobs.opening import evaluate_run
    from netdial.report.tables import members_table
    from netdial.runs.curves import MemberRow

    folder = at.open()
    family, task = at.family(folder, values)
    path = evaluate_run(folder, family, split, task, lams=values or points, n_samples=samples)
    if at.as_json:
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
    rows = [MemberRow(member.lam, member.curve_values(split)) for member in path.members]
    constant = {f"{split}/{name}": value for name, value in path.constant.items()}
    table = members_table(rows, folder.config, None, constant=constant, most=len(rows))
    print_table(console(), table)
