"""``netdial latency``: how long the operations of a search space take on this machine, and how well that predicts networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.options import DataDirOption, JsonOption, QuietOption, out_option

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.structure.latency import LatencyLookup


def latency(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            show_default=False,
            help="{netdial.data.loading:names}, or a table (.csv, .tsv, .parquet, .xlsx): the networks are for it.",
        ),
    ],
    *,
    space: Annotated[
        str, typer.Option(help="Search space: {netdial.structure.spaces:SPACES}.")
    ] = "mlp",
    space_options: Annotated[
        str,
        typer.Option(metavar="A=1,B=2+3,…", help="Options of the space.", show_default=False),
    ] = "",
    target: Annotated[
        str | None, typer.Option(help="Column of a table to predict.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a call.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of torch; else as they are.", show_default=False),
    ] = None,
    networks: Annotated[
        int,
        typer.Option(min=2, help="Random networks that the table is held against."),
    ] = 20,
    out: Annotated[
        Path | None, out_option("File to write; else SPACE-latency.json in this folder")
    ] = None,
    data_dir: DataDirOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the operations of a search space on this machine, and hold their sums against whole networks."""
    from netdial.cli.output import console, print_json, print_table
    from netdial.core.storage.files import check_writable
    from netdial.core.storage.places import check_replaceable, free_path
    from netdial.data import load_data
    from netdial.jobs.search.latency import measured

    path = free_path(Path(f"{space}-latency.json"))
    if out is not None:
        path = check_replaceable(out, "a table of latencies", _is_table)
    check_writable(path)
    task = load_data(data, data_dir=data_dir, target=target)
    with _threads(threads):
        table = measured(task, space, space_options, batch_size, networks)
    table.save(path)
    if as_json:
        print_json({"path": str(path), **_answer(table)})
        return
    screen = console()
    print_table(screen, _operations(table))
    assert table.agreement is not None
    usable = "may be used" if table.agreement.good else "does not predict: no search takes it"
    machine = table.machine
    screen.print(
        f"{machine.processor}, {machine.cores} cores, {machine.threads} threads, batch {table.batch_size}\n"
        f"networks: {table.agreement}\n{path}: {usable}",
        markup=False,
        soft_wrap=True,
    )


def _is_table(path: Path) -> bool:
    """Returns whether a file is one that this command wrote."""
    from netdial.core.errors import NetdialError
    from netdial.structure.latency import LatencyLookup

    try:
        LatencyLookup.load(path)
    except NetdialError:
        return False
    return True


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Sets the threads of torch for a while."""
    import torch

    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def _operations(table: LatencyLookup) -> Table:
    """Returns the times as a table, operations that are alike in one line."""
    from rich.table import Table

    shown = Table(title="time of an operation, ms", title_justify="left")
    for column, side in (
        ("operation", "left"),
        ("edges", "right"),
        ("ms", "right"),
        ("spread", "right"),
    ):
        shown.add_column(column, justify=side)  # type: ignore[arg-type]
    lines: dict[Any, int] = {}
    for operations in table.times.values():
        for name, time in operations.items():
            if time.readings:
                lines[name, time] = lines.get((name, time), 0) + 1
    for (name, time), edges in lines.items():
        shown.add_row(name, str(edges), f"{time.ms:.4f}", f"{time.spread_ms:.4f}")
    return shown


def _answer(table: LatencyLookup) -> dict[str, Any]:
    """Returns the table and how well it predicts as plain values."""
    found = table.agreement
    assert found is not None
    return {**table.to_json(), "fingerprint": table.machine.fingerprint, "good": found.good}
