"""Tables of ``netdial prune``: the best member at each share, and the metric over complexity and share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from netdial.report.tables import table_of
from netdial.report.text import count, metric_of, number, percent

if TYPE_CHECKING:
    from netdial.pruning.weights import Surface


def best_table(found: Surface, split: str, size: int) -> Table:
    """Returns the best member at each share.

    Args:
        found: the surface.
        split: part of the data that it was measured on.
        size: numbers of a whole member.
    """
    names = list(dict.fromkeys([found.metric, *found.metrics]))
    headings = ["removed", "left", "best λ"]
    for name in names:
        headings += [f"{split} {metric_of(name)[0]}"]
        headings += ["predictive"] if name in found.predictive else []
    table = table_of(*headings, "", title="Best member at each share")
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
            cells += [metric_of(name)[1](float(v[row, place])) for v in values if v is not None]
        table.add_row(*cells, "worse than a constant" if bool(worse[row, place]) else "")
    if found.constant:
        table.add_section()
        cells = ["–", "–", "–"]
        for name in names:
            value = found.constant.get(name)
            cells.append("–" if value is None else metric_of(name)[1](value))
            cells += ["–"] if name in found.predictive else []
        table.add_row(*cells, "a constant")
    return table


def surface_table(found: Surface, split: str) -> Table:
    """Returns the metric over complexity (rows) and share removed (columns), the best of each column in bold."""
    metric = next(iter(found.metrics))
    title, show = metric_of(metric)
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


def _places(share: float) -> int:
    """Returns how many decimal places a share has as a percentage."""
    return 0 if round(100 * share) == round(100 * share, 6) else 1
