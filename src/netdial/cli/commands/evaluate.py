"""``netdial evaluate``: members of a trained family at any complexity values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from netdial.runs.run import Run

_SHOWN = ("accuracy", "nll", "rmse", "r2")


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
    rivals: Annotated[
        bool,
        typer.Option(
            "--rivals",
            help="Run a linear model, boosted trees and plain networks on the same rows, too, and record them.",
        ),
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            show_default=False,
            help="Processor time of each rival; else as long as the run trained.",
        ),
    ] = None,
) -> None:
    """Evaluate what a run left: members of a family (mean weights, and the posterior predictive), or its one network."""
    values = complexities(lams, points)
    check_split(split)
    from netdial.jobs.ways import way_of

    folder = at.open()
    if not way_of(folder).makes_family:
        _refuse_members(folder, {"lams": lams, "points": points, "samples": samples})
        _evaluate_network(at, folder, split, rivals=rivals, seconds=seconds)
        return
    from netdial.cli.output import console, print_json, print_table
    from netdial.jobs.opening import evaluate_run
    from netdial.report.tables import members_table
    from netdial.runs.curves import MemberRow

    family, task = at.family(folder, values)
    path = evaluate_run(folder, family, split, task, lams=values or points, n_samples=samples)
    found = _rivals(at, folder, seconds) if rivals else {}
    where = {"run": str(folder.path), "split": split, "kind": task.kind}
    if at.as_json:
        print_json({**where, "members": path.table(), "constant": path.constant, "rivals": found})
        return
    rows = [MemberRow(member.lam, member.curve_values(split)) for member in path.members]
    constant = {f"{split}/{name}": value for name, value in path.constant.items()}
    table = members_table(rows, folder.config, None, constant=constant, most=len(rows))
    print_table(console(), table)
    _show_rivals(found)


def _evaluate_network(
    at: AtRun, folder: Run, split: str, *, rivals: bool, seconds: float | None
) -> None:
    """Evaluates the network of a run that has no family."""
    from netdial.cli.output import console, print_json, print_table
    from netdial.jobs.opening import evaluate_network, open_network, open_task
    from netdial.report.tables import table_of
    from netdial.report.text import number

    net = open_network(folder, at.data_dir, trust=at.trust)
    task = open_task(folder, at.data_dir, trust=at.trust)
    worth = evaluate_network(net, task, split)
    found = _rivals(at, folder, seconds) if rivals else {}
    if at.as_json:
        where = {"run": str(folder.path), "split": split, "kind": task.kind}
        print_json({**where, **worth, "rivals": found})
        return
    shown = [name for name in worth["metrics"] if not name.endswith("_error")]
    table = table_of("", *(f"{split}/{name}" for name in shown), title="Worth", left=("",))
    for words, values in (("the network", worth["metrics"]), ("a constant", worth["constant"])):
        table.add_row(words, *(number(values.get(name), 4) for name in shown))
    print_table(console(), table)
    _show_rivals(found)


def _refuse_members(folder: Run, given: dict[str, object]) -> None:
    """Refuses options about members of a family for a run that has none.

    Raises:
        ConfigError: one was given.
    """
    from netdial.core.errors import ConfigError

    for name, value in given.items():
        if value is not None:
            raise ConfigError(
                f"--{name}: {folder.path} left one network and no family over λ; leave it out"
            )


def _show_rivals(found: dict[str, dict[str, float]]) -> None:
    """Prints what rivals are worth, if any were run."""
    from netdial.cli.output import console, print_table
    from netdial.report.tables import table_of
    from netdial.report.text import number

    if not found:
        return
    shown = [name for name in next(iter(found.values())) if name.split("/")[1] in _SHOWN]
    beside = table_of("rival", *shown, title="On the same rows", left=("rival",))
    for name, worth in found.items():
        beside.add_row(name, *(number(worth[column], 4) for column in shown))
    print_table(console(), beside)


def _rivals(at: AtRun, folder: Run, seconds: float | None) -> dict[str, dict[str, float]]:
    """Returns what rivals are worth, recorded and in the report."""
    from netdial.contest.rivals import run_rivals
    from netdial.jobs.reports import write_report

    found = run_rivals(folder, seconds=seconds, data_dir=at.data_dir, trust=at.trust)
    write_report(folder.path)
    return found
