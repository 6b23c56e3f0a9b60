"""Tables of ``netdial slim``: widths, measured times, and the network before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdial.report.tables import table_of
from netdial.report.text import count, metric_of, percent
from netdial.task import named

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.jobs.analyses.slimmed import SlimResult
    from netdial.pruning.channels import LatencyTable


def widths_table(found: SlimResult) -> Table:
    """Returns the channels of each group before and after."""
    title = f"Channels by {found.pruned.criterion}"
    words = ("group", "what they sent")
    table = table_of("group", "before", "after", "left", "what they sent", title=title, left=words)
    for row in found.pruned.rows:
        cells = (str(row.before), str(row.after), percent(row.after / row.before, 0))
        table.add_row(row.group, *cells, row.sent)
    return table


def latency_rows(found: LatencyTable) -> Table:
    """Returns the widths of one group that were measured."""
    title = f"Time of the layers around {found.group}, batch {found.batch}"
    table = table_of("width", *map(str, found.widths), title=title)
    table.add_row("ms", *(f"{ms:.3g}" for ms in found.ms))
    return table


def stages_table(found: SlimResult, split: str, kind: str) -> Table:
    """Returns what the network is worth and costs, before and after."""
    metric = named(kind).metric
    title, show = metric_of(metric)
    headings = (f"{split} {title}", "params", "MACs", "bytes", "ms, batch 1", "ms, batch 64")
    table = table_of("", *headings, title="Before and after")
    for stage in found.stages:
        costs = [stage.costs.get(name) for name in ("params", "macs", "bytes")]
        times = [stage.costs.get(name) for name in ("ms_1", "ms_64")]
        table.add_row(
            stage.label,
            show(stage.metrics[metric]),
            *("" if cost is None else count(cost) for cost in costs),
            *("" if ms is None else f"{ms:.3g}" for ms in times),
        )
    return table
