"""Tables of ``netdial compress``: from the network given to the file, layers, and the sizes tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netdial.core.best import signed
from netdial.core.records import TRAINED_ON
from netdial.report.tables import table_of
from netdial.report.text import count, metric_of, number
from netdial.runs.results.compressions import (
    STAGES,
    above_words,
    each_bits,
    ratio_words,
    stage_words,
)
from netdial.task import named

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.jobs.analyses.compressed import CompressResult


def waterfall_table(found: CompressResult, split: str, kind: str) -> Table:
    """Returns what the network takes up after each step."""
    metric = named(kind).metric
    title, show = metric_of(metric)
    loss = found.found.loss_words
    headings = ("bytes", "smaller", "valid loss", f"{split} {title}")
    table = table_of("", *headings, title=f"From the network to the file; the loss is the {loss}")
    first = found.found.stages[0].n_bytes
    for stage in found.found.stages:
        measured = found.metrics.get(stage.label, {}).get(metric)
        table.add_row(
            stage_words(stage.label, family=found.found.of_family),
            count(round(stage.n_bytes)),
            ratio_words(first, stage.n_bytes),
            number(stage.loss),
            "" if measured is None else show(measured),
        )
    return table


def layers_table(found: CompressResult) -> Table:
    """Returns what each tensor takes."""
    table = table_of(
        "tensor", "numbers", "not 0", "values", "bytes", "bits each", title="Tensors in the file"
    )
    sizes = {row.name: row.total for row in found.ledger.rows}
    for layer in found.found.layers():
        size = sizes.get(layer.name, layer.bits / 8)
        kinds = str(layer.values) if layer.values else "exact" if layer.kept else ""
        each = each_bits(8 * size, layer.kept)
        cells = (count(layer.size), count(layer.kept), kinds, count(round(size)), each)
        table.add_row(layer.name, *cells)
    return table


def lengths_table(found: CompressResult) -> Table:
    """Returns codes of the training labels in bits, with what each of them and validation rows choose."""
    heads = ("of", "model", "labels", "bits", "chosen by")
    table = table_of(
        "code", *heads, title="Description lengths of the training labels", left=("of", "chosen by")
    )
    for row in found.lengths:
        by = ["its length"] * (row.chosen and row.code in ("two-part", "variational"))
        by += ["validation"] * row.by_validation
        bits = [count(round(value)) for value in (row.model, row.data, row.total)]
        table.add_row(row.code, row.of, *bits, ", ".join(by))
    return table


def front_table(found: CompressResult) -> Table:
    """Returns the sizes that were tried, those that another one beats left out."""
    longer = any(stage.label == TRAINED_ON for stage in found.found.stages)
    above = above_words(TRAINED_ON if longer else STAGES[0], family=found.found.of_family)
    table = table_of(
        "bytes",
        "not 0",
        "loss",
        above,
        "s.e.",
        title=f"Sizes on validation rows; the loss is the {found.found.loss_words}",
    )
    for point in found.found.front:
        mark = " ←" if point is found.found.chosen else ""
        table.add_row(
            f"{count(point.n_bytes)}{mark}",
            count(point.n_weights),
            number(point.loss),
            signed(point.excess, "+.3g"),
            f"{point.error:.2g}",
        )
    return table
