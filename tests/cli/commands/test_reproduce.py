"""``netdial reproduce``: a table for people, one object for programs, and a killed run that goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from netdial.cli import main

from ..conftest import Call, finish, start

TABLE1 = ("reproduce", "mnist-table1", "--data", "digits", "--quick", "--workers", "1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert main([*TABLE1, "--quiet", "--out", str(folder)]) == 0
    return folder


def wait_for_cells(folder: Path, count: int, process: subprocess.Popen[str]) -> list[Path]:
    """Waits until so many cells are made, and returns them, however slow the machine is."""
    while len(found := sorted(folder.glob("cells/[!.]*/DONE"))) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    return found


def test_without_a_name_the_experiments_are_listed(call: Call) -> None:
    said = call("reproduce")
    assert said.code == 0
    assert "mnist-table1" in said.out
    assert "Theorem 2" in said.out
    names = json.loads(call("reproduce", "--json").out)["experiments"]
    assert {
        "mnist-table1",
        "mnist-2021",
        "wine-fig3",
        "surface",
        "cifar-table2",
        "theory",
    } <= names.keys()


@pytest.mark.slow
def test_table_progress_and_files(call: Call, tmp_path: Path) -> None:
    said = call(*TABLE1)
    assert said.code == 0, said.err
    folder = tmp_path / "runs" / "reproduce" / "mnist-table1-quick"
    assert "Under the paper's rule" in said.out
    assert "chosen on validation data" in said.out
    assert "…" not in said.out.replace(" … ", " ")
    lines = said.err.splitlines()
    assert lines[0].startswith("[1/22] digits scaled-kl direct")
    assert lines[-1].startswith("[22/22] ")
    assert (folder / "report.html").stat().st_size > 100_000
    again = call(*TABLE1, "--json")
    assert again.err == ""
    found = json.loads(again.out)
    assert found["folder"] == "runs/reproduce/mnist-table1-quick"
    assert found["values"]["shares"] == [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]
    assert json.loads((folder / "RESULT.json").read_text())["values"] == found["values"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("mnist-tabel1",), "unknown experiment 'mnist-tabel1'; did you mean 'mnist-table1'?"),
        (("theory", "--quick", "--full"), "quick and full exclude each other"),
        (("surface", "--data", "diabetes"), "is a regression"),
        (("wine-fig3", "--data", "digits"), "wine-fig3 is an experiment on wine"),
        (("mnist-2021", "--data-dir", "nowhere"), "nowhere"),
        (("surface", "--seeds", "0"), "--seeds"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    call: Call, tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    said = call("reproduce", *words)
    assert said.code == 2
    assert line in said.line
    assert len(said.err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_absent_data_names_the_variable(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETDIAL_DATA", raising=False)
    said = call("reproduce", "mnist-table1")
    assert said.code == 2
    assert "Set NETDIAL_DATA=" in said.line


def test_a_folder_of_another_version_is_left_alone(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    manifest = {"format": 1, "experiment": "theory", "engine": "0", "netdial": "0.0.1"}
    (folder / "experiment.json").write_text(json.dumps(manifest))
    said = call("reproduce", "theory", "--quick", "--out", "mine")
    assert said.code == 2
    assert "was filled by another version (netdial 0.0.1" in said.line
    assert [path.name for path in folder.iterdir()] == ["experiment.json"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_gone_on_with(
    tmp_path: Path, call: Call, whole: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "x"
    process = start(*TABLE1, "--out", "x", cwd=tmp_path)
    wait_for_cells(folder, 2, process)
    process.send_signal(number)
    ended = finish(process)
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("cells/[!.]*/DONE")}
    assert 2 <= len(kept) < 22
    if number == signal.SIGINT:
        assert ended.code == 130
        assert "what is done is kept in x: the same command goes on" in ended.line
    said = call(*TABLE1, "--out", "x", "--json")
    assert said.code == 0, said.err
    assert len(said.err.splitlines()) == 22 - len(kept)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    uninterrupted = json.loads((whole / "RESULT.json").read_text())
    assert json.loads(said.out)["values"] == uninterrupted["values"]
