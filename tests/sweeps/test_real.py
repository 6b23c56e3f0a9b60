"""Sweeps with real training, in several processes; what is killed goes on, and every engine makes the same records."""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import netdial as nd
from netdial.papers.lab.fronts import cpu_seconds_of, ladder
from netdial.sweeps import open_sweep

pytestmark = pytest.mark.timeout(900)  # Ray takes minutes to start on a machine that is busy
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.sweeps._sweeping import drive, ends, of_training, until, working
finally:
    sys.path.remove(str(ROOT))

HAS_RAY = find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray (netdial[ray]) is not installed")
ENGINES = ["processes", pytest.param("ray", marks=needs_ray)]

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


@pytest.mark.parametrize(
    ("way", "space", "cost"),
    [
        ("slim", {"share": [0.25, 0.5]}, "params"),
        ("compress", {"max_bytes": [570, 1700]}, "bytes"),
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


@pytest.mark.slow
def test_a_trial_of_several_sizes_keeps_the_network_of_each(tmp_path: Path) -> None:
    settings = {"base.model": "mlp:8", "base.epochs": 3, "base.points": 3, "base.samples": 0}
    spec = {"name": "sizes", "data": "wine", "way": "slim", "settings": {**settings, "epochs": 1}}
    space = {"size": ["105 params, 70 params"]}
    found = nd.sweep(
        spec | {"space": space, "sampler": "grid"}, storage=str(tmp_path), engine="here"
    )
    (trial,) = found.trials
    assert trial.state == "done", trial.error
    large, small = ladder(found)
    assert (large.params, small.params) == (105, 71)
    assert (small.valid, small.test) == (
        trial.measures["valid/accuracy"],
        trial.test["test/accuracy"],
    )
    assert (large.seconds, small.seconds) == (cpu_seconds_of(trial.run), 0.0)
    for one in (large, small):
        net = nd.load_model(Path(one.run))
        assert sum(p.numel() for p in net.parameters()) == one.params
        part = nd.load_data("wine").test
        right = net(part.inputs(torch.arange(len(part)))).argmax(1) == part.y
        assert float(right.float().mean()) == pytest.approx(one.test)


LONG = {**SPEC, "settings": {"model": "mlp:{w}", "epochs": 60}, "sampler": "random", "workers": 2}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_where_it_was(tmp_path: Path, engine: str) -> None:
    spec, folder = {**LONG, "storage": str(tmp_path), "engine": engine}, tmp_path / "wine"
    process = drive(spec)
    assert until(lambda: bool(working(folder)) or process.poll() is not None)
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = [trial.number for trial in open_sweep(folder).trials if trial.state == "unfinished"]
    assert begun
    assert drive(spec).wait() == 0
    found = open_sweep(folder)
    assert found.counts["done"] == 4 and set(ends(folder).values()) == {1}
    for number in begun:  # it went on: every epoch stands once in the log
        assert len((found.trials[number].run / "log.txt").read_text().splitlines()) == 60


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_trial(tmp_path: Path, engine: str) -> None:
    spec, folder = {**LONG, "storage": str(tmp_path), "engine": engine}, tmp_path / "wine"
    process = drive(spec)
    assert until(lambda: bool(working(folder)) or process.poll() is not None)
    assert process.poll() is None, "it ended before it was killed"
    victim = working(folder)[0]
    assert victim != process.pid
    os.kill(victim, signal.SIGKILL)
    assert process.wait() == 0
    assert open_sweep(folder).counts["done"] == 4 and len(ends(folder)) == 4


@needs_ray
@pytest.mark.slow
def test_a_node_that_is_gone_costs_no_trial(tmp_path: Path) -> None:
    spec, folder = {**LONG, "storage": str(tmp_path), "engine": "ray"}, tmp_path / "wine"
    process = drive(spec, nodes=2)
    assert until(lambda: len(working(folder)) == 2)
    (folder / "remove").touch()
    assert process.wait() == 0
    assert open_sweep(folder).counts["done"] == 4 and set(ends(folder).values()) == {1}


@pytest.mark.slow
def test_every_engine_makes_the_same_trials_and_records(tmp_path: Path) -> None:
    """Of a sampler that learns: in this process, in two, on Ray here, and on a cluster of two nodes."""
    made = {}
    for name, engine, nodes in [
        ("here", "here", 0),
        ("processes", "processes", 0),
        ("ray", "ray", 0),
        ("cluster", "ray", 2),
    ]:
        if engine == "ray" and not HAS_RAY:
            continue
        spec = {**SPEC, "storage": str(tmp_path / name), "engine": engine, "workers": 2}
        assert drive(spec, nodes=nodes).wait() == 0, name
        found = open_sweep(tmp_path / name / "wine")
        assert found.counts["done"] == 4
        made[name] = ([dict(trial.params) for trial in found.trials], of_training(found))
    assert all(one == made["here"] for one in made.values())


RAISING = """
import resource
import netdial as nd

def data():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        open({flag!r}).close()
    except FileNotFoundError:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    else:
        import os
        os.unlink({flag!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    parts = nd.load_data("wine")
    return nd.build("mlp:4", input_shape=(13,), n_outputs=3), parts.train, parts.valid, parts.test
"""


@pytest.mark.slow
def test_a_full_disk_and_numbers_that_are_not_finite_stop_one_trial_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for one try of one trial: the process may write no file beyond 3,000 bytes."""
    (tmp_path / "full_disk.py").write_text(RAISING.format(flag=str(tmp_path / "flag")))
    (tmp_path / "flag").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    spec = {
        **{"name": "wine", "data": "full_disk:data", "way": "shrink", "trials": 3, "workers": 1},
        **{"settings": {"epochs": 2, "lam2": 0.0}, "space": {"lr": [0.01, 0.02, 1e30]}},
        **{"sampler": "grid", "storage": str(tmp_path), "engine": "processes"},
    }
    assert drive(spec).wait() == 0
    assert not (tmp_path / "flag").exists()
    found = open_sweep(tmp_path / "wine")
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert found.counts["done"] == 2 and [t.params["lr"] for t in failed] == [1e30]
    assert "finite" in failed[0].error, failed[0].error


@needs_ray
@pytest.mark.slow
def test_a_trial_that_raises_on_ray_fails_alone(tmp_path: Path) -> None:
    settings = {"model": "mlp:4", "epochs": 2, "lam2": 0.0}
    spec = SPEC | {"settings": settings, "space": {"lr": [0.01, 1e30]}, "sampler": "grid"}
    assert drive(spec | {"storage": str(tmp_path), "engine": "ray", "workers": 1}).wait() == 0
    found = open_sweep(tmp_path / "wine")
    assert found.counts["done"] == found.counts["failed"] == 1
