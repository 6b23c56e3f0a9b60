"""``netdial choose``: chooses a member of a run's family by a rule, an estimator or a budget."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.command import Parts, options_of
from netdial.cli.options import (
    AtRun,
    LamsOption,
    PointsOption,
    complexities,
    out_option,
    read,
)
from netdial.cli.places import to_write_in

if TYPE_CHECKING:
    from netdial.choice import Choice, Verdict


def _parts() -> Parts:
    from netdial.choice import Budget
    from netdial.jobs.analyses.chosen import ChoiceOptions

    return {"How to choose": (ChoiceOptions,), "Budgets (any together)": (Budget,)}


@options_of(_parts)
def choose(
    at: AtRun,
    lams: LamsOption = None,
    points: PointsOption = None,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Show what other criteria would have chosen.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Look at the test data, once everything is decided.")
    ] = False,
    out: Annotated[
        Path | None, out_option("Folder to write; else choice in the run folder")
    ] = None,
    **given: Any,
) -> None:
    """Choose one member by a rule or a budget, and write it with a card that gives the reason."""
    values = complexities(lams, points)
    from netdial.choice import Budget
    from netdial.choice import agreement as compare
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.choose import answer_lines, verdicts_table
    from netdial.jobs.analyses.chosen import ChoiceOptions, check_place, choose_run, write_choice

    options, budget = read(ChoiceOptions, given), read(Budget, given)
    folder = to_write_in(at.open())
    with folder.alone(), _unwarned():
        family, task = at.family(folder, values)
        place = out or folder.path / "choice"
        check_place(place)
        replaces = (place / "config.json").is_file()
        choice = choose_run(folder, family, task, options, budget, lams=values or points, test=test)
        verdicts = compare(family, choice) if agreement else []
        write_choice(folder, task, choice, place)
    if at.as_json:
        print_json({"run": str(folder.path), "path": str(place), **_answer(choice, verdicts)})
        return
    screen = console()
    if verdicts:
        print_table(screen, verdicts_table(verdicts, choice))
    for line in answer_lines(choice, place, replaces=replaces):
        screen.print(line, markup=False, soft_wrap=True)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Leaves out warnings that are among the remarks, which are printed."""
    from netdial.core.errors import MemberWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemberWarning)
        yield


def _answer(choice: Choice, verdicts: list[Verdict]) -> dict[str, Any]:
    """Returns the choice as plain values."""
    from netdial.measure.compare import loss_words

    row, metric, valid = choice.row, choice.table.metric, choice.problem.valid
    n_valid = 0 if valid is None else len(valid)
    answer: dict[str, Any] = {
        "by": choice.by,
        "lam": row.lam,
        "share": row.share,
        "why": choice.why,
        "steps": list(choice.steps),
        "remarks": list(choice.remarks),
        "metric": metric,
        "loss": loss_words(choice.problem.task, choice.table.asked),
        "valid": {metric: row.value, **row.metrics, "error": choice.error, "n": n_valid},
        "constant": choice.constant,
        "using": choice.using,
        "predictive": choice.average,
        "costs": {
            "params": row.params,
            "bytes": row.bytes,
            "macs": row.macs,
            "latency_ms": row.latency_ms,
        },
    }
    if choice.test:
        answer["test"] = choice.test
    if verdicts:
        answer["agreement"] = [
            {
                "by": v.by,
                "lam": v.cell.lam,
                "share": v.cell.share,
                "params": v.cell.params,
                metric: v.cell.value,
                **v.cell.metrics,
                "lost": v.lost,
                "error": v.error,
            }
            for v in verdicts
        ]
    return answer
