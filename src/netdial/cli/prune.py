"""``netdial prune``: what the members of a run are worth without a share of their weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netdial.cli.options import (
    DataDirOption,
    JsonOption,
    LamsOption,
    PointsOption,
    RunArgument,
    RunsDirOption,
    SplitOption,
    check_split,
    complexities,
    numbers,
    run_folder,
)

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.pruning import Surface

_POLICY = "What goes"


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
            help="What goes first: density, magnitude, taylor, obd-ggn, …; else density, or magnitude for points.",
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
    split: SplitOption = "valid",
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Prune all members of a run at once: what they are worth over complexity and share removed."""
    values = complexities(lams, points)
    check_split(split)
    removed = numbers(shares, "--shares")
    from netdial.cli.output import console, print_json
    from netdial.pruning import Policy
    from netdial.pruning.masks import check_shares
    from netdial.report.page import write_report
    from netdial.study.job import open_run
    from netdial.study.pruned import SHARES, prune_run
    from netdial.study.run import Run

    wanted = SHARES if removed is None else removed
    check_shares(wanted)
    folder = Run.open(run_folder(run, runs_dir))
    family, task = open_run(folder, data_dir, values)
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
                "best": [vars(best) for best in found.best()],
                "surface": found.table(),
                "report": str(report),
            }
        )
        return
    out = console()
    out.print(best_table(found, split, family.layout.size))
    out.print(surface_table(found, split))
    out.print(f"report: {report}")


def best_table(found: Surface, split: str, size: int) -> Table:
    """Returns the best member at each share.

    Args:
        found: the surface.
        split: part of the data that it was measured on.
        size: numbers of a whole member.
    """
    from rich.table import Table

    from netdial.report.text import count, number, percent

    metric = next(iter(found.metrics))
    title, show = _metric(metric)
    table = Table(title="Best member at each share", title_justify="left", header_style="bold")
    for heading in ("removed", "left", "best λ", f"{split} {title}"):
        table.add_column(heading, justify="right")
    if metric in found.predictive:
        table.add_column("predictive", justify="right")
    for place, best in enumerate(found.best()):
        row = found.lams.index(best.lam)
        cells = [
            percent(best.share, _places(best.share)),
            count(size - int(found.removed[row, place])),
            number(best.lam),
            show(best.value),
        ]
        if metric in found.predictive:
            cells.append(show(float(found.predictive[metric][row, place])))
        table.add_row(*cells)
    return table


def surface_table(found: Surface, split: str) -> Table:
    """Returns the metric over complexity (rows) and share removed (columns), the best of each column in bold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from netdial.report.text import number, percent

    metric = next(iter(found.metrics))
    title, show = _metric(metric)
    best = [found.lams.index(one.lam) for one in found.best()]
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
            f"[bold]{cell}[/bold]" if best[place] == row else cell
            for place, cell in enumerate(cells)
        ]
        table.add_row(number(lam), *marked)
    return table


def _metric(name: str) -> tuple[str, Callable[[float], str]]:
    """Returns the heading of a metric and how its values are written."""
    from netdial.report.text import fixed, percent

    return ("RMSE", fixed) if name == "rmse" else (name, percent)


def _places(share: float) -> int:
    """Returns how many decimal places a share has as a percentage."""
    return 0 if round(100 * share) == round(100 * share, 6) else 1
