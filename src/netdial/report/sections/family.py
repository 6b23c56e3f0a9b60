"""The page of a family over λ: its curves, its answer, the table of members, and what was recorded of pruning and evidence."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from netdial.core.records import Record
from netdial.report.figures import curves_figure, learning_figure
from netdial.report.sections.compress import compression_section
from netdial.report.sections.dial import dial_of
from netdial.report.sections.evidence import evidence_figure, evidence_lines, evidence_table
from netdial.report.sections.pruning import pruning_section
from netdial.report.sections.slim import channels_section
from netdial.report.standing.of_family import family_standing
from netdial.report.standing.of_unfinished import unfinished_standing
from netdial.report.text import (
    at_lam,
    count,
    fixed,
    loss_words,
    number,
    percent,
    sentence,
    worth,
)
from netdial.runs.curves import (
    Headline,
    MemberRow,
    constants,
    headline,
    learning,
    members,
    metrics_of,
    rivals,
)
from netdial.runs.run import Run
from netdial.runs.schemas.details import read_details

Format = Callable[[float | None], str]

_SMALL = "Chosen on validation data, which flatters what was chosen; test data decided nothing."


@dataclass(frozen=True)
class Column:
    """A column of the table of members: heading, unit, record and how its numbers are written."""

    group: str
    title: str
    record: str
    show: Format


def family_page(run: Run, records: Sequence[Record]) -> dict[str, Any]:
    """Returns what the page of a family tells."""
    rows = members(records)
    constant, beside = constants(records), rivals(records)
    answer = headline(rows, run.config, constant)
    curves = curves_figure(rows, answer, run.config)
    training = learning_figure(learning(records))
    pruning = pruning_section(records, run.config)
    channels = channels_section(records, run.config)
    compression = compression_section(records, run.config)
    evidence = evidence_figure(records)
    columns = _columns(rows, run.config)
    details = read_details(run.details_path)
    plain = None if details is None else details.model_dump(mode="json")
    return {
        "dial": dial_of(rows, records, answer, constant, run.config, details),
        "details": plain,
        "sentence": sentence(run.config, done=run.is_done),
        "lead": _lead(answer, run.config),
        "small": _SMALL + _taken(answer) if answer else "",
        "smaller": [
            (place, title, one.lead)
            for place, title, one in (
                ("pruned", "Weights removed", pruning),
                ("slimmed", "Channels removed", channels),
                ("compressed", "Compressed", compression),
            )
            if one
        ],
        "tiles": (
            family_standing(answer, run, beside, details)
            if answer
            else unfinished_standing(run, records)
        ).tiles(),
        "notes": _notes(run, records, rows, answer),
        "has_curves": curves is not None,
        "has_training": training is not None,
        "strata": _strata(records),
        "joint": _was_one(records),
        "pruning": pruning,
        "channels": channels,
        "compression": compression,
        "loss": loss_words(metrics_of(run.config)[1], run.config),
        "evidence": evidence_table(records),
        "evidence_lines": evidence_lines(records),
        "has_evidence_figure": evidence is not None,
        "figures": {
            "curves": curves,
            "training": training,
            "evidence": evidence,
            **(pruning.figures if pruning else {}),
            **(channels.figures if channels else {}),
            **(compression.figures if compression else {}),
        },
        "columns": columns,
        "groups": _groups(columns),
        "table": [
            *(_row(row, columns, answer) for row in rows),
            *_other_rows(columns, {"a constant": constant} if constant else {}),
            *_other_rows(columns, beside),
        ],
        "csv": _csv_link(rows),
        "data": {
            "members": [asdict(row) for row in rows],
            "constant": constant,
            **({} if plain is None else {"details": plain}),
        },
    }


def _lead(answer: Headline | None, config: dict[str, Any]) -> str:
    """Returns the answer in one or two sentences."""
    if answer is None:
        return "No member of the family has been measured on validation data yet."
    best = (
        f"The family predicts best at complexity {at_lam(answer.best.lam)}, "
        f"with {worth(answer.best, answer.metric)} on validation data."
    )
    simple = answer.simplest
    if simple is None or answer.standard_error is None or answer.excess is None:
        return best
    if simple.lam == answer.best.lam:
        return f"{best} No simpler member comes within one standard error."
    return (
        f"{best} You can turn the dial up to {at_lam(simple.lam)}: the {loss_words(answer.metric, config)} rises by "
        f"{number(answer.excess, 2)}, "
        f"within one standard error of that difference ({number(answer.standard_error, 2)}){_share(simple, config)}."
    )


def _share(member: MemberRow, config: dict[str, Any]) -> str:
    """Returns the part of the parameters that a member still uses, as a subordinate clause."""
    effective, total = member.get("effective_parameters"), config.get("n_params")
    if effective is None or not isinstance(total, int) or total < 1:
        return ""
    return f", while {percent(effective / total, 0)} of the parameters stay effective"


def _notes(
    run: Run, records: Sequence[Record], rows: Sequence[MemberRow], answer: Headline | None
) -> list[str]:
    """Returns what a reader should know is missing or unusual."""
    names = {name for row in rows for name in row.values}
    notes = []
    if not run.is_done:
        last = max((record.step for record in records), default=0)
        notes.append(
            f"Training has not finished: the records reach step {last}. Go on with --resume."
        )
    if not rows:
        notes.append("The family has not been evaluated, so there are no curves over λ yet.")
    elif answer is None:
        notes.append(
            "There are no validation records, so nothing is chosen: test data never decides."
        )
    elif answer.standard_error is None:
        notes.append(
            "Paired standard errors were not recorded, so no simpler member is named; netdial choose computes them."
        )
    if answer is not None:
        notes += answer.remarks
    points = "norm" in names
    if rows and not points and not any(name.endswith("_predictive") for name in names):
        notes.append(
            "The posterior predictive was not evaluated; the curves are those of the mean weights."
        )
    absent = [
        w
        for n, w in (("kl_bits", "KL in bits"), ("effective_parameters", "effective parameters"))
        if n not in names
    ]
    if rows and absent and not points:
        notes.append(f"Not recorded: {' and '.join(absent)}.")
    if any(not math.isfinite(value) for row in rows for value in row.values.values()):
        notes.append(
            "Some values are not finite; they are marked in the table and left out of the curves."
        )
    return notes


def _columns(rows: Sequence[MemberRow], config: dict[str, Any]) -> list[Column]:
    """Returns the columns of the table of members for which anything was recorded."""
    rmse = partial(number, digits=4, padded=True)
    metrics: list[tuple[str, str, Format]] = [
        ("accuracy", "accuracy", partial(percent, places=2)),
        ("accuracy_predictive", "predictive", partial(percent, places=2)),
        ("rmse", "RMSE", rmse),
        ("rmse_predictive", "predictive", rmse),
        ("r2", "R²", fixed),
    ]
    columns = [
        Column(group, title, f"{split}/{record}", show)
        for split, group in (("valid", "Validation"), ("test", "Test"))
        for record, title, show in [*metrics, ("nll", "NLL", fixed)]
    ]
    columns += [
        Column("Complexity", "KL, bits", "kl_bits", count),
        Column("Complexity", "eff. parameters", "effective_parameters", count),
        Column("Complexity", "norm of the weights", "norm", number),
        Column("Complexity", "objective", "objective", fixed),
    ]
    recorded = {name for row in rows for name in row.values}
    return [column for column in columns if column.record in recorded]


def _groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Returns the headings above the columns, each with the number of columns under it."""
    names = list(dict.fromkeys(column.group for column in columns))
    return [(name, sum(column.group == name for column in columns)) for name in names]


