"""``netdial slim``: a member of a run, or one network, without its least important channels, as a smaller network."""

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
from netdial.cli.places import DataOption, to_write_in

if TYPE_CHECKING:
    from netdial.jobs.analyses.slimmed import SlimResult


def _parts() -> Parts:
    from netdial.jobs.analyses.slimming import Slimming
    from netdial.pruning.channels import Limits, Options

    return {"How much": (Slimming,), "Which channels": (Options, Limits)}


@options_of(_parts)
def slim(
    at: AtRun,
    data: DataOption = None,
    out: Annotated[
        Path | None, out_option("File to write; else NAME-lamX-small.safetensors in this folder")
    ] = None,
    split: SplitOption = "valid",
    **given: Any,
) -> None:
    """Cut whole channels of a trained member or network, at once or in rounds of training; write the smaller network."""
    check_split(split)
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.slim import latency_rows, stages_table, widths_table
    from netdial.jobs.analyses.slimmed import slim_model
    from netdial.jobs.analyses.slimmed_run import slim_run
    from netdial.jobs.analyses.slimming import Slimming
    from netdial.jobs.analyses.subjects import from_file, from_run
    from netdial.jobs.reports import write_report
    from netdial.models.kinds import is_model
    from netdial.pruning.channels import Limits, Options

    asked = read(Slimming, given)
    options = replace(read(Options, given), limits=read(Limits, given))
    where, source = {"model": at.run}, Path(at.run)
    if is_model(source):
        subject = from_file(source, data, asked.lam, at.data_dir)
        found = slim_model(subject, split, asked, options, source, out)
    else:
        folder = at.open()
        with folder.alone():
            subject = from_run(folder, asked.lam, at.data_dir, trust=at.trust)
            if subject.lam is not None:
                found = slim_run(to_write_in(folder), subject, split, asked, options, out)
                where = {"run": str(folder.path), "report": str(write_report(folder.path))}
            else:
                found = slim_model(subject, split, asked, options, folder.path, out)
    kind = subject.data.kind
    if at.as_json:
        print_json({**where, "split": split, "kind": kind, **_answer(found)})
        return
    screen = console()
    print_table(screen, widths_table(found))
    for table in found.pruned.tables:
        print_table(screen, latency_rows(table))
    print_table(screen, stages_table(found, split, kind))
    if found.pruned.refitted:
        words = f"refit to make up for what went: {', '.join(found.pruned.refitted)}"
        screen.print(words, markup=False, soft_wrap=True)
    if (left := found.pruned.inputs) is not None:
        names = "" if found.columns is None else f": {', '.join(found.columns)}"
        words = f"reads {len(left)} of {math.prod(subject.data.input_shape)} inputs{names}"
        screen.print(words, markup=False, soft_wrap=True)
    lam = "" if found.lam is None else f", λ = {found.lam:g}"
    files = [
        f"{stage.path}: {stage.costs['params']:.0f} parameters{lam}"
        for stage in found.stages
        if stage.path is not None
    ]
    files += [f"report: {where['report']}"] if "report" in where else []
    screen.print("\n".join(files), markup=False, soft_wrap=True)


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
