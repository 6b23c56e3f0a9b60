"""Faults: situations in which such tools are often wrong, each with its right value or a refusal in words.

The situations are those of ``tests/cases``, by theme. Each theme runs in a process of its own. A situation is ``right`` if its
assertion of the right value holds, ``refused`` if it must be refused and the message names what it must. It is ``wrong`` if
a value is another, if it was refused where there is a right value, accepted where it must be refused, or refused in words
that do not say enough; ``raw`` if it ended in an exception that is none of ours, a crash, or not within the time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.common.result import Result

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
LIMIT_S = 120.0
_START_S = 120.0
"""Seconds that a process may take to import everything before its first situation."""


def measure(*, quick: bool) -> Result:
    """Runs all situations; the quick version leaves out those that take longer than a few seconds."""
    files = sorted(CASES.glob("test_*.py"))
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        themes = list(pool.map(lambda file: list(run(file, quick=quick)), files))
    total: Counter[str] = Counter()
    rows: list[dict[str, object]] = []
    faults: list[dict[str, object]] = []
    for file, found in zip(files, themes, strict=True):
        count = Counter(str(each["outcome"]) for each in found)
        total += count
        theme = file.stem.removeprefix("test_").replace("_", " ")
        rows.append(_row(theme, count))
        for each in found:
            if each["outcome"] in ("wrong", "raw"):
                name = str(each["name"]).removeprefix("test_").replace("_", " ")
                faults.append({**_row(name, Counter()), "said": each["said"]})
                faults[-1][str(each["outcome"])] = 1
    rows.append(_row("all", total))
    return Result(
        "faults",
        {
            name: float(str(value))
            for name, value in rows[-1].items()
            if name not in ("theme", "said")
        },
        "situations",
        "lower",
        quick=quick,
        baseline="wrong and raw are to be 0",
        rows=[*rows, *faults],
    )


def _row(theme: str, count: Counter[str]) -> dict[str, object]:
    return {
        "theme": theme,
        "tried": count.total(),
        "right": count["right"],
        "refused in words": count["refused"],
        "wrong": count["wrong"],
        "raw": count["raw"],
        "said": "",
    }


def run(file: Path, *, quick: bool, limit: float = LIMIT_S) -> Iterator[dict[str, object]]:
    """Yields what became of each situation of a file: ``name``, ``outcome``, ``said``, ``seconds``.

    A process that hangs or dies is replaced by another one, which goes on after the situation that it was at.
    """
    last = ""
    while True:
        began = ""
        words = [sys.executable, "-m", "benchmarks.faults._situations", str(file), "--after", last]
        with _Process([*words, *(["--quick"] if quick else [])]) as process:
            while (told := process.line(limit if began else _START_S)) is not None:
                if "begins" in told:
                    began = str(told["begins"])
                    continue
                last, began = began, ""
                yield told
            if not began and process.ended_well():
                return
            said = process.died or f"not done within {limit:g} s"
        yield {
            "name": began or f"{file.stem} as a whole",
            "outcome": "raw",
            "said": said,
            "seconds": limit,
        }
        if not began:
            return
        last = began


class _Process:
    """A process that prints JSON lines, with a limit on the time between them."""

    def __init__(self, words: list[str]) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
        self._process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._err: list[str] = []
        self.died = ""
        readers = (self._read, self._read_errors)
        self._threads = [threading.Thread(target=reader, daemon=True) for reader in readers]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # with whatever it started
        self._process.wait()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._err.extend(lines)

    def line(self, limit: float) -> dict[str, object] | None:
        """Returns the next object; None at the end, or if none comes within the limit."""
        try:
            line = self._lines.get(timeout=limit)
        except queue.Empty:
            return None
        if line is None:
            code = self._process.wait()
            self._threads[1].join()
            if code:
                last = self._err[-1].strip() if self._err else ""
                self.died = f"the process ended with exit code {code}: {last}"
            return None
        found: dict[str, object] = json.loads(line)
        return found

    def ended_well(self) -> bool:
        """Returns whether the process has ended without an error."""
        return self._process.poll() == 0
