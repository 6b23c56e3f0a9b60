"""A way of training is one file: command, help, resuming, list, report and settings come from the registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdial.cli import main
from netdial.cli.app import commands
from netdial.core.errors import ConfigError
from netdial.jobs.pool import make_all
from netdial.jobs.reports import list_runs, write_report
from netdial.jobs.trial import Trial
from netdial.jobs.ways import WAYS, way_of
from netdial.runs.run import Run
from netdial.runs.store import Store, key

from . import toy_way


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of runs of the toy way, which is registered for the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(toy_way, "STOP_AFTER", 0)
    toy_way.register()
    yield tmp_path / "runs"
    WAYS._parts.pop("toy")
    commands.cache_clear()  # they know of it


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """Returns what a command printed on stdout."""
    capsys.readouterr()
    assert main(list(words)) == code
    return capsys.readouterr().out


def test_a_registered_way_is_a_command_with_help(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Guess the mean of the targets." in said(capsys, "--help")
    options = said(capsys, "toy", "--help")
    assert "--pull" in options
    assert "--epochs" in options


def test_it_trains_resumes_lists_and_reports(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("toy", "diabetes", "--epochs", "8", "--json", "--quiet")
    whole = json.loads(said(capsys, *words, "--name", "whole"))
    monkeypatch.setattr(toy_way, "STOP_AFTER", 3)
    said(capsys, *words, "--name", "parts", code=130)
    assert not Run.open(toy / "parts").is_done
    monkeypatch.setattr(toy_way, "STOP_AFTER", 0)
    parts = json.loads(said(capsys, *words, "--name", "parts", "--resume"))
    assert parts["guess"] == whole["guess"]
    rows = {row.name: row for row in list_runs(toy)}
    assert rows["parts"].way == rows["whole"].way == "toy"
    assert rows["parts"].best == whole["guess"]
    assert f"{whole['guess']:.3g}" in said(capsys, "list").replace(" ", "") or "parts" in rows
    page = write_report(toy / "parts").read_text(encoding="utf-8")
    assert f"The guess is {whole['guess']:.4f}." in page
    assert way_of(Run.open(toy / "whole")) is toy_way.TOY


def test_a_trial_is_made_once_and_goes_on(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(toy)
    cells = [Trial("diabetes", {"epochs": 8, "pull": pull}, "toy") for pull in (0.25, 0.5)]
    monkeypatch.setattr(toy_way, "STOP_AFTER", 3)
    with pytest.raises(KeyboardInterrupt):
        make_all(cells, store, workers=1)
    assert cells[0].run(store).last_step == 3
    monkeypatch.setattr(toy_way, "STOP_AFTER", 0)
    assert make_all(cells, store, workers=1) == 2
    assert make_all([*cells, Trial("diabetes", {"pull": 0.5, "epochs": 8}, "toy")], store) == 0
    assert {row.best for row in list_runs(toy / "cells")} == {
        toy_way.answer(cell.run(store)) for cell in cells
    }
    write_report(store.path(cells[0]))
    assert store.is_made(cells[0])


@pytest.mark.parametrize("where", ["path", "data_dir", "NETDIAL_DATA"])
def test_the_key_of_a_trial_depends_on_the_bytes_of_its_table(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (folder := tmp_path / "tables").mkdir()
    table = folder / "table.csv"
    table.write_text("x,y\n1,2\n")
    if where == "NETDIAL_DATA":
        monkeypatch.setenv("NETDIAL_DATA", str(folder))
    name = str(table) if where == "path" else "table.csv"
    how = {"data_dir": str(folder)} if where == "data_dir" else {}
    first = key(Trial(name, {}, "toy", **how))
    assert first == key(Trial(name, {"pull": 0.25}, "toy", **how))
    table.write_text("x,y\n1,3\n")
    assert first != key(Trial(name, {}, "toy", **how))
    with pytest.raises(ConfigError, match="pull"):
        Trial(str(table), {"pull": "much"}, "toy")


def test_a_run_of_another_way_is_refused_with_its_name(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "toy", "diabetes", "--epochs", "2", "--quiet", "--name", "mine")
    capsys.readouterr()
    assert main(["evaluate", "mine"]) == 2
    assert "netdial toy" in capsys.readouterr().err
    assert main(["fit", "diabetes", "--name", "mine", "--resume"]) == 2
    assert "netdial toy" in capsys.readouterr().err


def test_an_unknown_way_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'shrink'"):
        WAYS["shrnik"]
