"""Starting up: help is quick and light, usage errors are one line, versions and debugging work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netdial import __version__
from netdial.config import FitConfig

from .conftest import Call

HEAVY = ("torch", "sklearn", "pandas", "plotly", "lightning_fabric", "torchmetrics", "numpy")
COMMANDS = ("fit", "evaluate", "export", "report", "list", "doctor")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from netdial.cli import main; code = main(['--help']); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    for command in COMMANDS:
        assert command in done.stdout


def test_help_is_quick() -> None:
    """Processor time, the best of five, so that a busy machine does not matter."""
    code = (
        "import time; from netdial.cli import main; main(['--help']); import sys; "
        "print(time.process_time(), file=sys.stderr)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr)
        for _ in range(5)
    ]
    assert min(seconds) < 0.5


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "fit"])
def test_help_of_a_light_command_imports_no_torch(command: str) -> None:
    code = f"import sys; from netdial.cli import main; main([{command!r}, '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_every_setting_is_a_flag(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = call("fit", "--help")
    assert shown.code == 0
    for name, field in FitConfig.model_fields.items():
        assert f"--{name.replace('_', '-')} " in shown.out
        assert str(field.description) in shown.out
    assert "[default: 256]" in shown.out
    for flag in (
        "--model",
        "--target",
        "--resume",
        "--overwrite",
        "--samples",
        "--points",
        "--json",
    ):
        assert flag in shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json(call: Call, command: str) -> None:
    assert "--json" in call(command, "--help").out


def test_version(call: Call) -> None:
    assert call("--version").out.strip() == f"netdial {__version__}"


def test_no_command_shows_the_help(call: Call) -> None:
    shown = call()
    assert shown.code in (0, 2)
    assert "fit" in shown.out + shown.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fot", "wine"], ["No such command 'fot'", "'fit'"]),
        (["fit", "wine", "--epoch", "3"], ["--epoch", "did you mean --epochs?"]),
        (["fit", "wine", "--epochs", "many"], ["--epochs", "valid integer"]),
        (["fit"], ["DATA", "netdial fit --help"]),
        (["fit", "wine", "--points", "0"], ["--points", "greater than or equal to 1"]),
        (["export", "run"], ["--lam"]),
    ],
)
def test_usage_errors_are_one_line(call: Call, args: list[str], words: list[str]) -> None:
    said = call(*args)
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    for word in words:
        assert word in said.err


def test_debug_shows_the_traceback(call: Call) -> None:
    from netdial.core.errors import ConfigError

    with pytest.raises(ConfigError, match="did you mean 'wine'"):
        call("fit", "wne", "--debug")


def test_a_defect_is_one_line_and_another_code(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("netdial.study.runs.list_runs", broken)
    said = call("list")
    assert said.code == 1
    assert said.line == (
        "netdial: unexpected RuntimeError: two lines (this is a defect, or the machine's; --debug shows where)"
    )


def test_the_installed_program_is_this_one() -> None:
    program = Path(sys.executable).with_name("netdial")
    if not program.exists():
        pytest.skip("netdial is not installed in this environment")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"netdial {__version__}"
