"""``netdial list`` and ``netdial report``: what runs there are, and the report of one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from netdial.cli.options import JsonOption, RunArgument, RunsDirOption, run_folder


def list_command(runs_dir: RunsDirOption = Path("runs"), as_json: JsonOption = False) -> None:
    """List the runs in a folder, with the best validation result of each."""
    from rich.table import Table

    from netdial.cli.output import console, print_json
    from netdial.report.text import number, percent
    from netdial.study.runs import list_runs

    rows = list_runs(runs_dir)
    if as_json:
        print_json({"runs_dir": str(runs_dir), "runs": [asdict(row) for row in rows]})
        return
    if not rows:
        console().print(f"no runs in {runs_dir}; start with: netdial fit wine", markup=False)
        return
    table = Table("run", "status", "data", "model", "best on validation", "at λ", "started")
    for row in rows:
        show = number if row.metric == "valid/rmse" else percent
        best = (
            "" if row.best is None else f"{show(row.best)} {(row.metric or '').partition('/')[2]}"
        )
        lam = "" if row.best_lam is None else number(row.best_lam)
        started = (row.started or "").replace("T", " ")[:16]
        status = row.problem or row.status
        table.add_row(row.name, status, row.data, row.model, best, lam, started)
    console().print(table)


def report(
    run: RunArgument, runs_dir: RunsDirOption = Path("runs"), as_json: JsonOption = False
) -> None:
    """Write the report of a run again, from its records."""
    from netdial.cli.output import console, print_json
    from netdial.report.page import write_report

    path = write_report(run_folder(run, runs_dir))
    if as_json:
        print_json({"run": str(path.parent), "report": str(path)})
        return
    console().print(f"report: {path}", markup=False, soft_wrap=True)
