"""Somebody else's run folder runs no code: a function that it names is called only by who says so."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from netdial.runs.run import Run

from ...early import resealed
from ..conftest import Call

PAYLOAD = """
from pathlib import Path
Path("imported").touch()

def make():
    import torch
    Path("called").touch()
    torch.manual_seed(0)
    part = (torch.randn(30, 13), torch.arange(30) % 3)
    return torch.nn.Linear(13, 3), part, part, part
"""
COMMANDS = (
    ("export", "--lam", "0.1"),
    ("evaluate",),
    ("choose",),
    ("prune",),
    ("slim",),
    ("evidence",),
    ("finetune", "--lam", "0.1"),
)


@pytest.fixture
def hostile(wine: Path, call: Call, tmp_path: Path) -> Path:
    """A run folder that names a function beside it as its data."""
    run = tmp_path / "runs" / "wine"
    shutil.copytree(wine, run)
    resealed(run / "config.json", data="payload:make")
    (tmp_path / "payload.py").write_text(PAYLOAD)
    return run


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words))
def test_no_command_calls_a_function_that_only_the_folder_names(
    hostile: Path, call: Call, tmp_path: Path, command: tuple[str, ...]
) -> None:
    before = sorted(hostile.rglob("*"))
    said = call(command[0], str(hostile), *command[1:])
    assert said.code == 2
    assert "payload:make" in said.line and "--trust" in said.line
    assert not (tmp_path / "imported").exists()
    assert "payload" not in sys.modules
    assert sorted(hostile.rglob("*")) == before


def test_listing_and_reporting_call_nothing(hostile: Path, call: Call, tmp_path: Path) -> None:
    assert call("list").code == call("report", str(hostile)).code == 0
    assert not (tmp_path / "imported").exists()


def test_going_on_with_other_data_calls_nothing(hostile: Path, call: Call, tmp_path: Path) -> None:
    (hostile / "DONE").unlink()
    said = call("fit", "wine", "--resume")
    assert said.code == 2 and "payload:make" in said.line
    assert not (tmp_path / "imported").exists()


def test_who_trusts_it_says_so(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trusted_payload.py").write_text(PAYLOAD)
    small = ("--epochs", "1", "--points", "2", "--samples", "0", "-q")
    assert call("fit", "trusted_payload:make", *small, "--name", "mine").code == 0
    (tmp_path / "called").unlink()
    assert call("evaluate", "mine").code == 2
    assert not (tmp_path / "called").exists()
    assert call("evaluate", "mine", "--trust").code == 0
    assert (tmp_path / "called").exists()
    Run.open(tmp_path / "runs" / "mine").done_path.unlink()
    assert call("fit", "trusted_payload:make", "--name", "mine", "--resume", "-q").code == 0
