"""Real processes: killed, interrupted, out of disk space, several at once; what they leave can be gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from netdial.cli import main
from netdial.core.records import Record

from .conftest import Call, finish, start

pytestmark = pytest.mark.timeout(
    900
)  # several processes that load torch, on a machine that may be busy
FIT = (
    "fit",
    "digits",
    "--model",
    "mlp:16",
    "--batch-size",
    "64",
    "--points",
    "3",
    "--samples",
    "2",
)
EPOCHS = ("--epochs", "20")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert main([*FIT, *EPOCHS, "-q", "--runs-dir", str(folder / "runs")]) == 0
    return folder / "runs" / "digits"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed after its first checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    process = start(*FIT, *EPOCHS, "-q", cwd=folder)
    run = folder / "runs" / "digits"
    wait_for(run / "checkpoint" / "last.safetensors", process)
    process.send_signal(signal.SIGKILL)
    assert finish(process).code == -signal.SIGKILL
    assert not (run / "DONE").exists()
    return folder


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Waits until a file is there, however slow the machine is."""
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def family(run: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a run's family."""
    return load_file(run / "model" / "family.safetensors")


def same_family(first: Path, second: Path) -> bool:
    """Returns whether two runs ended with the same family, bit for bit."""
    a, b = family(first), family(second)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def records(run: Path, *, method: str | None = None) -> list[dict[str, Any]]:
    """Returns the records of a run, without wall times and checksums (which hold the run's name)."""
    rows = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in row.items() if key != "crc"}
        for row in rows
        if row["name"] != "epoch_seconds" and method in (None, row["where"]["method"])
    ]


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(whole: Path, killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "runs" / "digits"
    with (run / "records.jsonl").open("a") as file:
        file.write('{"run": "digits", "seed": 0, "na')  # killed in the middle of a line
    resumed = finish(start("fit", "digits", "--resume", cwd=tmp_path))
    assert resumed.code == 0, resumed.err
    assert "going on at step " in resumed.err
    assert same_family(run, whole)
    assert records(run) == records(whole)
    assert (run / "DONE").exists() and (run / "report.html").exists()


@pytest.mark.slow
def test_resuming_twice_changes_nothing(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "runs" / "digits")
    run = tmp_path / "runs" / "digits"
    (run / "DONE").unlink()
    assert finish(start("fit", "digits", "--resume", "-q", cwd=tmp_path)).code == 0
    assert same_family(run, whole)
    newest = {Record(**r).quantity: r["value"] for r in records(run)}
    assert newest == {Record(**r).quantity: r["value"] for r in records(whole)}


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on(whole: Path, tmp_path: Path) -> None:
    process = start(*FIT, *EPOCHS, "--name", "mine", cwd=tmp_path)
    run = tmp_path / "runs" / "mine"
    wait_for(run / "checkpoint" / "last.safetensors", process)
    process.send_signal(signal.SIGINT)
    stopped = finish(process)
    assert stopped.code == 130
    assert stopped.out == ""
    assert "stopped at step " in stopped.line
    assert "the state is saved; go on with: netdial fit digits --name mine --resume" in stopped.line
    assert "Traceback" not in stopped.err
    resumed = finish(start("fit", "digits", "--name", "mine", "--resume", "--json", cwd=tmp_path))
    assert resumed.code == 0, resumed.err
    assert same_family(run, whole)
    assert [{**row, "run": "digits"} for row in records(run)] == records(whole)


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_checkpoint(
    killed: Path, tmp_path: Path, call: Call, no_file_above: Any
) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "runs" / "digits"
    checkpoint = run / "checkpoint" / "last.safetensors"
    before = checkpoint.read_bytes()
    size = len(before) // 2
    assert size > 2 * (run / "records.jsonl").stat().st_size
    with no_file_above(size):
        full = call("fit", "digits", "--resume")
    assert full.code == 2
    assert "last.safetensors: could not be written" in full.line
    assert "intact" in full.line
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small file system needs root")
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounting a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start(tiny_disk: Path, tmp_path: Path) -> None:
    full = finish(start(*FIT, *EPOCHS, "--runs-dir", str(tiny_disk / "runs"), cwd=tmp_path))
    assert full.code == 2
    assert "could not be written" in full.line and "No space left" in full.line
    assert not list((tiny_disk / "runs").iterdir())


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_train_the_same_family_as_one(tmp_path: Path) -> None:
    short = (*FIT, "--epochs", "2")
    together = start(
        *short, "--devices", "2", "--strategy", "ddp", "--name", "two", "--json", cwd=tmp_path
    )
    two = finish(together)
    one = finish(start(*short, "--name", "one", "--json", cwd=tmp_path))
    assert two.code == one.code == 0, two.err
    assert json.loads(two.out)["run"] == "runs/two"  # one object: the second process prints nothing
    a, b = family(tmp_path / "runs" / "one"), family(tmp_path / "runs" / "two")
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=1e-5)
    ours, theirs = records(tmp_path / "runs" / "one"), records(tmp_path / "runs" / "two")
    assert [(r["name"], r["where"], r["step"]) for r in ours] == [
        (r["name"], r["where"], r["step"]) for r in theirs
    ]
    for mine, other in zip(ours, theirs, strict=True):
        assert other["value"] == pytest.approx(mine["value"], rel=1e-3, abs=1e-4), mine["name"]


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the process in /proc")
def test_a_group_that_loses_a_process_says_how_to_go_on(tmp_path: Path) -> None:
    group = ("--devices", "2", "--strategy", "ddp", "--accelerator", "cpu")
    first = start(*FIT, "--epochs", "5000", *group, "-q", cwd=tmp_path)
    wait_for(tmp_path / "runs" / "digits" / "checkpoint" / "last.safetensors", first)
    (other,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    os.kill(int(other), signal.SIGKILL)
    ended = finish(first)
    assert ended.code == 2
    assert "a process of the group" in ended.line
    assert "go on with: netdial fit digits --resume" in ended.line


@pytest.mark.slow
def test_a_second_process_in_the_same_run_is_refused(killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    lock = tmp_path / "runs" / ".digits.lock"
    first = start("fit", "digits", "--resume", "-q", cwd=tmp_path)
    while not lock.exists() or json.loads(lock.read_text() or "{}").get("pid") != first.pid:
        assert first.poll() is None, first.communicate()
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    for words in (("--resume",), ("--overwrite", "--seed", "1")):
        second = finish(start("fit", "digits", *words, "-q", cwd=tmp_path))
        assert second.code == 2
        assert f"in use by process {first.pid}" in second.line
    first.send_signal(signal.SIGCONT)
    assert finish(first).code == 0
    assert not lock.exists()
