"""Run folders and the command line that fills them: two processes, kills, strangers' folders, overwriting."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from netdial.core.errors import NetdialError
from netdial.runs.folder import hold
from netdial.runs.run import Run
from netdial.runs.shrinkage import events

from ..early import resealed
from .situations import command, refused, right

SMALL = ("--model", "linear", "--epochs", 2, "--points", 2, "--samples", 0, "--quiet")


def fit(folder: Path, *words: object) -> Path:
    command(folder, "fit", "wine", *SMALL, *words)
    return folder / "runs" / "wine"


HOLDER = """
import sys, time
from pathlib import Path
from netdial.core.errors import NetdialError
from netdial.runs.folder import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def held_by_another(run: Path):  # type: ignore[no-untyped-def]
    """Another process works in a run folder for as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.slow
@right
def test_two_processes_do_not_work_in_one_run(tmp_path: Path) -> None:
    """While another process works there, ``--resume``, ``--overwrite`` and ``report`` are refused and told its number; the
    folder is untouched. When that process is killed, work goes on."""
    run = fit(tmp_path)
    (run / "DONE").unlink()
    before = {
        path: path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    with held_by_another(run) as pid:
        for words in (("--resume",), ("--overwrite",)):
            with pytest.raises(NetdialError, match=str(pid)):
                command(tmp_path, "fit", "wine", *SMALL, *words)
        with pytest.raises(NetdialError, match=str(pid)):
            command(tmp_path, "report", "wine")
        after = {
            path: path.read_bytes()
            for path in run.rglob("*")
            if path.is_file() and path.name != ".lock"
        }
        assert after == before
    command(tmp_path, "fit", "wine", *SMALL, "--overwrite", "--seed", 1)
    assert json.loads((run / "config.json").read_text())["seed"] == 1


@refused("--resume", "--overwrite")
def test_a_run_of_that_name_is_there(tmp_path: Path) -> None:
    """A second run of the same name: both ways out are named."""
    fit(tmp_path)
    fit(tmp_path)


@right
def test_overwriting_keeps_files_of_the_users(tmp_path: Path) -> None:
    """``--overwrite`` replaces the run and leaves notes and plots in its folder."""
    run = fit(tmp_path)
    (run / "notes.txt").write_text("mine")
    (run / "model" / "plot.png").write_text("mine")
    fit(tmp_path, "--overwrite", "--seed", 3)
    assert json.loads((run / "config.json").read_text())["seed"] == 3
    assert (run / "notes.txt").read_text() == (run / "model" / "plot.png").read_text() == "mine"


@right
def test_overwriting_that_fails_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    """``--overwrite --lr 1e38`` diverges: the earlier run is there, bit for bit."""
    run = fit(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(NetdialError, match=r"step \d+: \w+ is (inf|nan)"):
        fit(tmp_path, "--overwrite", "--lr", 1e38)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@right
def test_a_run_that_is_done_gets_its_report_by_resume(tmp_path: Path) -> None:
    """The report of a finished run was lost: ``--resume`` writes it, and changes no model."""
    run = fit(tmp_path)
    model = load_file(run / "model" / "family.safetensors")
    (run / "report.html").unlink()
    fit(tmp_path, "--resume")
    assert (run / "report.html").stat().st_size > 1000
    again = load_file(run / "model" / "family.safetensors")
    assert all(bool((again[name] == value).all()) for name, value in model.items())


@right
def test_a_half_made_folder_is_no_dead_end(tmp_path: Path) -> None:
    """A kill in the first moments left an empty folder under the run's name or beside it: ``fit`` makes the run."""
    (tmp_path / "runs" / "wine").mkdir(parents=True)
    assert (fit(tmp_path) / "DONE").exists()
    left = [
        p.name
        for p in (tmp_path / "runs").iterdir()
        if p.name.startswith(".") and "lock" not in p.name
    ]
    assert not left


@right
def test_resuming_gives_the_run_that_nothing_stopped(tmp_path: Path) -> None:
    """Killed at its second checkpoint and gone on with: equal tensors, no record twice."""
    run = fit(tmp_path)
    whole, records = (
        load_file(run / "model" / "family.safetensors"),
        (run / "records.jsonl").read_text(),
    )
    (run / "DONE").unlink()
    fit(tmp_path, "--resume")
    again = load_file(run / "model" / "family.safetensors")
    assert all(bool((again[name] == value).all()) for name, value in whole.items())
    assert len((run / "records.jsonl").read_text().splitlines()) == len(records.splitlines())


@refused("link")
def test_a_symbolic_link_in_a_run_folder(tmp_path: Path) -> None:
    """A records file that leads elsewhere is not followed."""
    run = fit(tmp_path)
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (run / "records.jsonl").unlink()
    (run / "records.jsonl").symlink_to(outside)
    try:
        fit(tmp_path, "--resume")
        command(tmp_path, "prune", "wine")
    finally:
        assert outside.read_text() == "mine"


