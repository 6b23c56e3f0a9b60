"""Sweeps with real training, in several processes; what is killed goes on, and every engine makes the same records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import netdial as nd
from netdial.runs.run import Run
from netdial.sweeps import Sweep, open_sweep

SPEC: dict[str, Any] = {
    "name": "wine",
    "data": "wine",
    "way": "shrink",
    "settings": {"model": "mlp:{w}", "epochs": 3},
    "space": {"lam": {"low": 1e-4, "high": 1e-1, "log": True}, "w": [4, 8], "seed": [0, 1]},
    "trials": 4,
    "sampler": "tpe",
    "ahead": 2,
}
_OF_CLOCKS = ("ms", "seconds", "epoch_seconds", "collect_seconds")


def records(found: Sweep) -> list[list[tuple[Any, ...]]]:
    """Returns what every trial recorded, but for measured times."""
    return [
        [
            (r.step, r.name, r.value, r.where)
            for r in Run.open(trial.run).records()
            if r.name not in _OF_CLOCKS
        ]
        for trial in found.trials
    ]


@pytest.mark.slow
def test_processes_make_the_same_records_as_this_one(tmp_path: Path) -> None:
    here = nd.sweep(SPEC, storage=str(tmp_path / "a"), engine="here")
    there = nd.sweep(SPEC, storage=str(tmp_path / "b"), engine="processes", workers=2)
    assert here.counts["done"] == there.counts["done"] == 4
    assert [t.params for t in here.trials] == [t.params for t in there.trials]
    assert records(here) == records(there)


@pytest.mark.parametrize(
    ("way", "space", "cost"),
    [
        ("slim", {"share": [0.25, 0.5]}, "params"),
        ("compress", {"max_bytes": [700, 1700]}, "bytes"),
    ],
)
@pytest.mark.slow
def test_a_family_is_trained_once_and_refined_by_every_trial(
    tmp_path: Path, way: str, space: dict[str, Any], cost: str
) -> None:
    settings = {"base.model": "mlp:8", "base.epochs": 3, "base.points": 3, "base.samples": 0}
    settings |= {"epochs": 1, "tuning": 0} if way == "compress" else {}
    spec = {"name": way, "data": "wine", "way": way, "settings": settings, "space": space}
    found = nd.sweep(spec | {"sampler": "grid"}, storage=str(tmp_path), engine="here")
    assert found.counts["done"] == 2, [trial.error for trial in found.trials]
    fits = [path for path in (tmp_path / way / "cells").iterdir() if path.name.startswith("fit")]
    assert len(fits) == 1
    sizes = [trial.measures[cost] for trial in sorted(found.trials, key=lambda t: str(t.params))]
    assert sizes[0] != sizes[1]
    chosen = found.front(["valid/loss", cost])[0]
    assert {"valid/accuracy", "valid/nll"} <= chosen.measures.keys()
    assert "test/accuracy" in chosen.test
    assert nd.load_model(chosen.run) is not None


DRIVER = """
import json, sys
import netdial as nd
if __name__ == "__main__":
    nd.sweep(json.loads(sys.argv[1]))
"""


def drive(spec: dict[str, Any], folder: Path) -> subprocess.Popen[bytes]:
    """Returns a process that runs a sweep."""
    (folder / "drive.py").write_text(DRIVER)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(folder / "drive.py"), json.dumps(spec)]
    return subprocess.Popen(line, cwd=folder, env=env)


def until(found: Callable[[], bool], seconds: float = 90.0) -> None:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def working(folder: Path) -> list[int]:
    """Returns the processes that hold a trial that has a checkpoint."""
    found = []
    for lock in folder.glob("cells/.*.lock"):
        run = lock.with_name(lock.name[1:-5])
        if any(run.glob("checkpoint/last*")) and not (run / "DONE").exists():
            try:
                found.append(int(json.loads(lock.read_text())["pid"]))
            except (OSError, ValueError):
                continue
    return found


LONG = {**SPEC, "settings": {"model": "mlp:{w}", "epochs": 60}, "sampler": "random"}


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    spec = {**LONG, "storage": str(tmp_path), "engine": "processes", "workers": 2}
    process = drive(spec, tmp_path)
    until(lambda: bool(working(tmp_path / "wine")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = open_sweep(tmp_path / "wine")
    reached = {t.number: Run.open(t.run).last_step for t in begun.trials if t.state == "unfinished"}
    assert reached
    until(lambda: not working(tmp_path / "wine"))
    assert drive(spec, tmp_path).wait() == 0
    found = open_sweep(tmp_path / "wine")
    assert found.counts["done"] == 4
    for number in reached:  # it went on: no epoch was made twice, or recorded twice
        log = (found.trials[number].run / "log.txt").read_text().splitlines()
        assert len(log) == 60


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_trial(tmp_path: Path) -> None:
    spec = {**LONG, "storage": str(tmp_path), "engine": "processes", "workers": 2}
    process = drive(spec, tmp_path)
    until(lambda: bool(working(tmp_path / "wine")))
    victim = working(tmp_path / "wine")[0]
    assert victim != process.pid
    os.kill(victim, signal.SIGKILL)
    assert process.wait() == 0
    assert open_sweep(tmp_path / "wine").counts["done"] == 4
