"""A run of which something is gone after its end: every command that reads it says what is missing, and writes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from netdial.cli import main

COMMANDS = (
    "report",
    "evaluate",
    "evaluate --rivals",
    "serve --port 0",
    "prune",
    "slim",
    "compress",
    "evidence",
    "choose",
    "finetune --lam 0.1",
    "fit --resume --epochs 1 --points 3 --model mlp:4 --name",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    fit = f"fit wine --epochs 1 --points 3 --model mlp:4 --name w --quiet --runs-dir {root}"
    assert main(fit.split()) == 0
    return root / "w"


@pytest.fixture
def copy(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(whole, tmp_path / "runs" / "w")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "w"


@pytest.mark.parametrize("command", COMMANDS)
def test_records_cut_short(copy: Path, command: str, capsys: Any) -> None:
    lines = (copy / "records.jsonl").read_text().splitlines(keepends=True)
    (copy / "records.jsonl").write_text("".join(lines[:-6]))
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    words = command.split()
    place = "wine" if words[0] == "fit" else "w"
    assert main([words[0], place, *words[1:], *(["w"] if words[0] == "fit" else [])]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{len(lines) - 6} of the {len(lines)} rows" in said
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["records.jsonl", "details.json", "splits.json"])
def test_a_file_that_is_gone(copy: Path, name: str, capsys: Any) -> None:
    (copy / name).unlink()
    for command in ("evaluate",) if name == "splits.json" else ("report", "serve --port 0"):
        words = command.split()
        assert main([words[0], "w", *words[1:]]) == 2
        assert f"{name}: is missing" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "report"])
def test_a_model_that_is_gone(copy: Path, command: str, capsys: Any) -> None:
    """``fit --resume`` of it said that all was done, and left none."""
    shutil.rmtree(copy / "model")
    words = command.split()
    place = "wine" if words[0] == "fit" else "w"
    assert main([words[0], place, *words[1:], *(["w"] if words[0] == "fit" else [])]) == 2
    assert "family.safetensors: is missing, and was" in " ".join(capsys.readouterr().err.split())


def test_predictions_of_a_run_whose_model_is_gone(copy: Path, capsys: Any) -> None:
    shutil.rmtree(copy / "model")
    assert main(["predict", "w", str(copy / "rows.csv")]) == 2
    assert "a run folder whose model is gone" in " ".join(capsys.readouterr().err.split())


def test_an_interruption_is_said(copy: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """typer makes an exit code of it, without a word."""

    def interrupted(*given: Any, **named: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("netdial.cli.output.print_json", interrupted)
    assert main(["evaluate", "w", "--json"]) == 130
    assert capsys.readouterr().err.endswith("netdial: interrupted\n")


def test_the_list_and_comparisons_say_it(copy: Path, capsys: Any) -> None:
    shutil.copytree(copy, copy.parent / "v")
    assert main(["report", "w", "v", "--out", "both.html"]) == 0
    text = (copy / "records.jsonl").read_text()
    (copy / "records.jsonl").write_text(text[: len(text) // 2])
    capsys.readouterr()
    assert main(["list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    assert rows["w"]["status"] == "damaged"
    assert "cut short" in rows["w"]["problem"]
    assert rows["v"]["status"] == "done"
    assert main(["report", "w", "v", "--out", "both.html"]) == 2
    assert "records.jsonl: was cut short" in " ".join(capsys.readouterr().err.split())


def test_a_run_is_not_compared_with_itself(copy: Path, capsys: Any) -> None:
    assert main(["report", "w", "./w", "--out", "both.html"]) == 2
    assert "w stands there twice" in " ".join(capsys.readouterr().err.split())
    assert not (copy.parent / "both.html").exists()


def test_a_page_is_written_as_a_page_alone(copy: Path, capsys: Any) -> None:
    assert main(["report", "w", "--out", "w.pdf"]) == 2
    assert ".html" in capsys.readouterr().err and not Path("w.pdf").exists()
    assert main(["report", "w", "--out", "w.htm"]) == 0
    assert Path("w.htm").read_text().startswith("<!doctype html>")
