"""``netdial choose`` end to end: a folder with a card, records, one JSON object, and one line for what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import netdial as nd
from netdial.jobs.opening import open_run
from netdial.jobs.reports import write_report
from netdial.models.member import load_member
from netdial.report.text import number
from netdial.runs.curves import constants, headline, members
from netdial.runs.run import Run
from netdial.runs.surfaces import pruned

from ..conftest import Call


@pytest.fixture
def run(wine: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    shutil.copytree(wine, tmp_path / "runs" / "wine")
    return tmp_path / "runs" / "wine"


def test_choose_writes_the_member_and_its_card(call: Call, run: Path) -> None:
    answer = json.loads(call("choose", "wine", "--json").out)
    assert answer["by"] == "one-se"
    assert answer["path"] == "runs/wine/choice"
    assert "test" not in answer and "agreement" not in answer
    assert {path.name for path in (run / "choice").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    net = load_member(run / "choice")
    kept = sum(int(leaf.count_nonzero()) for leaf in net.parameters())
    assert kept == answer["costs"]["params"]
    assert net(torch.zeros(2, 13)).shape == (2, 3)
    card = (run / "choice/README.md").read_text(encoding="utf-8")
    assert "library_name" in card and "| data | wine |" in card
    assert "The test data were not looked at." in card
    found = {r.column: r for r in Run.open(run).records() if r.method == "choose"}
    assert found["valid/accuracy"].value == answer["valid"]["accuracy"]
    assert found["valid/accuracy"].sparsity == answer["share"]
    assert found["params"].value == kept
    assert not any(name.startswith("test/") for name in found)
    assert not list(run.glob(".choice*"))


def test_an_earlier_choice_is_replaced(call: Call, run: Path) -> None:
    one = json.loads(call("choose", "wine", "--by", "best", "--shares", "0", "--json").out)
    two = json.loads(call("choose", "wine", "--max-params", "60", "--json").out)
    assert one["costs"]["params"] > 60 >= two["costs"]["params"]
    net = load_member(run / "choice")
    assert sum(int(leaf.count_nonzero()) for leaf in net.parameters()) == two["costs"]["params"]
    assert "in place of an earlier choice" in call("choose", "wine").out
    assert "in place" not in call("choose", "wine", "--out", "other").out


def test_all_options_together_for_people(call: Call, run: Path, tmp_path: Path) -> None:
    said = call(
        *("choose", "wine", "--max-bytes", "700", "--finetune", "2", "--agreement", "--test"),
        *("--points", "3", "--shares", "0,0.5,0.9", "--out", "taken/wine"),
    )
    assert said.code == 0, said.err
    for text in (
        "one-se",
        "eb-elbo",
        "removed:",
        "of them fine-tuned",
        "test accuracy",
        "taken/wine",
    ):
        assert text in said.out, text
    assert "looked at once" in (tmp_path / "taken/wine/README.md").read_text(encoding="utf-8")
    assert not (run / "choice").exists()
    found = {r.column for r in Run.open(run).records() if r.method == "choose"}
    assert "test/accuracy" in found


def test_one_rule_decides_for_the_command_line_the_report_and_choose(call: Call, run: Path) -> None:
    """The headline of the run, its report, ``netdial choose`` and ``nd.choose`` name the same members."""
    opened = Run.open(run)
    records = opened.records()
    answer = headline(members(records), opened.config, constants(records))
    assert answer is not None and answer.simplest is not None
    family, task = open_run(opened)
    for rule, lam in (("best", answer.best.lam), ("one-se", answer.simplest.lam)):
        said = json.loads(call("choose", "wine", "--by", rule, "--shares", "0", "--json").out)
        found = nd.choose(
            family,
            task.valid,
            train=task.train,
            by=rule,
            shares=[0.0],
            lams=opened.config["points"],
        )
        assert said["lam"] == pytest.approx(lam)
        assert found.lam == pytest.approx(lam)
    page = write_report(run).read_text(encoding="utf-8").replace("\u00a0", " ")
    assert f"predicts best at complexity λ = {number(answer.best.lam)}," in page
    dialled = f"turn the dial up to λ = {number(answer.simplest.lam)}:" in page
    assert dialled == (answer.simplest.lam != answer.best.lam)


def test_the_report_of_pruning_names_what_choose_takes(call: Call, run: Path) -> None:
    assert call("prune", "wine", "--shares", "0,0.5,0.8,0.9,0.95").code == 0
    (surface,) = pruned(Run.open(run).records())
    choice = surface.choice()
    assert choice is not None
    for rule, (share, row) in zip(("best", "one-se"), choice, strict=True):
        options = ("--by", rule, "--shares", "0,0.5,0.8,0.9,0.95", "--json")
        said = json.loads(call("choose", "wine", *options).out)
        assert (said["lam"], said["share"]) == (pytest.approx(row.lam), share)
        assert said["costs"]["params"] == row.size


def test_any_metric_decides_and_a_constant_stands_beside(call: Call, run: Path) -> None:
    answer = json.loads(call("choose", "wine", "--metric", "balanced_accuracy", "--json").out)
    assert answer["metric"] == "balanced_accuracy"
    assert {"balanced_accuracy", "nll", "accuracy"} <= set(answer["valid"])
    assert set(answer["constant"]) >= {"balanced_accuracy", "nll", "accuracy"}
    assert answer["constant"]["balanced_accuracy"] == pytest.approx(1 / 3)
    assert answer["using"] in ("mean weights", "predictive")
    said = call("choose", "wine", "--metric", "acuracy")
    assert said.code == 2 and "unknown metric 'acuracy'; did you mean 'accuracy'" in said.line


def test_exporting_what_is_worse_than_a_constant_warns(call: Call, run: Path) -> None:
    rows = members(Run.open(run).records())
    constant = constants(Run.open(run).records())
    for row in (rows[0], rows[-1]):
        worse = row.values["valid/nll"] > constant["valid/nll"]
        said = call("export", "wine", "--lam", str(row.lam), "--out", "m")
        assert ("worse than a constant" in said.out) == worse


def test_agreement_as_json(call: Call, run: Path) -> None:
    answer = json.loads(call("choose", "wine", "--agreement", "--json").out)
    rows = {row["by"]: row for row in answer["agreement"]}
    assert {"best", "one-se", "elbo", "eb-elbo", "mdl"} <= set(rows)
    assert rows["best"]["lost"] == 0
    assert rows["one-se"]["lam"] == answer["lam"]
    assert all(row["lost"] >= 0 for row in rows.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-params", "5"), "no member meets max_params=5"),
        (("--by", "sparcest"), "unknown rule 'sparcest'; did you mean 'sparsest'"),
        (("--by", "thermodynamic"), "chooses no lam"),
        (("--shares", "0.5,1"), "outside [0, 1)"),
        (("--lams", "1e9"), "outside the trained range"),
        (("--lams", "1", "--points", "3"), "--lams and --points exclude each other"),
        (("--min-accuracy", "98"), "min_accuracy=98; expected a share"),
        (("--criterion", "x"), "unknown criterion 'x'"),
    ],
)
def test_wrong_input_is_one_line(
    call: Call, run: Path, options: tuple[str, ...], message: str
) -> None:
    said = call("choose", "wine", *options)
    assert said.code == 2
    assert message in said.line
    assert not (run / "choice").exists()


def test_nothing_but_an_earlier_choice_is_written_over(
    call: Call, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/README.md").write_text("mine")
    (tmp_path / "mine/thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place in ("mine", "file"):
        said = call("choose", "wine", "--points", "2", "--out", place)
        assert said.code == 2
        assert "exists and is no earlier choice" in said.line
    assert (tmp_path / "mine/thesis.tex").read_text() == "mine"


def test_an_unfinished_run_has_nothing_to_choose(call: Call, run: Path) -> None:
    (run / "DONE").unlink()
    said = call("choose", "wine")
    assert said.code == 2
    assert "training has not finished" in said.line


def test_a_run_of_another_version_is_refused(call: Call, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "format": 99}))
    said = call("choose", "wine")
    assert said.code == 2
    assert "has format 99, this netdial reads format" in said.line
