"""Drivers of sweeps that are killed on purpose: processes of their own, which write down what was made to its end.

``python -m benchmarks.sweeps._sweeping SPEC NODES`` runs a sweep, on a local Ray cluster of so many nodes if that is not 0, and
appends the key of every piece of work that was made to its end to ``ends.txt`` in the folder of the sweep. With nodes, the
file ``remove`` in that folder takes the last node away.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netdial.runs.run import Run
from netdial.runs.store import Cell, Store, key
from netdial.sweeps.conductor import Conductor
from netdial.sweeps.engines import ENGINES
from netdial.sweeps.folder import SweepFolder
from netdial.sweeps.result import Sweep
from netdial.sweeps.run import engine_of
from netdial.sweeps.spec import SweepSpec, read_spec
from netdial.sweeps.trials.making import TrialEnd, make_trial

ROOT = Path(__file__).resolve().parents[2]


def make_and_note(cell: Cell, store: Store) -> TrialEnd:
    """Makes a piece of work, and notes it if it was not made before."""
    before = store.is_made(cell)
    end = make_trial(cell, store)
    if end.state == "done" and not before:
        with (store.folder / "ends.txt").open("a") as file:
            file.write(f"{key(cell)}\n")
    return end


def run(spec: SweepSpec) -> Sweep:
    """Runs a sweep as ``nd.sweep`` does, and notes what was made to its end."""
    folder = SweepFolder.of(spec)
    engine, workers = engine_of(spec)
    with folder.working():
        make = functools.partial(make_and_note, store=folder.store)
        ENGINES[engine](Conductor(folder), make, workers)
    return Sweep.read(folder)


def drive(spec: dict[str, Any], *, nodes: int = 0) -> subprocess.Popen[bytes]:
    """Returns a process that runs a sweep, on a local cluster of so many nodes, or without one."""
    places = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(places)}
    line = [sys.executable, "-m", "benchmarks.sweeps._sweeping", json.dumps(spec), str(nodes)]
    quiet = (
        {}
        if os.environ.get("LOUD")
        else {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    )
    return subprocess.Popen(line, cwd=ROOT, env=env, **quiet)  # type: ignore[call-overload,no-any-return]


def working(folder: Path) -> list[int]:
    """Returns the processes that are at work on a trial that has a checkpoint and is not done."""
    found = []
    for lock in folder.glob("cells/.*.lock"):
        run = lock.with_name(lock.name[1:-5])
        if any(run.glob("checkpoint/last*")) and not (run / "DONE").exists():
            try:
                found.append(int(json.loads(lock.read_text())["pid"]))
            except (OSError, ValueError):
                continue
    return found


def until(found: Callable[[], bool], seconds: float = 400.0) -> bool:
    """Waits until something is so, at most so long; returns whether it is."""
    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def ends(folder: Path) -> Counter[str]:
    """Returns how often each piece of work was made to its end."""
    path = folder / "ends.txt"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def of_training(found: Sweep) -> list[list[tuple[Any, ...]]]:
    """Returns what every trial recorded, but for measured times."""
    clocks = ("ms", "seconds", "epoch_seconds", "collect_seconds")
    return [
        [
            (r.step, r.name, r.value, sorted(r.where.items()))
            for r in Run.open(trial.run).records()
            if r.name not in clocks
        ]
        for trial in found.trials
    ]


def main() -> None:
    """Runs the sweep of the command line."""
    spec, nodes = read_spec(json.loads(sys.argv[1])), int(sys.argv[2])
    if not nodes:
        run(spec)
        return
    import ray
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    more = [cluster.add_node(num_cpus=1) for _ in range(nodes - 1)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    remove = spec.path / "remove"

    def taken_away() -> None:
        while not remove.exists():
            time.sleep(0.05)
        cluster.remove_node(more[-1], allow_graceful=False)

    threading.Thread(target=taken_away, daemon=True).start()
    try:
        run(spec)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
