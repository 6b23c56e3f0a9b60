"""An experiment's name becomes files in a folder, once; what is wrong is said in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from netdial.core.errors import CheckpointError, ConfigError, DataError
from netdial.jobs.pool import Made
from netdial.papers import EXPERIMENTS, folder_of, perform
from netdial.papers.lab.lab import claim
from netdial.papers.lab.outcome import Outcome, TextTable, lost_words
from netdial.papers.lab.page import standing_of, write_outcome


def test_every_experiment_has_a_module_and_a_line() -> None:
    from importlib import import_module

    for name, words in EXPERIMENTS.items():
        module = import_module(f"netdial.papers.{name.replace('-', '_')}")
        assert callable(module.experiment)
        assert ":" in words


def test_performed_twice_gives_the_same_without_work(tmp_path: Path) -> None:
    told: list[Made] = []

    def once() -> Outcome:
        return perform(
            "surface",
            folder=tmp_path / "x",
            data="wine",
            quick=True,
            workers=1,
            report=told.append,
        )

    first = once()
    assert len(told) == 2
    page = (tmp_path / "x" / "report.html").read_text(encoding="utf-8")
    result = json.loads((tmp_path / "x" / "RESULT.json").read_text(encoding="utf-8"))
    second = once()
    assert len(told) == 2
    assert first.to_json() == second.to_json() == result
    assert len(result["values"]["accuracy"]) == len(result["values"]["lams"]) == 9
    assert (tmp_path / "x" / "report.html").read_text(encoding="utf-8") == page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert len(page) < 500_000
    assert first.lead in page


def test_an_experiment_says_first_what_it_can() -> None:
    said = {"rival": ("12 %", "of test images right, direct networks")}
    told = standing_of(
        Outcome("x", "t", "l", (), settings={"network": "lenet5", "starts": 3}, facts=said)
    )
    assert (told.rival.value, told.rival.note) == said["rival"]
    assert told.cost.value == "lenet5"
    assert told.sure.value == "3 starts"
    alone = standing_of(Outcome("x", "t", "l", (), settings={"seeds": 1}))
    assert len(alone.tiles()) == 6
    assert "one start" in alone.sure.note
    assert lost_words(-0.1) == "nothing"


def test_more_seeds_keep_the_seeds_that_are_there(tmp_path: Path) -> None:
    told: list[Made] = []
    for seeds in (1, 2):
        perform(
            "surface",
            folder=tmp_path,
            data="wine",
            quick=True,
            seeds=seeds,
            workers=1,
            report=told.append,
        )
    assert len(told) == 2 + 2
    assert all("seed 1" in made.label for made in told[2:])


def test_unknown_experiments_offer_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match="unknown experiment 'mnist-table2'; did you mean 'mnist-table1'"
    ):
        perform("mnist-table2")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quick": True, "full": True}, "exclude each other"),
        ({"seeds": 0}, "seeds=0; expected at least 1"),
        ({"data": "diabetes"}, "is a regression"),
        ({"data": "wines"}, "did you mean 'wine'"),
    ],
)
def test_wrong_options_are_refused_and_leave_no_folder(
    tmp_path: Path, options: dict, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        perform("surface", folder=tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_wine_is_wine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wine-fig3 is an experiment on wine"):
        perform("wine-fig3", folder=tmp_path / "x", data="digits")


def test_absent_data_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETDIAL_DATA", raising=False)
    with pytest.raises(DataError, match="NETDIAL_DATA"):
        perform("mnist-table1", folder=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_folders_have_owners(tmp_path: Path) -> None:
    claim(tmp_path, "surface")
    claim(tmp_path, "surface")
    with pytest.raises(CheckpointError, match="holds the experiment 'surface', not 'theory'"):
        claim(tmp_path, "theory")
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"cannot be read .*--out"):
        claim(tmp_path, "surface")


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    claim(tmp_path, "theory")
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "engine": "0", "netdial": "0.0.7"}))
    with pytest.raises(
        CheckpointError, match=r"filled by another version \(netdial 0.0.7.*engine 0"
    ):
        perform("theory", folder=tmp_path, data="wine", quick=True, workers=1)


def test_usual_folders() -> None:
    assert folder_of("theory") == Path("runs/reproduce/theory")
    assert folder_of("theory", quick=True) == Path("runs/reproduce/theory-quick")


def test_markup_in_an_outcome_stays_text_and_nan_becomes_null(tmp_path: Path) -> None:
    outcome = Outcome(
        "theory",
        "<script>alert(1)</script>",
        "lead",
        (TextTable("t", ("a", "b"), (("<b>", "1"),)),),
        values={"x": [math.nan, 1.0]},
    )
    result, page = write_outcome(outcome, tmp_path)
    assert json.loads(result.read_text())["values"] == {"x": [None, 1.0]}
    text = page.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert "&lt;b&gt;" in text
