"""``netdial evidence``: tables for people, one object for programs, records in the run, one line on what is not legal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from netdial.runs.run import Run

from ..conftest import Call


@pytest.fixture
def run(wine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(wine, tmp_path / "wine"))


def test_the_default_is_a_table_with_choices_and_a_line_on_legality(call: Call, run: Path) -> None:
    said = call("evidence", str(run), "--samples", "8")
    assert said.code == 0
    for name in ("elbo", "eb-elbo", "mdl"):
        assert f"{name} chooses λ = " in said.out
    assert said.out.count(" *") == 3
    assert "members are tempered posteriors" in said.out
    assert said.err == ""


def test_json_is_one_object_and_records_are_written(call: Call, run: Path) -> None:
    args = ("--lams", "0.1,1,10", "--samples", "30")
    said = call(
        "evidence",
        str(run),
        "--by",
        "elbo,psis-loo,wbic,thermodynamic",
        *args,
        "--health",
        "--json",
    )
    assert said.code == 0
    answer = json.loads(said.out)
    assert [e["lam"] for e in answer["estimates"] if e["name"] == "elbo"] == [0.1, 1.0, 10.0]
    assert set(answer["chosen"]) == {"elbo", "psis-loo"}
    assert answer["estimates"][-1]["lam"] is None
    assert len(answer["health"]["slopes"]) == 3
    assert set(answer) == {"run", "objective", "estimates", "chosen", "legal", "doubts", "health"}
    rows = [r for r in Run.open(run).records() if r.method == "evidence"]
    records = {(r.where["estimator"], r.name, r.lam): r.value for r in rows}
    assert records["elbo", "evidence", 1.0] == answer["estimates"][1]["value"]
    assert ("thermodynamic", "evidence", None) in records


def test_all_that_applies_and_health(call: Call, run: Path) -> None:
    said = call(
        "evidence", str(run), "--by", "all", "--samples", "30", "--lams", "0.1,1", "--health"
    )
    assert said.code == 0
    assert "thermodynamic: " in said.out
    assert "wbic (member λ = 4.66): " in said.out
    assert "caution: " in said.out
    assert "slope ÷ due" in said.out and "health: " in said.out


def test_it_is_repeatable(call: Call, run: Path) -> None:
    args = (
        "evidence",
        str(run),
        "--by",
        "elbo,waic",
        "--json",
        "--examples",
        "50",
        "--samples",
        "4",
    )
    assert call(*args).out == call(*args).out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--by", "elbow"), "unknown estimator 'elbow'; did you mean 'elbo'?"),
        (("--by", "objective"), "is not comparable along λ"),
        (("--by", "iwae", "--examples", "10"), "iwae: needs all 106 examples"),
        (("--lams", "0.1,x"), "expected numbers joined by commas"),
        (("--lams", "1e9"), "outside the trained range"),
        (("--samples", "1"), "greater than or equal to 2"),
    ],
)
def test_wrong_input_is_one_line(
    call: Call, run: Path, args: tuple[str, ...], message: str
) -> None:
    said = call("evidence", str(run), *args)
    assert said.code == 2
    assert message in said.line
    assert len(said.err.strip().splitlines()) == 1
    assert said.out == ""


def test_what_has_no_evidence_says_what_to_train(call: Call, points: Path) -> None:
    for asked in ((), ("--by", "elbo"), ("--by", "all"), ("--health",)):
        said = call("evidence", str(points), *asked)
        assert said.code == 2 and said.out == ""
        assert "'l1'" in said.line and "netdial fit --objective ard" in said.line


def test_points_have_the_laplace_evidence_alone(call: Call) -> None:
    args = ("--model", "linear", "--epochs", "2", "--points", "3", "--samples", "0")
    call("fit", "wine", "--objective", "l2", *args)
    said = call("evidence", "wine")
    assert said.code == 0
    assert "laplace-kronecker chooses λ = " in said.out
    said = call("evidence", "wine", "--by", "elbo")
    assert said.code == 2
    assert "'elbo' does not apply to 'l2'" in said.line
