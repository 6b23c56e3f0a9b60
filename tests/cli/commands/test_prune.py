"""``netdial prune``: tables for people, one JSON object for programs, records and a page in the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from netdial.jobs.opening import open_family, open_task
from netdial.runs.run import Run
from netdial.runs.surfaces import how_words

from ..conftest import Call


@pytest.fixture
def copy(wine: Path, tmp_path: Path) -> Path:
    shutil.copytree(wine, tmp_path / "runs" / "wine")
    return tmp_path / "runs" / "wine"


def test_tables_records_and_page(call: Call, copy: Path) -> None:
    said = call("prune", "wine", "--shares", "0,.5,.9", "--samples", "2")
    assert said.code == 0, said.err
    assert "Best member at each share" in said.out
    assert "predictive" in said.out
    assert "Valid accuracy by share removed" in said.out
    assert "report: runs/wine/report.html" in said.out
    assert "What can be removed" in (copy / "report.html").read_text()
    rows = [r for r in Run.open(copy).records() if r.method == "prune"]
    assert {row.sparsity for row in rows} == {0.0, 0.5, 0.9}
    assert len({row.lam for row in rows}) == 5
    assert {"valid/accuracy", "valid/nll", "removed"} <= {row.column for row in rows}
    assert not any(row.part == "test" for row in rows)


def test_json_is_the_surface(call: Call, copy: Path) -> None:
    from netdial.pruning.weights import Policy, surface

    said = call(
        "prune", "wine", "--shares", ".7,0", "--lams", "0.1,1", "--criterion", "magnitude",
        "--scope", "layer", "--biases", "--no-fold", "--samples", "0", "--split", "test", "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    run = Run.open(copy)
    task = open_task(run)
    found = surface(
        open_family(run), task.test, lams=[0.1, 1.0], shares=(0.7, 0.0), criterion="magnitude",
        policy=Policy(scope="layer", biases=True),
    )  # fmt: skip
    assert answer["split"] == "test"
    for row, expected in zip(answer["surface"], found.table(), strict=True):
        assert row == pytest.approx(expected)
    assert [best["share"] for best in answer["best"]] == [0.7, 0.0]
    pruned = {how_words(row.where) for row in run.records() if row.method == "prune"}
    assert "magnitude, per layer, biases too, nothing folded" in pruned


def test_default_is_a_fine_surface_by_density(call: Call, copy: Path) -> None:
    answer = json.loads(call("prune", "wine", "--samples", "0", "--points", "3", "--json").out)
    assert len(answer["surface"]) == 3 * 14
    assert {row["share"] for row in answer["surface"]} >= {0.0, 0.5, 0.95}
    rows = json.loads(call("prune", "wine", "--rows", "--samples", "0", "--json").out)
    assert {row["removed"] for row in rows["surface"] if row["share"] == 0.5} == {4 * 13.0}


def test_points_are_pruned_by_magnitude_and_density_is_refused(call: Call) -> None:
    args = ("--objective", "l2", "--model", "linear", "--epochs", "1", "--points", "2", "-q")
    assert call("fit", "wine", *args).code == 0
    assert json.loads(call("prune", "wine", "--json").out)["surface"]
    rows = Run.open(Path("runs/wine")).records()
    assert {r.where["criterion"] for r in rows if r.method == "prune"} == {"magnitude"}
    said = call("prune", "wine", "--criterion", "density")
    assert said.code == 2
    assert "a point posterior has none; choose magnitude" in said.line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--shares", "0,1"], ["share=1: outside [0, 1)", "0.9 for 90 %"]),
        (["--shares", "0,half"], ["--shares '0,half'", "expected numbers"]),
        (["--shares", "-0.1"], ["share=-0.1: outside [0, 1)"]),
        (["--lams", "1e9"], ["outside the trained range"]),
        (["--lams", "1", "--points", "3"], ["--lams and --points exclude each other"]),
        (["--criterion", "densty"], ["unknown criterion 'densty'", "did you mean 'density'?"]),
        (["--split", "train"], ["unknown split 'train'"]),
        (["--structured"], ["no such option", "--structured"]),
        (["--share", "0.5"], ["--share", "did you mean --shares?"]),
    ],
)
def test_wrong_input_is_one_line_and_leaves_the_run_as_it_was(
    call: Call, copy: Path, args: list[str], words: list[str]
) -> None:
    before = (copy / "records.jsonl").read_bytes(), (copy / "report.html").read_bytes()
    said = call("prune", "wine", *args)
    assert said.code == 2
    assert said.out == ""
    for word in words:
        assert word in said.line
    assert before == ((copy / "records.jsonl").read_bytes(), (copy / "report.html").read_bytes())


def test_runs_that_cannot_be_pruned(call: Call, copy: Path) -> None:
    assert "did you mean" in call("prune", "wines").line
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "format": 99}))
    said = call("prune", "wine")
    assert said.code == 2
    assert "has format 99" in said.line
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "DONE").unlink()
    assert "training has not finished" in call("prune", "wine").line
