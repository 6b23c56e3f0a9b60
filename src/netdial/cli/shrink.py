"""``netdial shrink``: the flags are the fields of ``ShrinkConfig``; the work is ``jobs.shrink``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdial.cli.output import console, data_json, left_out_line, print_json, print_table
from netdial.report.text import count, fixed, number, percent
from netdial.runs.run import Run
from netdial.runs.shrinkage import Shrinkage, shrinkage

if TYPE_CHECKING:
    from rich.table import Table


def show_shrink(run: Run, seconds: float, as_json: bool) -> None:
    """Prints what became of a run, for people or as JSON."""
    found = shrinkage(run.records())
    source = run.data_source()
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "report": str(run.report_path),
                "model": str(run.model_path / "shrunken.safetensors"),
                "seconds": round(seconds, 3),
                "config": run.config,
                "widths": {name: [line[0], line[-1]] for name, line in found.widths.items()},
                "start": found.start,
                "end": found.end,
                "scores": found.scores,
                "warning": found.exhausted(run.config),
                **data_json(source),
            }
        )
        return
    out = console()
    print_table(out, widths_table(found))
    print_table(out, costs_table(found))
    if left_out := left_out_line(source):
        out.print(left_out, markup=False, soft_wrap=True)
    out.print(f"{run.path}: done in {seconds:.1f} s; {_verdict(found)}", markup=False)
    if exhausted := found.exhausted(run.config):
        out.print(exhausted, style="bold")
    out.print(f"report: {run.report_path}", markup=False, soft_wrap=True)


def widths_table(found: Shrinkage) -> Table:
    """Returns the width of each layer at the start and at the end."""
    from rich.table import Table

    table = Table(title="Channels", title_justify="left", header_style="bold")
    for heading in ("layer", "start", "end", "left"):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for name, line in found.widths.items():
        table.add_row(name, count(line[0]), count(line[-1]), percent(line[-1] / line[0]))
    return table


def costs_table(found: Shrinkage) -> Table:
    """Returns what the network costs at the start and folded at the end."""
    from rich.table import Table

    table = Table(title="Cost", title_justify="left", header_style="bold")
    for heading in ("", "start", "end", "times smaller"):
        table.add_column(heading, justify="right" if heading else "left")
    names = {"params": "parameters", "macs": "macs", "bytes": "bytes"}
    names |= {k: f"ms, batch {k.removeprefix('ms_')}" for k in found.start if k.startswith("ms_")}
    for key, title in names.items():
        if key in found.start and key in found.end:
            start, end = found.start[key], found.end[key]
            show = fixed if key.startswith("ms_") else count
            table.add_row(title, show(start), show(end), number(start / max(end, 1e-12), 3))
    return table


def _verdict(found: Shrinkage) -> str:
    """Returns what the network is worth, in words."""
    if "test/rmse" in found.scores:
        return f"validation RMSE {fixed(found.scores.get('valid/rmse'))}, test {fixed(found.scores['test/rmse'])}"
    shown = (percent(found.scores.get(f"{part}/accuracy")) for part in ("valid", "test"))
    return "{} right on validation data, {} on test data".format(*shown)
