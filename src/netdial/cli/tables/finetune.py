"""The table of ``netdial finetune``: the member before, and after each round."""

from __future__ import annotations

from rich.table import Table

from netdial.report.text import count, fixed, metric_of, percent
from netdial.task import named


def stages_table(rows: list[dict[str, float]], kind: str) -> Table:
    """Returns parameters and worth of the member before, and after each round."""
    metric = named(kind).metric
    title, show = metric_of(metric)
    table = Table("", "removed", "parameters", f"valid {title}", "valid NLL", header_style="bold")
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
