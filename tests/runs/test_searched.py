"""What a page says of a search against random search."""

from __future__ import annotations

import pytest

from netdial.core.records import Record
from netdial.report.sections.search import notes
from netdial.report.standing.of_search import search_standing
from netdial.runs.run import Run
from netdial.runs.searched import Searched, TrialRow, searched


def found(losses: list[float], difference: float, error: float) -> Searched:
    def row(name: str, value: float, **where: str | int) -> Record:
        return Record("s", 0, 8, name, value, where=dict(where))

    rows = [
        row("params", 769.0, method="cost"),
        row("retrained", 0.5, method="gap"),
        row("difference", difference, method="baseline", part="test"),
        row("standard_error", error, method="baseline", part="test"),
        row("trials", len(losses), method="baseline", part="test"),
    ]
    for trial, loss in enumerate(losses):
        where = {"method": "train", "role": "baseline", "trial": trial}
        rows += [row("loss", loss, part="valid", **where), row("params", 769.0, **where)]
    return searched(rows)


class Done:
    is_done = True


@pytest.mark.parametrize(
    ("losses", "difference", "said", "told"),
    [
        ([0.5, 0.5, 0.5], 0.0, "predicts the same", "the limits leave no choice"),
        ([0.5, 0.6, 0.7], 0.0, "predicts the same", "search longer"),
        ([0.51, 0.6, 0.7], -0.001, "as good as the best of 3", "search longer"),
    ],
)
def test_a_search_without_a_choice_says_so(
    losses: list[float], difference: float, said: str, told: str
) -> None:
    search = found(losses, difference, 0.01 if difference else 0.0)
    assert said in search.verdict
    run: Run = Done()  # type: ignore[assignment]
    [note] = notes(run, search)
    assert told in note


def test_one_random_structure_is_no_proof() -> None:
    assert not found([0.5], 0.0, 0.0).leaves_no_choice
    assert not found([0.5, 0.5], -0.1, 0.01).verdict.startswith("No better")


@pytest.mark.parametrize(
    ("own", "lost"),
    [(1.30, "+0.3"), (1.00, "nothing"), (None, "–")],
    ids=["worse", "best", "unknown"],
)
def test_what_a_search_by_trials_lost_is_in_the_loss_of_its_trials(
    own: float | None, lost: str
) -> None:
    """Of a regression ``valid/nll`` is under the noise of its errors, and that of trials under a variance of 1."""
    search = Searched(
        chosen={"x": "relu"},
        scores={"valid/rmse": 20.0, "valid/nll": 0.4, "valid/rmse_error": 2.0},
        own_loss=own,
    )
    search.trials = [TrialRow(i, "search", {"loss": 1.0 + i}) for i in range(3)]
    told = search_standing(search, {"kind": "regression", "proper": "rmse"}, {}, "run")
    assert told is not None and told.lost.value == lost


def test_structures_that_were_drawn_twice_count_once() -> None:
    found = Searched(baseline={"difference": -1.0, "standard_error": 0.1, "trials": 29.0})
    assert "best of 29 random structures" in found.verdict  # of older runs, which do not say
    found.baseline["structures"] = 3.0
    assert "best of 3 random structures" in found.verdict