def _row(row: MemberRow, columns: Sequence[Column], answer: Headline | None) -> dict[str, Any]:
    """Returns one row of the table: complexity value, mark of the chosen members, and the numbers as text."""
    marks = []
    if answer is not None and row.lam == answer.best.lam:
        marks.append("best")
    if answer is not None and answer.simplest is not None and row.lam == answer.simplest.lam:
        marks.append("1 s.e.")
    worse = answer is not None and answer.is_worse_than_constant(row)
    cells = [column.show(row.values.get(column.record)) for column in columns]
    return {
        "lam": number(row.lam),
        "value": row.lam,
        "marks": marks,
        "worse": worse,
        "cells": cells,
    }


def _other_rows(
    columns: Sequence[Column], found: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Returns the rows of what a constant and rivals are worth, by name."""
    return [
        {
            "lam": name,
            "value": "",
            "marks": [],
            "worse": False,
            "cells": [column.show(values.get(column.record)) for column in columns],
        }
        for name, values in found.items()
    ]


def _taken(answer: Headline) -> str:
    """Returns which member commands take by themselves, where that is not the chosen one."""
    if answer.chosen.lam == answer.best.lam:
        return ""
    return (
        f" Where no λ is given, netdial predict and serve take the best, {at_lam(answer.best.lam)}."
    )


def _strata(records: Sequence[Record]) -> tuple[str, str] | None:
    """Returns the smallest and largest complexity value that training was recorded for, or None."""
    lams = [record.lam for record in records if record.method == "train" and record.lam is not None]
    return (number(min(lams)), number(max(lams))) if lams else None


def _was_one(records: Sequence[Record]) -> bool:
    """Returns whether one network was trained for all complexity values at first: some were recorded from later on."""
    found: dict[float, int] = {}
    for record in records:
        if record.method == "train" and record.lam is not None:
            found[record.lam] = min(record.step, found.get(record.lam, record.step))
    return len(set(found.values())) > 1


def _csv_link(rows: Sequence[MemberRow]) -> str:
    """Returns the table of members with all that was recorded of them, as a data URI of a CSV file."""
    names = sorted({name for row in rows for name in row.values})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["lam", *names])
    writer.writerows([row.lam, *(row.values.get(name, "") for name in names)] for row in rows)
    return (
        "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.getvalue().encode()).decode()
    )
