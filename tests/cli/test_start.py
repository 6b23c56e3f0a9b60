"""Starting up: help is quick and light, usage errors are one line, versions and debugging work."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netdial import __version__
from netdial.choice.rules import RULES
from netdial.cli.app import app
from netdial.data import names as data_names
from netdial.evidence import ESTIMATORS
from netdial.family.maps import MAPS
from netdial.nets import names as net_names
from netdial.objective import OBJECTIVES, WEIGHTINGS
from netdial.pruning.weights import CRITERIA
from netdial.pruning.weights.rounds import RISES
from netdial.shrinking.killing import KILLING
from netdial.task import TASKS, metric_names
from netdial.train.config import FitConfig
from netdial.train.optimiser import optimizer_names

from .conftest import Call

HEAVY = ("torch", "sklearn", "pandas", "plotly", "lightning_fabric", "torchmetrics", "numpy")
# typer and what it stands on, in all the versions that are allowed
LIGHT = {"netdial", "typer", "click", "shellingham", "annotated_doc", "typing_extensions"}
# 128 in 0.16 s of processor time when this was written, 81 of Python itself; with boxes drawn by rich 301 in 0.46 s
MOST_MODULES = 160
COMMANDS = ("fit", "evaluate", "export", "report", "list", "doctor")


@pytest.fixture(scope="module")
def help_loads() -> tuple[list[str], str]:
    """The modules that ``netdial --help`` adds to a fresh interpreter, and what it prints."""
    code = (
        "import sys; bare = set(sys.modules); from netdial.cli import main; code = main(['--help']); "
        "print(*sorted(set(sys.modules) - bare), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.split(), done.stdout


def test_help_imports_nothing_heavy(help_loads: tuple[list[str], str]) -> None:
    modules, shown = help_loads
    assert [name for name in HEAVY if name in modules] == []
    for command in COMMANDS:
        assert command in shown


def test_help_imports_few_modules_and_only_of_light_packages(
    help_loads: tuple[list[str], str],
) -> None:
    """What makes help slow is what it imports; a clock would measure the machine as well."""
    modules, _ = help_loads
    packages = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    assert packages <= LIGHT, f"{sorted(packages - LIGHT)} came in"
    assert len(modules) <= MOST_MODULES, "\n".join(modules)


def test_help_of_a_light_command_imports_no_torch() -> None:
    light = [command for command in COMMANDS if command != "fit"]
    code = (
        "import sys; from netdial.cli import main\n"
        f"for command in {light!r}:\n"
        "    assert main([command, '--help']) == 0, command\n"
        "    assert 'torch' not in sys.modules, command\n"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def unwrapped(text: str | None) -> str:
    """Returns text without spaces and line ends, which depend on the width."""
    return "".join(str(text).split())


def test_the_list_of_commands_cuts_no_description_short(call: Call) -> None:
    shown = call("--help").out
    for command in app.registered_commands:
        told = command.help or inspect.getdoc(command.callback)
        assert f"{command.name}{unwrapped(told)}" in unwrapped(shown)


def test_options_stand_under_their_headings_arguments_first(call: Call) -> None:
    shown = call("fit", "--help").out
    headings = [line for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [
        "Arguments:",
        "Options:",
        "Data and network:",
        "Tables (what is not given is found out, and said):",
        "Training (defaults in brackets; data sets have presets):",
    ]
    assert shown.index("Options:") < shown.index("--name ") < shown.index("Data and network:")
    assert shown.index("Data and network:") < shown.index("--model ") < shown.index("Training (")
    assert shown.index("Training (") < shown.index("--epochs ")


def test_help_is_no_wider_than_can_be_read(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, widest in (("60", 60), ("90", 90), ("300", 100)):
        monkeypatch.setenv("COLUMNS", terminal)
        for command in ("--help", "fit --help", "prune --help"):
            lines = call(*command.split()).out.splitlines()
            assert max(len(line) for line in lines if "|" not in line) <= widest


def test_every_setting_is_a_flag(call: Call) -> None:
    shown = call("fit", "--help")
    assert shown.code == 0
    for name, field in FitConfig.model_fields.items():
        assert f"--{name.replace('_', '-')} " in shown.out
        assert unwrapped(field.description) in unwrapped(shown.out)
    assert "[default: piecewise]" in shown.out
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


@pytest.mark.parametrize(
    ("command", "registry", "add"),
    [
        ("fit", MAPS, MAPS.add),
        ("fit", OBJECTIVES, OBJECTIVES.add),
        ("fit", WEIGHTINGS, WEIGHTINGS.add),
        ("fit", TASKS, TASKS.add),
        ("shrink", KILLING, KILLING.add),
        ("prune", CRITERIA, CRITERIA.add),
        ("finetune", CRITERIA, CRITERIA.add),
        ("finetune", RISES, RISES.add),
        ("finetune", OBJECTIVES, OBJECTIVES.add),
        ("choose", ESTIMATORS, ESTIMATORS.add),
        ("evidence", ESTIMATORS, ESTIMATORS.add),
    ],
)
def test_a_registered_part_is_in_the_help(
    call: Call, monkeypatch: pytest.MonkeyPatch, command: str, registry: Any, add: Any
) -> None:
    inner = getattr(registry, "_registry", registry)
    monkeypatch.setattr(inner, "_parts", dict(inner._parts))
    assert "of-my-own" not in call(command, "--help").out
    add("of-my-own")(next(inner[name] for name in inner))
    shown = unwrapped(call(command, "--help").out)
    assert unwrapped(", ".join(registry)) in shown
    assert "of-my-own" in shown


def test_help_names_data_networks_optimizers_and_rules(call: Call) -> None:
    shown = unwrapped(call("fit", "--help").out)
    for names in (data_names(), net_names(), optimizer_names()):
        assert unwrapped(", ".join(names)) in shown
    assert unwrapped(", ".join(RULES)) in unwrapped(call("choose", "--help").out)
    assert unwrapped(", ".join(metric_names())) in unwrapped(call("choose", "--help").out)


@pytest.mark.parametrize("command", ["fit", "shrink", *(c.name for c in app.registered_commands)])
def test_no_help_shows_the_place_of_a_registry(call: Call, command: str) -> None:
    shown = call(command, "--help")
    assert shown.code == 0
    assert "{netdial" not in shown.out
    assert " None" not in shown.out, "an option has no description"


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
        (["export", "nosuch"], ["nosuch", "no such run folder"]),
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

    monkeypatch.setattr("netdial.jobs.reports.list_runs", broken)
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


def test_the_package_is_run_as_the_command_is() -> None:
    line = [sys.executable, "-m", "netdial", "frobnicate"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("netdial: No such command")
