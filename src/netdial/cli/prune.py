"""``netdial prune``: what the members of a run are worth without a share of their weights, or one without its channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    numbers,
    run_folder,
)
from netdial.core.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.jobs.structured import Outcome
    from netdial.pruning.channels import LatencyTable
    from netdial.pruning.weights import Surface

_POLICY = "What goes"
_CHANNELS = "Whole channels, cut for good (--structured)"


def prune(
    run: RunArgument,
    shares: Annotated[
        str | None,
        typer.Option(
            "--shares",
            metavar="A,B,…",
            help="Shares to remove; else 0,0.1,…,0.9,0.95.",
            show_default=False,
        ),
    ] = None,
    lams: LamsOption = None,
    points: PointsOption = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="What goes first: {netdial.pruning.weights:CRITERIA}; else density, or magnitude for points.",
            show_default=False,
            rich_help_panel=_POLICY,
        ),
    ] = None,
    per_layer: Annotated[
        bool,
        typer.Option("--per-layer", help="The same share of every layer.", rich_help_panel=_POLICY),
    ] = False,
    biases: Annotated[
        bool, typer.Option("--biases", help="Biases may go too.", rich_help_panel=_POLICY)
    ] = False,
    rows: Annotated[
        bool,
        typer.Option("--rows", help="Whole rows and channels.", rich_help_panel=_POLICY),
    ] = False,
    no_fold: Annotated[
        bool,
        typer.Option(
            "--no-fold",
            help="Do not fold weights of constant inputs into biases.",
            rich_help_panel=_POLICY,
        ),
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(min=0, help="Posterior draws; else as in training.", show_default=False),
    ] = None,
    structured: Annotated[
        bool,
        typer.Option(
            "--structured",
            help="Prune whole channels of one member and write the smaller network.",
            rich_help_panel=_CHANNELS,
        ),
    ] = False,
    lam: Annotated[
        float | None,
        typer.Option(
            help="Complexity value; else that of the best member on validation data.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            help="Share of the channels to remove, in (0, 1); 0.5 unless --target is given.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Size to arrive at: '20k params', '1M macs', '80 KB', '0.4 ms'.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(
            metavar="channel|params|macs",
            help="Weigh importance by what a channel saves.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Channels that every group keeps; else 1.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    round_: Annotated[
        bool,
        typer.Option("--round", help="Round widths by measured time.", rich_help_panel=_CHANNELS),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Times to prune and train; else once.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the data in every round; else none, or 1 with --rounds.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate of that training; else 1e-3.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write; else RUN-lamX-small.safetensors in this folder.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    split: SplitOption = "valid",
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prune all members of a run at once: what they are worth over complexity and share removed."""
    check_split(split)
    _check_ways(
        structured,
        {"--shares": shares, "--lams": lams, "--points": points, "--biases": biases, "--rows": rows,
         "--samples": samples},
        {"--lam": lam, "--share": share, "--target": target, "--per": per, "--minimum": minimum,
         "--round": round_, "--rounds": rounds, "--epochs": epochs, "--lr": lr, "--out": output},
    )  # fmt: skip
    if structured:
        _prune_channels(
            run_folder(run, runs_dir), data_dir, split, trust=trust, lam=lam, share=share, target=target,
            choice={"criterion": criterion, "scope": "layer" if per_layer else "global", "per": per or "channel",
                    "minimum": minimum or 1, "emission": "drop" if no_fold else "fold", "by_time": round_},
            rounds=rounds, epochs=epochs, lr=lr, output=output, as_json=as_json,
        )  # fmt: skip
        return
    values = complexities(lams, points)
    removed = numbers(shares, "--shares")
    from netdial.cli.output import console, print_json, print_table
    from netdial.jobs.opening import open_run
    from netdial.jobs.pruned import prune_run
    from netdial.jobs.reports import write_report
    from netdial.pruning.weights import SHARES, Policy
    from netdial.pruning.weights.masks import check_shares
    from netdial.runs.run import Run

    wanted = SHARES if removed is None else removed
    check_shares(wanted)
    folder = Run.open(run_folder(run, runs_dir))
    with folder.alone():
        family, task = open_run(folder, data_dir, values, trust=trust)
        found = prune_run(
            folder,
            family,
            task,
            split,
            lams=values or points,
            shares=wanted,
            criterion=criterion,
            policy=Policy(scope="layer" if per_layer else "global", biases=biases, rows=rows),
            fold=not no_fold,
            n_samples=samples,
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


def _check_ways(structured: bool, weights: dict[str, Any], channels: dict[str, Any]) -> None:
    """Refuses options of the way of pruning that was not asked for.

    Raises:
        ConfigError: there is one.
    """
    for name, value in (weights if structured else channels).items():
        if value is not None and value is not False:
            raise ConfigError(
                f"{name} is about single weights of all members; leave it out, or leave out --structured"
                if structured
                else f"{name} is about whole channels of one member; add --structured, or leave it out"
            )


def _prune_channels(
    path: Path,
    data_dir: str | None,
    split: str,
    *,
    trust: bool,
    lam: float | None,
    share: float | None,
    target: str | None,
    choice: dict[str, Any],
    rounds: int | None,
    epochs: int | None,
    lr: float | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Prunes whole channels of one member, writes the smaller network and prints what it is worth."""
    if share is None and target is None:
        share = 0.5
    if lr is not None and rounds is None and epochs is None:
        raise ConfigError("--lr is about training after pruning; add --epochs, or leave it out")
    from netdial.cli.output import console, print_json, print_table
    from netdial.jobs.opening import open_run
    from netdial.jobs.reports import write_report
    from netdial.jobs.structured import best_lam, prune_channels
    from netdial.pruning.channels import Limits, Options, Rounding
    from netdial.runs.run import Run

    folder = Run.open(path)
    with folder.alone():
        family, task = open_run(folder, data_dir, None if lam is None else [lam], trust=trust)
        lam = best_lam(folder) if lam is None else lam
        options = Options(
            choice["criterion"], Limits(choice["scope"], choice["minimum"]), choice["per"],
            emission=choice["emission"], rounding=Rounding() if choice["by_time"] else None,
            kind=task.kind, seed=folder.config["seed"],
        )  # fmt: skip
        training = None
        if rounds is not None or epochs is not None:
            training = {
                "epochs": epochs or 1,
                "lr": lr or 1e-3,
                "batch_size": folder.config["batch_size"],
            }
        found = prune_channels(
            folder, family, task, split, lam=lam, share=share, target=target, options=options,
            rounds=rounds or 1, training=training, path=output,
        )  # fmt: skip
        report = write_report(folder.path)
    if as_json:
        where = {"run": str(folder.path), "report": str(report)}
        print_json({**where, "split": split, "kind": task.kind, **_channels_json(found)})
        return
    out = console()
    print_table(out, widths_table(found))
    for table in found.pruned.tables:
        print_table(out, latency_rows(table))
    print_table(out, stages_table(found, split, task.kind))
    out.print(
        f"{found.path}: {found.pruned.n_params} parameters, λ = {found.lam:g}\nreport: {report}",
        markup=False,
        soft_wrap=True,
    )


def _channels_json(found: Outcome) -> dict[str, Any]:
    return {
        "lam": found.lam,
        "criterion": found.pruned.criterion,
        "path": str(found.path),
        "groups": [vars(row) for row in found.pruned.rows],
        "means_over": found.pruned.n_measured,
        "latency": [asdict(table) for table in found.pruned.tables],
        "stages": [vars(stage) for stage in found.stages],
    }


def widths_table(found: Outcome) -> Table:
    """Returns the channels of each group before and after."""
    from rich.table import Table

    from netdial.report.text import percent

    title = f"Channels by {found.pruned.criterion}"
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("group", "before", "after", "left", "what they sent"):
        table.add_column(
            heading, justify="left" if heading in ("group", "what they sent") else "right"
        )
    for row in found.pruned.rows:
        cells = (str(row.before), str(row.after), percent(row.after / row.before, 0))
        table.add_row(row.group, *cells, row.sent)
    return table


def latency_rows(found: LatencyTable) -> Table:
    """Returns the widths of one group that were measured."""
    from rich.table import Table

    title = f"Time of the layers around {found.group}, batch {found.batch}"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("width", justify="right")
    for width in found.widths:
        table.add_column(str(width), justify="right")
    table.add_row("ms", *(f"{ms:.3g}" for ms in found.ms))
    return table


def stages_table(found: Outcome, split: str, kind: str) -> Table:
    """Returns what the network is worth and costs, before and after."""
    from rich.table import Table

    from netdial.report.text import count

    title, show = _metric("rmse" if kind == "regression" else "accuracy")
    table = Table(title="Before and after", title_justify="left", header_style="bold")
    table.add_column("")
    headings = (f"{split} {title}", "params", "MACs", "bytes", "ms, batch 1", "ms, batch 64")
    for heading in headings:
        table.add_column(heading, justify="right")
    for stage in found.stages:
        costs = [stage.costs.get(name) for name in ("params", "macs", "bytes")]
        times = [stage.costs.get(name) for name in ("ms_1", "ms_64")]
        table.add_row(
            stage.label,
            show(stage.metrics["rmse" if kind == "regression" else "accuracy"]),
            *("" if cost is None else count(cost) for cost in costs),
            *("" if ms is None else f"{ms:.3g}" for ms in times),
        )
    return table


def best_table(found: Surface, split: str, size: int) -> Table:
    """Returns the best member at each share.

    Args:
        found: the surface.
        split: part of the data that it was measured on.
        size: numbers of a whole member.
    """
    from rich.table import Table

    from netdial.report.text import count, number, percent

    names = list(dict.fromkeys([found.metric, *found.metrics]))
    table = Table(title="Best member at each share", title_justify="left", header_style="bold")
    for heading in ("removed", "left", "best λ"):
        table.add_column(heading, justify="right")
    for name in names:
        table.add_column(f"{split} {_metric(name)[0]}", justify="right")
        if name in found.predictive:
            table.add_column("predictive", justify="right")
    table.add_column("")
    worse = found.is_worse_than_constant()
    for best in found.best():
        row, place = found.lams.index(best.lam), found.shares.index(best.share)
        cells = [
            percent(best.share, _places(best.share)),
            count(size - int(found.removed[row, place])),
            number(best.lam),
        ]
        for name in names:
            values = [found.metrics[name], found.predictive.get(name)]
            cells += [_metric(name)[1](float(v[row, place])) for v in values if v is not None]
        table.add_row(*cells, "worse than a constant" if bool(worse[row, place]) else "")
    if found.constant:
        table.add_section()
        cells = ["–", "–", "–"]
        for name in names:
            value = found.constant.get(name)
            cells.append("–" if value is None else _metric(name)[1](value))
            cells += ["–"] if name in found.predictive else []
        table.add_row(*cells, "a constant")
    return table


def surface_table(found: Surface, split: str) -> Table:
    """Returns the metric over complexity (rows) and share removed (columns), the best of each column in bold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from netdial.report.text import number, percent

    metric = next(iter(found.metrics))
    title, show = _metric(metric)
    best = {found.shares.index(one.share): found.lams.index(one.lam) for one in found.best()}
    table = Table(
        title=f"{split.capitalize()} {title} by share removed",
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
    )
    table.add_column("λ", justify="right")
    for share in found.shares:
        table.add_column(percent(share, _places(share)), justify="right", no_wrap=True)
    for row, lam in enumerate(found.lams):
        cells = [show(float(value)) for value in found.metrics[metric][row]]
        marked = [
            f"[bold]{cell}[/bold]" if best.get(place) == row else cell
            for place, cell in enumerate(cells)
        ]
        table.add_row(number(lam), *marked)
    return table


def _metric(name: str) -> tuple[str, Callable[[float], str]]:
    """Returns the heading of a metric and how its values are written."""
    from netdial.report.text import fixed, percent

    known = {"rmse": ("RMSE", fixed), "nll": ("NLL", fixed)}
    return known.get(name, (name, percent))


def _places(share: float) -> int:
    """Returns how many decimal places a share has as a percentage."""
    return 0 if round(100 * share) == round(100 * share, 6) else 1
