"""Tables and sentences on a run for the terminal, made from its records alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.table import Table

from netdial.core.best import PREDICTIVE
from netdial.report.text import count, fixed, in_units, metric_of, number, percent, value_of, worth
from netdial.runs.curves import Headline, MemberRow, deciding, is_worse, metrics_of
from netdial.runs.shrinkage import Shrinkage


def table_of(*headings: str, title: str | None = None, left: Collection[str] = ("",)) -> Table:
    """Returns an empty table; columns are aligned to the right, but for those named in ``left``."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    return table


def members_table(
    rows: Sequence[MemberRow],
    config: Mapping[str, Any],
    answer: Headline | None,
    *,
    constant: dict[str, float] | None = None,
    most: int = 7,
) -> Table:
    """Returns members along λ, about ``most`` and the chosen ones among them; absent columns are left out.

    Args:
        rows: the members.
        config: configuration of the run.
        answer: the answer of the run; its members are marked.
        constant: what a constant is worth, record name -> value; it has the last row, and what is worse is marked.
        most: rows at most, beside those marked by the answer.
    """
    metric = metrics_of(config)[0]
    title, show = metric_of(metric)
    title = title.replace("accuracy", "acc.")  # columns are many
    columns = [
        (f"valid/{metric}", f"valid {title}", show),
        (f"test/{metric}", f"test {title}", show),
        ("valid/nll", "valid NLL", fixed),
        ("test/nll", "test NLL", fixed),
        ("kl_bits", "KL, bits", count),
        ("effective_parameters", "eff. params", count),
        ("norm", "norm", number),
    ]
    recorded = {name for row in rows for name in row.values}
    columns = [column for column in columns if column[0] in recorded]
    table = Table(header_style="bold")
    table.add_column(
        "λ", justify="right", min_width=max((len(number(row.lam)) for row in rows), default=1)
    )
    for heading in (*(title for _, title, _ in columns), ""):
        table.add_column(heading, justify="left" if heading == "" else "right", no_wrap=not heading)
    for row in _thinned(rows, answer, most):
        cells = [show(row.values.get(name)) for name, _, show in columns]
        marks = [*_marks(row, answer), *_worse(row, config, constant or {})]
        table.add_row(number(row.lam), *cells, ", ".join(marks))
    if constant:
        table.add_section()
        table.add_row("–", *(show(constant.get(name)) for name, _, show in columns), "a constant")
    return table


def answer_line(answer: Headline | None) -> str:
    """Returns the answer of a run in a sentence, and on further lines what should be known about it."""
    if answer is None:
        return "nothing was measured on validation data, so no member is named"
    what = worth(answer.best, answer.metric)
    lines = [f"best on validation data: λ = {number(answer.best.lam)} ({what})"]
    if answer.simplest is not None:
        lines[0] += f"; simplest within one standard error: λ = {number(answer.simplest.lam)}"
    if answer.using == PREDICTIVE:
        averaged = answer.best.values[f"{answer.metric}_predictive"]
        lines.append(
            f"averaged over the posterior (predictive) that member has {value_of(answer.metric, averaged)}; "
            "what is exported is the network of mean weights"
        )
    return "\n".join([*lines, *answer.remarks])


def targets_line(each: Sequence[Mapping[str, Any]]) -> str:
    """Returns what a member is worth for each of several targets, in units of their own.

    Args:
        each: ``name``, ``valid/rmse``, ``valid/r2`` of the targets.
    """
    found = ", ".join(
        f"{one['name']} {in_units(one.get('valid/rmse'))} (R² {fixed(one.get('valid/r2'))})"
        for one in each
    )
    return f"RMSE of each in its own unit, on validation data: {found}"


def rows_json(rows: Sequence[MemberRow]) -> list[dict[str, float]]:
    """Returns members as flat objects."""
    return [{"lam": row.lam, **row.values} for row in rows]


def _worse(row: MemberRow, config: Mapping[str, Any], constant: dict[str, float]) -> list[str]:
    for split in ("valid", "test"):
        metric = deciding([row], config, split)
        if metric is not None:
            return ["worse than a constant"] if is_worse(row, constant, metric) else []
    return []


def _marks(row: MemberRow, answer: Headline | None) -> list[str]:
    if answer is None:
        return []
    marks = ["best"] if row.lam == answer.best.lam else []
    if answer.simplest is not None and row.lam == answer.simplest.lam:
        marks.append("1 s.e.")
    return marks


def _thinned(rows: Sequence[MemberRow], answer: Headline | None, most: int) -> list[MemberRow]:
    """Returns at most ``most`` rows spread evenly, and those that the answer names."""
    if len(rows) <= most:
        return list(rows)
    kept = {round(i * (len(rows) - 1) / (most - 1)) for i in range(most)}
    named = (
        {answer.best.lam, *([answer.simplest.lam] if answer.simplest else [])} if answer else set()
    )
    return [row for index, row in enumerate(rows) if index in kept or row.lam in named]


def widths_table(found: Shrinkage) -> Table:
    """Returns the width of each layer at the start and at the end."""
    table = table_of("layer", "start", "end", "left", title="Channels", left=("layer",))
    for name, line in found.widths.items():
        table.add_row(name, count(line[0]), count(line[-1]), percent(line[-1] / line[0]))
    return table


def costs_table(found: Shrinkage) -> Table:
    """Returns what the network costs at the start and folded at the end."""
    table = table_of("", "start", "end", "times smaller", title="Cost")
    names = {"params": "parameters", "macs": "MACs", "bytes": "bytes"}
    times = {f"ms_{batch}": f"ms, batch {batch}" for batch in found.batches}
    for key, title in (names | times).items():
        if key in found.start and key in found.end:
            start, end = found.start[key], found.end[key]
            show = fixed if key in times else count
            table.add_row(title, show(start), show(end), number(start / max(end, 1e-12), 3))
    return table


def verdict(found: Shrinkage) -> str:
    """Returns what the network is worth, in words."""
    if "test/rmse" in found.scores:
        name, show, words = "rmse", in_units, "validation RMSE {}, test {}"
    else:
        name, show, words = "accuracy", percent, "{} right on validation data, {} on test data"
    said = words.format(*(show(found.scores.get(f"{part}/{name}")) for part in ("valid", "test")))
    constant = [found.constant.get(f"{part}/{name}") for part in ("valid", "test")]
    if constant[0] is None:
        return said
    return f"{said} (a constant: {' and '.join(show(value) for value in constant)})"
