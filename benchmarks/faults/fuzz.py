"""Damaged files: seeded mutations of all that is read; foreign exceptions, hangs and silently changed models are to be 0.

Every mutation is read in a worker process with an alarm and a bound on memory. A worker that dies counts as a foreign
exception. Files with digests must never be accepted with other content. Those whose JSON was edited and sealed again, and raw
data formats without any checksum, may be: what they hold is another valid file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common.result import Result

FILES, QUICK = 10_000, 400
SECONDS = 20
"""Longest reading of one file."""

MEMORY = 12 << 30
"""Bound on the address space of a worker, most of which is torch itself."""

Job = tuple[str, int, int]
"""Kind of file, first mutation, how many in all."""

OUTCOMES = ("own error", "equal", "other content", "foreign", "hang")
WORKERS = 2
_ROOT = Path(__file__).parents[2]


def measure(*, quick: bool = False) -> Result:
    """Returns how mutated files were taken, by kind of file."""
    from benchmarks.faults._samples import SAMPLES

    total = sum(sample.share for sample in SAMPLES.values())
    count = QUICK if quick else FILES
    sizes = {n: max(4, round(count * s.share / total)) for n, s in SAMPLES.items()}
    found = run(sizes)
    rows = []
    for name in SAMPLES:
        cases = [case for case in found if case["sample"] == name]
        tally = Counter(case["outcome"] for case in cases)
        rows.append({"file": name, "files": len(cases), **{key: tally[key] for key in OUTCOMES}})
    for case in found:
        if case["outcome"] in ("foreign", "hang") or _silent(case):
            print(json.dumps(case), file=sys.stderr)
    value = {
        "foreign exceptions": float(sum(c["outcome"] == "foreign" for c in found)),
        "hangs": float(sum(c["outcome"] == "hang" for c in found)),
        "silently changed models": float(sum(_silent(c) for c in found)),
    }
    floor = f"0 of {len(found)} files"
    return Result("fuzz", value, "files", "lower", [0], quick, floor=floor, rows=rows)


def run(sizes: dict[str, int]) -> list[dict[str, Any]]:
    """Returns how each mutation of each kind of file was taken.

    Args:
        sizes: kind of file -> mutations.
    """
    found: list[dict[str, Any]] = []
    names = list(sizes)
    waiting = [[(n, 0, sizes[n]) for n in names[k::WORKERS]] for k in range(WORKERS)]
    with tempfile.TemporaryDirectory() as place:
        while waiting:
            started = [(_start(jobs, Path(place)), jobs) for jobs in waiting if jobs]
            waiting = []
            for worker, jobs in started:
                lines, _ = worker.communicate()
                cases = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
                found += cases
                waiting += _left(found, cases, jobs, worker.returncode)
    return found


def _left(
    found: list[dict[str, Any]], cases: list[dict[str, Any]], jobs: list[Job], code: int
) -> list[list[Job]]:
    """Returns what a worker that died has left to do; what it died of is added to what was found."""
    if code == 0:
        return []
    name, number = (cases[-1]["sample"], cases[-1]["number"] + 1) if cases else jobs[0][:2]
    place = next(k for k, job in enumerate(jobs) if job[0] == name)
    if number >= jobs[place][2]:  # it died between two kinds of files
        place, number = place + 1, 0
        name = jobs[place][0]
    said = f"the worker ended with {code}"
    found.append(
        {"sample": name, "number": number, "outcome": "foreign", "error": said, "what": ""}
    )
    return [[(name, number + 1, jobs[place][2]), *jobs[place + 1 :]]]


def _start(jobs: list[Job], place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.faults.fuzz", json.dumps(jobs), str(place)]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=_ROOT,
        env=threads,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _silent(case: dict[str, Any]) -> bool:
    from benchmarks.faults._samples import SAMPLES

    return case["outcome"] == "other content" and SAMPLES[case["sample"]].sealed


def cases(name: str, start: int, size: int, place: Path) -> Iterator[dict[str, Any]]:
    """Yields how mutations of one kind of file are taken."""
    from benchmarks.faults._mutations import mutate
    from benchmarks.faults._samples import SAMPLES

    sample = SAMPLES[name]
    whole = place / f"{name}.{start}"
    whole.mkdir()
    with contextlib.redirect_stdout(sys.stderr):
        sample.make(whole)
        wanted = sample.read(whole)
    for number in range(start, size):
        draw = random.Random(f"{name} {number}")
        folder = place / f"{name}.{start}.{number}"
        shutil.copytree(whole, folder)
        what = mutate(folder, draw, reseal=sample.reseal)
        outcome, error = _outcome(sample.read, folder, wanted)
        shutil.rmtree(folder, ignore_errors=True)
        yield {"sample": name, "number": number, "outcome": outcome, "error": error, "what": what}


def _outcome(read: Any, folder: Path, wanted: str) -> tuple[str, str]:
    from netdial.core.errors import NetdialError

    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            return ("equal" if read(folder) == wanted else "other content"), ""
    except NetdialError as error:
        return "own error", str(error)[:200]
    except TimeoutError:
        return "hang", traceback.format_exc()[-600:]
    except Exception:
        return "foreign", traceback.format_exc()[-600:]
    finally:
        signal.alarm(0)


def _late(number: int, frame: Any) -> None:
    raise TimeoutError("took too long")


def main() -> None:
    """Runs one worker: prints an object for each case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", type=json.loads)
    parser.add_argument("place", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _late)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name, start, size in options.jobs:
        for case in cases(name, start, size, options.place):
            print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
