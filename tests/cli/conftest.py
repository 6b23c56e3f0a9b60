"""Runs of the command line: in this process where that is enough, as a real process where it matters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from netdial.cli import main

SMALL = ("--model", "mlp:8", "--epochs", "3", "--points", "5", "--samples", "2")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The message on stderr, which is one line after any progress."""
        return self.err.strip().splitlines()[-1]


Call = Callable[..., Outcome]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """A function that runs a command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*args: str) -> Outcome:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on wine, of normal posteriors; tests that change it take a copy."""
    runs = tmp_path_factory.mktemp("wine")
    settings = (*SMALL, "--objective", "scaled-kl", "--runs-dir", str(runs))
    assert main(["fit", "wine", *settings, "--quiet"]) == 0
    return runs / "wine"


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on wine with the settings that nobody gave: of points; tests that change it take a copy."""
    runs = tmp_path_factory.mktemp("points")
    assert main(["fit", "wine", *SMALL, "--runs-dir", str(runs), "--quiet"]) == 0
    return runs / "wine"


def start(*args: str, cwd: Path, **options: object) -> subprocess.Popen[str]:
    """Returns a real ``netdial`` process, on one thread."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    script = cwd / "start.py"  # a file, because several processes start each other by it
    script.write_text("import sys\nfrom netdial.cli import main\nsys.exit(main())\n")
    return subprocess.Popen(
        [sys.executable, str(script), *args],
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


def finish(process: subprocess.Popen[str]) -> Outcome:
    """Waits for a process."""
    out, err = process.communicate()
    return Outcome(process.returncode, out, err)
