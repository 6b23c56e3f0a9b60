"""``netdial finetune``: trains one member further at its own λ, pruning it in rounds if asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from netdial.cli.command import Parts, options_of
from netdial.cli.commands.export import SUFFIXES, FormatOption, format_of, written_to
from netdial.cli.options import (
    AtRun,
    out_option,
    read,
)
from netdial.cli.places import member_of


def _parts() -> Parts:
    from netdial.jobs.analyses.tuned import RoundOptions, TuningOptions
    from netdial.pruning.weights import Policy

    return {"Training": (TuningOptions,), "Pruning": (RoundOptions, Policy)}


@options_of(_parts)
def finetune(
    at: AtRun,
    lam: Annotated[float | None, typer.Option(help="Complexity value.", show_default=False)] = None,
    format: FormatOption = None,
    out: Annotated[
        Path | None, out_option("File to write; else RUN-lamX-tuned in this folder")
    ] = None,
    **given: Any,
) -> None:
    """Train one member further, pruning it in rounds if asked to, and write it as an ordinary network."""
    format = format_of(format, out)
    from netdial.cli.output import console, file_size, print_json, print_table
    from netdial.cli.tables.finetune import stages_table
    from netdial.jobs.analyses.tuned import RoundOptions, TuningOptions, tune_run
    from netdial.jobs.opening import example_input
    from netdial.jobs.problem import describe_net, origin_of
    from netdial.models.member import save_member
    from netdial.models.use import use_of
    from netdial.pruning.weights import Policy

    tuning, rounds = read(TuningOptions, given), read(RoundOptions, given)
    policy = read(Policy, given)
    folder = at.open()
    lam = member_of(folder, lam)
    family, task = at.family(folder, [lam])
    path = written_to(
        out, f"{folder.name}-lam{lam:g}-tuned{SUFFIXES[format]}", format, [folder.path]
    )
    member, rows = tune_run(folder, family, task, lam, tuning, rounds, policy)
    meta = {"run": folder.name, **origin_of(folder), **describe_net(folder)}
    meta |= use_of(task, member, lams=[lam]).alone(lam).to_json()
    written = save_member(member, lam, path, format, example_input(folder), meta=meta)
    if at.as_json:
        print_json({"run": str(folder.path), "lam": lam, "path": str(written.path), "stages": rows})
        return
    print_table(console(), stages_table(rows, task.kind))
    console().print(
        f"{written.path}: {file_size(written.path, written.size_bytes)}",
        markup=False,
        soft_wrap=True,
    )
