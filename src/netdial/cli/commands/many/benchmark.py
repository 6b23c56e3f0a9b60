"""``netdial benchmark``: which kind of model predicts a table best, at equal time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.command import Parts, options_of
from netdial.cli.options import DataDirOption, JsonOption, QuietOption, fraction, values

if TYPE_CHECKING:
    from netdial.contest.board import Leaderboard
    from netdial.jobs.pool import Made


def _parts() -> Parts:
    from netdial.data.tables.options import TableOptions

    return {"Tables (what is not given is found out)": (TableOptions,)}


def _text(flag: str, words: str) -> Any:
    return typer.Option(flag, help=words, show_default=False)


@options_of(_parts)
def benchmark(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A table, or anything else that fit takes.")
    ],
    *,
    target: Annotated[str | None, _text("--target", "Column of a table to predict.")] = None,
    kind: Annotated[
        str | None, _text("--kind", "Task: {netdial.task:TASKS}; else as the target looks.")
    ] = None,
    model: Annotated[
        str | None, _text("--model", "Network of all contenders that do not search for one.")
    ] = None,
    valid: Annotated[str | None, _text("--valid", "Fraction of rows, or a table of them.")] = None,
    test: Annotated[str | None, _text("--test", "Fraction of rows, or a table of them.")] = None,
    seconds: Annotated[
        float, typer.Option(help="Processor time for each contender and seed.")
    ] = 10.0,
    seeds: Annotated[int, typer.Option(min=1, help="How many splits and starts.")] = 3,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="A,B,…",
            help="Contenders: {netdial.contest.run:CONTENDERS}; else all.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path(
        "runs/benchmark"
    ),
    data_dir: DataDirOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **given: Any,
) -> None:
    """Compare netdial with plain networks, boosted trees and a linear model on a table: same splits, equal time."""
    from netdial.contest.run import benchmark as compare
    from netdial.data.tables.options import TableOptions

    options: dict[str, Any] = {"target": target, "kind": kind, "model": model}
    options |= {"valid": fraction(valid), "test": fraction(test)}
    try:
        board = compare(
            data,
            seconds=seconds,
            seeds=seeds,
            contenders=None if only is None else [name.strip() for name in only.split(",")],
            data_dir=data_dir,
            folder=out,
            report=None if quiet else _say,
            reading=None if quiet else _say,
            **options,
            **values(TableOptions, given),
        )
    except KeyboardInterrupt:
        print("netdial: interrupted; the same command goes on where it was", file=sys.stderr)
        raise typer.Exit(130) from None
    _show(board, as_json=as_json)


def _say(made: Made | str) -> None:
    print(made, file=sys.stderr)


def _show(board: Leaderboard, *, as_json: bool) -> None:
    """Prints the leaderboard."""
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.benchmark import board_lines, board_table

    if as_json:
        print_json(board.to_json())
        return
    out = console()
    print_table(out, board_table(board), labels=2)
    for line in board_lines(board):
        out.print(line, markup=False, soft_wrap=True)
