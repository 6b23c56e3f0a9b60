"""Seconds until ``netdial --help`` has ended, against an interpreter that only starts.

Every start is a process of its own that does what the installed program does; files are in the memory of the operating
system after the first round, which does not count. The contenders take turns, so a busy machine slows all of them.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks.common.result import Result
from benchmarks.common.timing import interleaved

PROGRAM, BARE = "netdial --help", "python, doing nothing"
CODE = {
    BARE: "pass",
    "import typer": "import typer",
    PROGRAM: "import sys; from netdial.cli import main; sys.exit(main(['--help']))",
}


def measure(*, quick: bool = False) -> Result:
    """Returns the median seconds of ``netdial --help``; the ratio to a bare start is in the rows."""
    seconds, ratios, reach = interleaved(
        {label: partial(_start, code) for label, code in CODE.items()},
        baseline=BARE,
        rounds=5 if quick else 20,
    )
    rows = [
        {
            "process": label,
            "s": seconds[label],
            "ratio to a bare start": ratios.get(label, 1.0),
            "lowest … highest ratio": reach.get(label),
        }
        for label in CODE
    ]
    return Result(
        "help-time",
        seconds[PROGRAM],
        "s",
        "lower",
        quick=quick,
        baseline=f"an interpreter that does nothing, in the same run: {seconds[BARE]:.3g} s",
        floor=f"importing typer, which reads the command line: {seconds['import typer']:.3g} s",
        rows=rows,
    )


def _start(code: str) -> None:
    """Runs code in a new interpreter."""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
