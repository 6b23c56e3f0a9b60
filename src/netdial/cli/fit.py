"""``netdial fit``: the flags are the fields of ``FitConfig``; the work is ``jobs.fit``."""

from __future__ import annotations

from typing import Any

from netdial.cli.output import (
    answer_line,
    console,
    data_json,
    left_out_line,
    members_table,
    print_json,
    print_table,
    rows_json,
)
from netdial.runs.curves import Headline, constants, headline, members
from netdial.runs.run import Run


def show_fit(run: Run, seconds: float, as_json: bool) -> None:
    """Prints what became of a run, for people or as JSON."""
    records, source = run.records(), run.data_source()
    rows, constant = members(records), constants(records)
    answer = headline(rows, run.config, constant)
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "report": str(run.report_path),
                "seconds": round(seconds, 3),
                "config": run.config,
                "headline": _headline_json(answer),
                "members": rows_json(rows),
                "constant": constant,
                **data_json(source),
            }
        )
        return
    out = console()
    print_table(out, members_table(rows, run.config["kind"], answer, constant=constant))
    out.print(answer_line(answer), markup=False, soft_wrap=True)
    if left_out := left_out_line(source):
        out.print(left_out, markup=False, soft_wrap=True)
    out.print(f"{run.path}: done in {seconds:.1f} s", markup=False)
    out.print(f"report: {run.report_path}", markup=False, soft_wrap=True)


def _headline_json(answer: Headline | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    return {
        "metric": answer.metric,
        "lam": answer.best.lam,
        "value": answer.value,
        "using": answer.using,
        "simplest_lam": answer.simplest.lam if answer.simplest else None,
        "excess": answer.excess,
        "standard_error": answer.standard_error,
        "remarks": list(answer.remarks),
    }
