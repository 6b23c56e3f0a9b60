"""``netdial slim``: one member of a run without its least important channels, as a smaller network."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from netdial.cli.command import Parts, options_of
from netdial.cli.options import (
    AtRun,
    SplitOption,
    check_split,
    out_option,
    read,
)

if TYPE_CHECKING:
    from netdial.jobs.analyses.slimmed import SlimResult


def _parts() -> Parts:
    from netdial.jobs.analyses.slimming import Slimming
    from netdial.pruning.channels import Limits, Options

    return {"How much": (Slimming,), "Which channels": (Options, Limits)}


@options_of(_parts)
def slim(
    at: AtRun,
    out: Annotated[
        Path | None, out_option("File to write; else RUN-lamX-small.safetensors in this folder")
    ] = None,
    split: SplitOption = "valid",
    **given: Any,
) -> None:
    """Cut whole channels of a trained member, in one shot or in rounds of training, and write the smaller network."""
    check_split(split)
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.slim import latency_rows, stages_table, widths_table
    from netdial.jobs.analyses.slimmed import slim_run
    from netdial.jobs.analyses.slimming import Slimming
    from netdial.jobs.reports import write_report
    from netdial.pruning.channels import Limits, Options

    asked = read(Slimming, given)
    options = replace(read(Options, given), limits=read(Limits, given))
    folder = at.open()
    with folder.alone():
        lams = None if asked.lam is None else [asked.lam]
        family, task = at.family(folder, lams)
        found = slim_run(folder, family, task, split, asked, options, path=out)
        report = write_report(folder.path)
    if at.as_json:
        where = {"run": str(folder.path), "report": str(report)}
        print_json({**where, "split": split, "kind": task.kind, **_answer(found)})
        return
    screen = console()
    print_table(screen, widths_table(found))
    for table in found.pruned.tables:
        print_table(screen, latency_rows(table))
    print_table(screen, stages_table(found, split, task.kind))
    if found.pruned.refitted:
        words = f"refit to make up for what went: {', '.join(found.pruned.refitted)}"
        screen.print(words, markup=False, soft_wrap=True)
    if (left := found.pruned.inputs) is not None:
        names = "" if found.columns is None else f": {', '.join(found.columns)}"
        words = f"reads {len(left)} of {math.prod(task.input_shape)} inputs{names}"
        screen.print(words, markup=False, soft_wrap=True)
    files = [
        f"{stage.path}: {stage.costs['params']:.0f} parameters, λ = {found.lam:g}"
        for stage in found.stages
        if stage.path is not None
    ]
    screen.print("\n".join([*files, f"report: {report}"]), markup=False, soft_wrap=True)


def _answer(found: SlimResult) -> dict[str, Any]:
    """Returns what was done as plain values."""
    return {
        "lam": found.lam,
        "criterion": found.pruned.criterion,
        "path": str(found.path),
        "inputs": found.pruned.inputs,
        "columns": found.columns,
        "groups": [vars(row) for row in found.pruned.rows],
        "means_over": found.pruned.n_measured,
        "refitted": found.pruned.refitted,
        "latency": [asdict(table) for table in found.pruned.tables],
        "stages": [stage.to_json() for stage in found.stages],
    }
