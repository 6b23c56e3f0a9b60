"""Rivals of a run: the same rows, recorded once, at the top of its report."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from netdial.cli.app import app
from netdial.contest.rivals import run_rivals
from netdial.core.errors import ConfigError
from netdial.jobs.opening import open_task
from netdial.jobs.reports import write_report
from netdial.runs.curves import constants, rivals, strongest
from netdial.runs.run import Run

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("runs")
    command = f"fit wine --epochs 2 --points 3 --name w --quiet --runs-dir {root}"
    assert CliRunner().invoke(app, command.split()).exit_code == 0
    return Run.open(root / "w")


def test_rivals_have_the_rows_of_the_run_and_are_recorded_once(run: Run) -> None:
    told: list[str] = []
    for _ in range(2):
        run_rivals(run, ["linear model", "constant"], seconds=0.1, report=told.append)
    assert told == 2 * ["linear model", "constant"]
    found = rivals(run.records())
    constant = constants(run.records())
    for name in ("valid/nll", "test/nll", "valid/accuracy", "test/accuracy"):
        assert found["constant"][name] == pytest.approx(constant[name], rel=1e-5)
    splits = open_task(run)
    right = round(found["linear model"]["test/accuracy"] * len(splits.test))
    assert right / len(splits.test) == pytest.approx(found["linear model"]["test/accuracy"])
    lines = run.records_path.read_text().splitlines()
    assert sum('"rival": "constant"' in line and '"nll"' in line for line in lines) == 2
    page = write_report(run.path).read_text(encoding="utf-8")
    assert "Strongest rival" in page
    assert "validation log loss, linear model, of 2 that were run" in page
    assert "Beside rivals" in page


def test_the_strongest_is_the_best_by_the_metric() -> None:
    found = {
        "a": {"valid/nll": 0.3, "valid/accuracy": 0.8},
        "b": {"valid/nll": 0.4, "valid/accuracy": 0.9},
    }
    assert strongest(found, "valid/nll") == ("a", 0.3)
    assert strongest(found, "valid/accuracy") == ("b", 0.9)
    assert strongest(found, "valid/rmse") is None


def test_unknown_rivals_are_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match="linear model"):
        run_rivals(run, ["linear modle"], seconds=0.1)


@pytest.mark.slow
def test_from_the_command_line(run: Run) -> None:
    torch.manual_seed(0)
    command = ["evaluate", str(run.path), "--rivals", "--seconds", "0.2", "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)["rivals"]
    assert {"linear model", "boosted trees", "one network", "grid of 8"} == set(found)
    assert all(0 <= row["test/accuracy"] <= 1 for row in found.values())