@refused("payload:make", "--trust")
def test_a_strangers_run_folder_runs_no_code(tmp_path: Path) -> None:
    """A run folder names a function as its data: not even its module is imported, until the user says ``--trust``."""
    run = fit(tmp_path)
    resealed(run / "config.json", data="payload:make")
    (tmp_path / "payload.py").write_text("from pathlib import Path\nPath('touched').touch()\n")
    try:
        command(tmp_path, "export", "wine", "--lam", 1)
    finally:
        assert not (tmp_path / "touched").exists()


@refused("data")
def test_a_setting_of_another_type(tmp_path: Path) -> None:
    """``data`` is a list in the settings of a run."""
    run = fit(tmp_path)
    resealed(run / "config.json", data=[1])
    command(tmp_path, "evaluate", "wine")


@refused("config.json: was changed after it was written", "another run (--name)")
def test_settings_of_a_run_that_were_edited_by_hand(tmp_path: Path) -> None:
    """``epochs`` is another number in the settings of a run that is done."""
    file = fit(tmp_path) / "config.json"
    file.write_text(file.read_text().replace('"epochs": 2', '"epochs": 3'))
    command(tmp_path, "evaluate", "wine")


@right
def test_a_run_that_cannot_be_read_does_not_spoil_the_list(tmp_path: Path) -> None:
    """Deep JSON in one run folder: the other run is listed, the problem of this one is named."""
    fit(tmp_path)
    bad = tmp_path / "runs" / "bad"
    bad.mkdir()
    (bad / "config.json").write_text("[" * 50_000 + "]" * 50_000)
    rows = {row["name"]: row for row in json.loads(command(tmp_path, "list", "--json")[0])["runs"]}
    assert rows["wine"]["status"] == "done" and rows["bad"]["problem"]


@refused("name")
def test_a_name_that_leads_out_of_the_folder(tmp_path: Path) -> None:
    """``--name ../x``."""
    fit(tmp_path, "--name", "../x")


@refused("no such run", "wine")
def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    """A mistyped run."""
    fit(tmp_path)
    command(tmp_path, "evaluate", "vine")


@refused("occupied")
def test_a_file_where_the_folder_of_runs_should_be(tmp_path: Path) -> None:
    """``--runs-dir`` leads to a file: no folder can be made in it, and its path is named."""
    (tmp_path / "occupied").write_text("mine")
    fit(tmp_path, "--runs-dir", "occupied")


@right
def test_a_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    """The lock file of a process that was killed hinders nobody."""
    run = Run.create(tmp_path, "r", {"data": "wine"}).path
    with held_by_another(run):
        pass
    with hold(run):
        assert run.is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["records.jsonl", "splits.json", "kills.jsonl"])
@right
def test_no_changed_byte_of_records_and_splits_is_read(tmp_path: Path, name: str) -> None:
    """One bit of any byte differs: reading is refused in words, wherever it lies, or gives the same numbers as before."""
    way = ("shrink", "--size", "60 params") if name == "kills.jsonl" else ("fit",)
    options = ("--model", "mlp:6", "--epochs", 2, "--quiet", "--name", "r")
    command(tmp_path, way[0], "wine", *options, *way[1:])
    run = Run.open(tmp_path / "runs" / "r")
    path = run.path / name
    content, read = path.read_bytes(), {
        "records.jsonl": run.records,
        "splits.json": run.parts,
        "kills.jsonl": lambda: events(run.path),
    }[name]  # fmt: skip
    before = read()
    assert content and before
    places = range(0, len(content), max(len(content) // 100, 1))
    for place in [*places, len(content) - 1]:
        for bit in (0, 3, 5):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                found = read()
            except NetdialError:
                continue
            assert found == before, (place, bit, bytes(changed[place - 20 : place + 20]))


@refused("splits.json", "valid")
def test_a_run_whose_parts_would_be_other_rows(tmp_path: Path) -> None:
    """A split that the data no longer give: ``evaluate`` refuses to measure on rows that training may have seen."""
    run = Run.open(fit(tmp_path))
    parts = run.parts()
    parts["valid"][0], parts["test"][0] = parts["test"][0], parts["valid"][0]
    run.write_splits(run.data_source(), parts)
    command(tmp_path, "evaluate", "wine")


@right
def test_lines_without_a_checksum_are_read(tmp_path: Path) -> None:
    """Records and splits as they were before lines had a CRC-32 and splits a digest."""
    run = Run.open(fit(tmp_path))
    before, parts = run.records(), run.parts()
    lines = [json.loads(line) for line in run.records_path.read_text().splitlines()]
    for line in lines:
        del line["crc"]
    run.records_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.splits_path.write_text(json.dumps({"source": run.data_source(), "parts": parts}))
    assert run.records() == before and run.parts() == parts
