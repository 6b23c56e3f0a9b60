"""What ``netdial choose`` prints: the answer in sentences, and what other criteria would have chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from netdial.choice.budget import costs
from netdial.core.best import PREDICTIVE, four_places
from netdial.report.tables import table_of
from netdial.report.text import count, fixed, number, percent

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.choice import Choice, Verdict


def verdicts_table(verdicts: list[Verdict], choice: Choice) -> Table:
    """Returns what each criterion would have chosen, and what that loses on validation data."""
    metric = choice.table.metric
    show = percent if metric in ("accuracy", "balanced_accuracy") else fixed
    others = [name for name in ("accuracy",) if name != metric and name in choice.row.metrics]
    lost = f"{metric} {'below' if choice.table.task.better(metric) > 0 else 'above'} the best"
    headings = ["λ", "removed", "parameters", f"valid {metric}", lost, *others]
    table = table_of("by", *headings, left=("by",))
    for v in verdicts:
        cell = v.cell
        table.add_row(
            v.by,
            number(cell.lam),
            percent(cell.share),
            count(cell.params),
            show(cell.value),
            show(v.lost),
            *(percent(cell.metrics[name]) for name in others),
        )
    if metric in choice.constant:
        table.add_section()
        values = [percent(choice.constant[name]) for name in others]
        table.add_row("a constant", "–", "–", "–", show(choice.constant[metric]), "–", *values)
    return table


def _beside(choice: Choice) -> list[str]:
    """Returns what a constant is worth, and whether averaging over the posterior predicts better."""
    names = [name for name in (choice.table.metric, "accuracy") if name in choice.constant]
    names = list(dict.fromkeys(names))
    lines = []
    if names:
        values = ", ".join(f"{name} {four_places(choice.constant[name])}" for name in names)
        lines.append(f"A constant has {values}.")
    if choice.using == PREDICTIVE:
        metric = choice.table.metric
        lines.append(
            f"Averaged over its posterior (predictive) the member has {metric} {four_places(choice.average[metric])}; what is "
            "written is the network of mean weights."
        )
    return lines


def answer_lines(choice: Choice, place: Path, *, replaces: bool = False) -> list[str]:
    """Returns the answer for people; ``replaces`` says that an earlier choice was there."""
    metric = choice.table.metric
    worth = costs(choice.row, metric)
    if choice.problem.valid is not None:
        worth += f" on validation data (standard error of {metric} {four_places(choice.error)})"
    lines = [
        f"λ = {choice.lam:.4g}, {choice.share:.4g} removed: {worth}",
        choice.why,
        *choice.remarks,
        *_beside(choice),
        *(f"Afterwards {step}." for step in choice.steps),
    ]
    if choice.test:
        also = (
            f", test accuracy {four_places(choice.test['accuracy'])}"
            if "accuracy" in choice.test
            else ""
        )
        lines.append(
            f"test {metric} {four_places(choice.test[metric])} ± {four_places(choice.test['error'])}{also}"
        )
    before = ", in place of an earlier choice (--out keeps both)" if replaces else ""
    return [*lines, f"{place}: network and card{before}"]
