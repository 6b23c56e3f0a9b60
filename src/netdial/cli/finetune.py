"""``netdial finetune``: trains one member further at its own λ, pruning it in rounds if asked to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.export import SUFFIXES
from netdial.cli.options import (
    DataDirOption,
    JsonOption,
    RunArgument,
    RunsDirOption,
    TrustOption,
    run_folder,
)
from netdial.core.errors import ConfigError, unknown

if TYPE_CHECKING:
    from rich.table import Table

_PRUNING = "Pruning"


def finetune(
    run: RunArgument,
    lam: Annotated[float, typer.Option(help="Complexity value.", show_default=False)],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data, in every round.")] = 1,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    objective: Annotated[
        str | None,
        typer.Option(
            help="Objective: {netdial.objective:OBJECTIVES}; else that of the run.",
            show_default=False,
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            help="Share to remove, in [0, 1).", show_default=False, rich_help_panel=_PRUNING
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Times to prune and train.", rich_help_panel=_PRUNING)
    ] = 3,
    schedule: Annotated[
        str,
        typer.Option(
            help="Course of the share: {netdial.pruning.weights.retrain:RISES}.",
            rich_help_panel=_PRUNING,
        ),
    ] = "cubic",
    start: Annotated[
        str,
        typer.Option(help="Weights to go on from: previous or random.", rich_help_panel=_PRUNING),
    ] = "previous",
    criterion: Annotated[
        str | None,
        typer.Option(
            help="What goes first: {netdial.pruning.weights:CRITERIA}; else density, or magnitude for points.",
            show_default=False,
            rich_help_panel=_PRUNING,
        ),
    ] = None,
    per_layer: Annotated[
        bool,
        typer.Option(
            "--per-layer", help="The same share of every layer.", rich_help_panel=_PRUNING
        ),
    ] = False,
    format: Annotated[
        str, typer.Option(metavar="|".join(SUFFIXES), help="Format of the file.")
    ] = "safetensors",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write; else RUN-lamX-tuned in this folder.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train one member further, pruning it in rounds if asked to, and write it as an ordinary network."""
    if format not in SUFFIXES:
        raise unknown("export format", format, SUFFIXES)
    if share is not None and not 0 <= share < 1:
        raise ConfigError(f"--share {share:g}: expected a share in [0, 1)")
    from netdial.cli.output import console, print_json, print_table
    from netdial.fitting import finetune as train_on
    from netdial.jobs.opening import example_input, open_run
    from netdial.jobs.problem import describe_net
    from netdial.measure import evaluate
    from netdial.models.member import save_member
    from netdial.models.use import use_of
    from netdial.pruning.weights import Policy, retrain
    from netdial.runs.run import Run

    folder = Run.open(run_folder(run, runs_dir))
    family, task = open_run(folder, data_dir, [lam], trust=trust)
    settings: dict[str, Any] = {
        "epochs": epochs, "lr": lr, "kind": task.kind, "seed": folder.config["seed"],
        "objective": objective or folder.config["objective"],
        "batch_size": folder.config["batch_size"],
    }  # fmt: skip
    if share is None:
        stages = [(0.0, family), (0.0, train_on(family, lam, task.train, **settings))]
    else:
        done = retrain(
            family, lam, task.train, share=share, rounds=rounds, schedule=schedule, start=start,  # type: ignore[arg-type]
            criterion=criterion, policy=Policy("layer" if per_layer else "global"), **settings,
        )  # fmt: skip
        stages = [(0.0, family), *((stage.share, stage.family) for stage in done)]
    rows = []
    for removed, member in stages:
        kept = member.n_params if member.kept is None else int(member.kept.sum())
        (found,) = evaluate(member, task.valid, lams=[lam], kind=task.kind).members
        rows.append({"share": removed, "parameters": kept, **found.metrics})
    path = out or Path(f"{folder.name}-lam{lam:g}-tuned{SUFFIXES[format]}")
    meta = {"run": folder.name, "data": folder.config["data"], **describe_net(folder)}
    meta |= use_of(task, stages[-1][1], lams=[lam]).alone(lam).to_json()
    written = save_member(stages[-1][1], lam, path, format, example_input(folder), meta=meta)
    if as_json:
        print_json({"run": str(folder.path), "lam": lam, "path": str(written.path), "stages": rows})
        return
    print_table(console(), _table(rows, task.kind))
    console().print(f"{written.path}: {written.size_bytes} bytes", markup=False, soft_wrap=True)


def _table(rows: list[dict[str, float]], kind: str) -> Table:
    from rich.table import Table

    from netdial.report.text import count, fixed, percent

    metric, title, show = (
        ("rmse", "valid RMSE", fixed)
        if kind == "regression"
        else ("accuracy", "valid acc.", percent)
    )
    table = Table("", "removed", "parameters", title, "valid NLL", header_style="bold")
    for number, row in enumerate(rows):
        label = "as it is" if number == 0 else f"round {number}"
        table.add_row(
            label,
            percent(row["share"]),
            count(row["parameters"]),
            show(row[metric]),
            fixed(row["nll"]),
        )
    return table
