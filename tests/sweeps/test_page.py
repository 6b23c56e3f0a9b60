"""The page of a sweep: its best trial, its trials in all states, and nothing of test data but for those that were chosen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netdial.cli import main
from netdial.core.records import Record
from netdial.runs.curves import CONSTANT
from netdial.sweeps import sweep
from netdial.sweeps.page import render_sweep, size_figure, write_sweep_page
from netdial.sweeps.result import Sweep, SweepTrial
from netdial.sweeps.spec import SweepSpec

Make = Callable[..., SweepSpec]


def data_of(page: str) -> Any:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])  # type: ignore[index]


def test_the_page_of_a_sweep_says_what_came_out(toy: Make) -> None:
    found = sweep(toy())
    page = write_sweep_page(found).read_text(encoding="utf-8")
    assert f"Trial {found.best().number} is best: validation " in page
    assert page.count("data-answer=") == 6
    told = data_of(page)
    assert [one["number"] for one in told["trials"]] == [0, 1, 2, 3]
    assert sum("test" in one for one in told["trials"]) <= 1
    assert page.count('<th scope="row">') >= 4
    again = found.path / "report.html"
    again.unlink()
    assert main(["report", str(found.path)]) == 0
    assert again.read_text(encoding="utf-8") == page


def test_a_best_trial_that_is_worse_than_a_constant_is_said(
    toy: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "The best trial predicts validation data worse than"
    found = sweep(toy())
    value = found.best().measures["valid/rmse"]
    for beyond, worse in {-1.0: True, 0.0: False, 1.0: False}.items():
        where: dict[str, bool | int | float | str] = {"method": CONSTANT, "part": "valid"}
        kept = [Record("r", 0, 0, "rmse", value + beyond, where=where)]
        monkeypatch.setattr("netdial.sweeps.page._records", lambda _, kept=kept: kept)
        assert (said in render_sweep(found)) == worse


def trial(number: int, state: str = "done", **more: Any) -> SweepTrial:
    measures = (
        {"valid/rmse": 1.0 + number, "params": 100.0 / (1 + number)} if state == "done" else {}
    )
    return SweepTrial(number, {"pull": 0.1 * (number + 1)}, state, Path(), measures, **more)


def test_states_and_hostile_errors(toy: Make) -> None:
    spec = toy()
    failed = trial(2, "failed", error="<img src=x onerror=alert(1)>")
    page = render_sweep(Sweep(Path(), spec, (trial(0), trial(1), failed)))
    assert "<img src=x" not in page
    assert "one trial is not done" in page
    nothing = render_sweep(Sweep(Path(), spec, (failed,)))
    assert "No trial is done yet." in nothing


def test_the_front_has_what_no_other_trial_beats() -> None:
    trials = [
        trial(0),
        trial(1),
        SweepTrial(2, {"pull": 1.0}, "done", Path(), {"valid/rmse": 9.0, "params": 90.0}),
    ]
    figure = size_figure(trials, "valid/rmse")
    assert sorted(figure.data[1].x) == [50.0, 100.0]
    assert size_figure(trials[:1], "valid/rmse") is None


def test_the_loss_is_called_what_it_is(toy: Make) -> None:
    spec = toy().model_copy(update={"objectives": ("valid/loss",)})
    trials = [
        SweepTrial(
            n, {"pull": 0.1}, "done", Path(), {"valid/loss": 70.0 + n, "valid/rmse": 70.0 + n}
        )
        for n in range(2)
    ]
    page = render_sweep(Sweep(Path(), spec, tuple(trials)))
    assert "Trial 0 is best: validation RMSE 70" in page and "validation loss" not in page
    assert "nothing beside the others" in page
