"""``netdial prune``: what the members of a run are worth without a share of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netdial.cli.command import Parts, options_of
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
    read,
    run_folder,
)


def _parts() -> Parts:
    from netdial.jobs.analyses.pruned import SurfaceOptions
    from netdial.pruning.weights import Policy

    return {"What goes": (SurfaceOptions, Policy)}


@options_of(_parts)
def prune(
    run: RunArgument,
    lams: LamsOption = None,
    points: PointsOption = None,
    split: SplitOption = "valid",
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    trust: TrustOption = False,
    as_json: JsonOption = False,
    **given: Any,
) -> None:
    """Prune all members of a run at once: what they are worth over complexity and share removed (channels: see slim)."""
    check_split(split)
    values = complexities(lams, points)
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.prune import best_table, surface_table
    from netdial.jobs.analyses.pruned import SurfaceOptions, prune_run
    from netdial.jobs.opening import open_run
    from netdial.jobs.reports import write_report
    from netdial.pruning.weights import Policy
    from netdial.runs.run import Run

    options, policy = read(SurfaceOptions, given), read(Policy, given)
    folder = Run.open(run_folder(run, runs_dir))
    with folder.alone():
        family, task = open_run(folder, data_dir, values, trust=trust)
        found = prune_run(
            folder,
            family,
            task,
            split,
            lams=values or points,
            shares=options.shares,
            criterion=options.criterion,
            policy=policy,
            fold=options.fold,
            n_samples=options.samples,
        )
        report = write_report(folder.path)
    if as_json:
        print_json(
            {
                "run": str(folder.path),
                "split": split,
                "kind": task.kind,
                "metric": found.metric,
                "best": [vars(best) for best in found.best()],
                "constant": found.constant,
                "surface": found.table(),
                "report": str(report),
            }
        )
        return
    out = console()
    print_table(out, best_table(found, split, family.layout.size))
    print_table(out, surface_table(found, split))
    out.print(f"report: {report}")
