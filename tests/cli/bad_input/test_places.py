"""What a command is about, named wrongly: where was looked, what is there, and what to name in its place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer

from netdial.cli.app import app

from ..conftest import Call

COMMANDS = typer.main.get_command(app)
NO_WORK = {"list", "report", "predict", "inspect", "serve", "doctor"}
"""Commands that say nothing of progress, because they work for no longer than reading takes."""


@pytest.fixture
def runs(wine: Path, tmp_path: Path) -> Path:
    shutil.copytree(wine, tmp_path / "runs" / "wine")
    return tmp_path / "runs"


@pytest.mark.parametrize("command", [["serve"], ["predict"], ["inspect"]])
def test_a_model_that_is_not_there(command: list[str], runs: Path, call: Call) -> None:
    rows = ["rows.csv"] if command == ["predict"] else []
    said = call(*command, "nosuch", *rows)
    assert said.code == 2
    for words in ("looked for nosuch and runs/nosuch", "runs in runs: wine"):
        assert words in said.err
    said = call(*command, "nosuch", *rows, "--runs-dir", "none")
    assert "none holds no runs, --runs-dir names another folder" in said.err


def test_a_sweep_is_no_model(call: Call, tmp_path: Path) -> None:
    spec = {"name": "s", "data": "wine", "way": "fit", "space": {"lr": [0.01]}, "trials": 1}
    spec |= {"settings": {"model": "linear", "epochs": 1, "points": 2}, "workers": 1}
    (tmp_path / "s.json").write_text(json.dumps(spec))
    assert call("sweep", "s.json", "--quiet").code == 0
    for name in ("s", "runs/sweeps/s"):
        said = call("serve", name, "--port", "0")
        assert said.code == 2 and "is a sweep, many runs" in said.err
        best = said.err.partition("the best trial is ")[2].partition(" (")[0]
        assert (Path(best) / "DONE").exists()
        assert "netdial report runs/sweeps/s" in said.err


@pytest.mark.parametrize("command", ["export", "finetune"])
def test_which_member_is_asked_after_what_the_run_is(
    command: str, runs: Path, call: Call, tmp_path: Path
) -> None:
    said = call(command, "wine")
    assert said.code == 2 and "which member? Give --lam" in said.err
    assert "is the best on validation data" in said.err
    few = ("--model", "mlp:4", "--lam", "0.5", "--epochs", "1", "--name", "small", "--quiet")
    assert call("shrink", "wine", *few).code == 0
    said = call(command, "small", *(("--lam", "0.5") if command == "export" else ()))
    assert said.code == 2 and "one network and no family" in said.err
    assert "--lam" not in said.err


@pytest.mark.parametrize("name", sorted(set(COMMANDS.commands)))
def test_the_same_options_are_called_the_same_everywhere(name: str, call: Call) -> None:
    said = call(name, "--help").out
    assert "--json" in said
    assert "--out" not in said or "-o, --out" in said
    assert name in NO_WORK or "-q, --quiet" in said


@pytest.mark.parametrize(
    "command",
    [
        ["slim", "-o", "made"],
        ["compress", "-o", "made", "--max-bytes", "3000"],
        ["choose", "-o", "made"],
        ["prune"],
        ["evidence"],
    ],
)
def test_a_run_that_cannot_be_written_to_is_refused_before_the_work(
    command: list[str], runs: Path, call: Call
) -> None:
    (runs / "wine" / "records.jsonl").chmod(0o444)
    said = call(command[0], "wine", *command[1:])
    assert said.code == 2 and "protected from writing" in said.line
    assert not Path("made").exists()
    if command[0] == "slim":  # one network has no records to write
        model = str(runs / "wine" / "model" / "family.safetensors")
        assert call(*command[:1], model, "--lam", "0.1", *command[1:]).code == 0
