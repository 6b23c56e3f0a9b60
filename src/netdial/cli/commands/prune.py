"""``netdial prune``: what the members of a run are worth without a share of their weights."""

from __future__ import annotations

from typing import Any

from netdial.cli.command import Parts, options_of
from netdial.cli.options import (
    AtRun,
    LamsOption,
    PointsOption,
    SplitOption,
    check_split,
    complexities,
    read,
)
from netdial.cli.places import to_write_in


def _parts() -> Parts:
    from netdial.jobs.analyses.pruned import SurfaceOptions
    from netdial.pruning.weights import Policy

    return {"What goes": (SurfaceOptions, Policy)}


@options_of(_parts)
def prune(
    at: AtRun,
    lams: LamsOption = None,
    points: PointsOption = None,
    split: SplitOption = "valid",
    **given: Any,
) -> None:
    """Prune all members of a run at once: what they are worth over complexity and share removed (channels: see slim)."""
    check_split(split)
    values = complexities(lams, points)
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.prune import best_table, surface_table
    from netdial.jobs.analyses.pruned import SurfaceOptions, prune_run
    from netdial.jobs.reports import write_report
    from netdial.pruning.weights import Policy

    options, policy = read(SurfaceOptions, given), read(Policy, given)
    folder = to_write_in(at.open())
    with folder.alone():
        family, task = at.family(folder, values)
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
            refit=options.refit,
            n_samples=options.samples,
        )
        report = write_report(folder.path)
    if at.as_json:
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
