"""Minutes from nothing to the first report: ``git clone`` and ``make run``, the environment made from scratch.

The clone is of the last commit, in a temporary folder, so nothing of the working tree takes part. The installer may use
its cache of packages, as a newcomer's would after any other project; ``--quick`` leaves the installation out: the clone
gets the environment that runs this, and only the rest of ``make run`` is timed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common.result import Result

_ROOT = Path(__file__).parents[2]


def measure(*, quick: bool = False) -> Result:
    """Returns the minutes that a newcomer waits."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "netdial"
        seconds = {"git clone": timed(["git", "clone", "-q", str(_ROOT), str(clone)], Path(folder))}
        if quick:
            borrow_environment(clone)
        else:
            seconds["make setup"] = timed(["make", "setup"], clone)
        seconds["make run"] = timed(["make", "run"], clone)
        if not (clone / "runs/demo/report.html").exists():
            raise RuntimeError("make run wrote no runs/demo/report.html")
    total = sum(seconds.values())
    rows: list[dict[str, object]] = [
        {"part": part, "s": taken, "share": taken / total} for part, taken in seconds.items()
    ]
    return Result(
        "first-run",
        total / 60,
        "min",
        "lower",
        quick=quick,
        baseline="none: an absolute time, on this machine"
        + ("; WITHOUT the installation, in the environment that is here" if quick else ""),
        floor="the installation: torch alone is about 200 MB to fetch and 1 GB to unpack",
        rows=rows,
    )


def borrow_environment(clone: Path) -> None:
    """Gives a clone the environment that runs this, marked as up to date, but with the clone's own code."""
    binaries = clone / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(sys.executable)
    script = binaries / "netdial"
    script.write_text(
        f"#!/bin/sh\nPYTHONPATH={clone / 'src'} exec {sys.executable} -c "
        "'import sys; from netdial.cli import main; sys.exit(main())' \"$@\"\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    (clone / ".venv" / ".ok").touch()


def timed(command: list[str], folder: Path) -> float:
    """Returns seconds of a command in a folder; what it printed is shown if it fails."""
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return time.perf_counter() - start
