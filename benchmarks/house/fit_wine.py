"""Wall time of ``netdial fit wine``: the command a newcomer types first, in a process of its own, imports included."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common.result import Result


def measure(*, quick: bool = False) -> Result:
    """Returns the median seconds."""
    seconds: list[float] = []
    rows: list[dict[str, object]] = []
    for turn in range(1 if quick else 3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken, size = timed()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(taken)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows.append({"run": turn + 1, "s": taken, "of it CPU, s": busy, "run folder, MiB": size})
    return Result(
        "fit-wine",
        statistics.median(seconds),
        "s",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline="none: an absolute time, on this machine with one thread",
        floor=f"{bare():.2g} s: a process that only imports torch, scikit-learn's data and plotly",
        spread={"fit-wine": (min(seconds), max(seconds))},
        rows=rows,
    )


def timed() -> tuple[float, float]:
    """Returns seconds and MiB written of the command with its defaults in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        script = Path(sys.executable).with_name("netdial")
        run([str(script), "fit", "wine", "--name", "bench"], Path(folder))
        taken = time.perf_counter() - start
        written = [path for path in Path(folder).rglob("*") if path.is_file()]
        if not any(path.name == "report.html" for path in written):
            raise RuntimeError(f"netdial fit wine wrote no report.html in {folder}")
        return taken, sum(path.stat().st_size for path in written) / 2**20


def bare() -> float:
    """Returns seconds of a process that does nothing but the large imports."""
    start = time.perf_counter()
    imports = "import torch, sklearn.datasets, plotly.graph_objects"
    run([sys.executable, "-c", imports], Path.cwd())
    return time.perf_counter() - start


def run(command: list[str], folder: Path) -> None:
    """Runs a command in a folder, silently, with one thread; what it printed is shown if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{json.dumps(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
