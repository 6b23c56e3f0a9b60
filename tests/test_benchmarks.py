"""The benchmarks: every figure has a name and a file, and what one prints can be read by a program."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.__main__ import modules
    from benchmarks.house._structure import House
finally:
    sys.path.remove(str(ROOT))

MODULES = modules()
FIGURES = list(MODULES)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def module(name: str) -> ModuleType:
    return importlib.import_module(MODULES.get(name, f"benchmarks.{name}"))


def command(*words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "benchmarks", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_folders_are_small_and_import_one_way():
    house = House(ROOT / "benchmarks")
    assert max(house.folders.values()) <= 12
    assert not house.circles and not house.upward


def test_no_two_figures_have_one_name():
    folders = [path for path in (ROOT / "benchmarks").iterdir() if path.is_dir()]
    areas = [path for path in folders if path.name not in ("common", "networks")]
    assert len(FIGURES) == sum(len(list(area.rglob("[!_]*.py"))) for area in areas)


def test_list_names_every_figure_and_says_what_it_is(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "list"])
    assert module("__main__").main() == 0
    done = capsys.readouterr()
    said = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert sorted(said) == FIGURES
    assert {"family-cost", "shrink-exact", "table1"} <= said.keys()
    assert not any(name.startswith("-") for name in said)
    assert all(len(what) > 20 and what[-1] in ".?" for what in said.values()), said


def test_unknown_figure_is_refused_and_the_names_are_given():
    done = command("cnn-costs")
    assert done.returncode == 2
    assert "cnn-cost" in done.stderr


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_measure_with_a_quick_version(name):
    measure = inspect.signature(module(name).measure)
    assert list(measure.parameters) == ["quick"]
    assert measure.parameters["quick"].kind is inspect.Parameter.KEYWORD_ONLY
    assert measure.return_annotation == "Result"


def test_result_as_json_and_for_people(capsys):
    result = module("common.result").Result(
        "some-figure", {"a": 1.5, "b": 2.0}, "ratio", "lower", seeds=(0, 1), spread={"a": (1, 2)}
    )
    found = json.loads(result.to_json())
    assert found["name"] == "some-figure"
    assert found["value"] == {"a": 1.5, "b": 2.0}
    assert {"unit", "better", "seeds", "quick", "seconds"} <= found.keys()
    result.show()
    assert "a: 1.5 ratio (lower is better)  spread 1 … 2" in capsys.readouterr().out


def test_contenders_take_turns_and_the_first_round_does_not_count():
    calls: list[str] = []
    contenders = {name: lambda name=name: calls.append(name) for name in ("plain", "family")}
    seconds, ratios, reach = module("common.timing").interleaved(
        contenders, baseline="plain", rounds=3
    )
    assert calls == ["plain", "family"] * 4
    assert seconds.keys() == {"plain", "family"}
    assert ratios.keys() == reach.keys() == {"family"}
    assert reach["family"][0] <= ratios["family"] <= reach["family"][1]


def test_first_run_lends_a_clone_this_environment_with_the_code_of_the_clone(tmp_path):
    (tmp_path / "src").symlink_to(ROOT / "src")
    module("first-run").borrow_environment(tmp_path)
    script = tmp_path / ".venv/bin/netdial"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fit" in done.stdout


@pytest.mark.slow
def test_help_time_is_that_of_the_program():
    found = module("help-time").measure(quick=True)
    rows = {row["process"]: row for row in found.rows}
    assert found.unit == "s"
    assert found.value == rows["netdial --help"]["s"] > 0
    assert rows["python, doing nothing"]["ratio to a bare start"] == 1.0


@pytest.mark.slow
def test_cheapest_figure_from_its_command():
    done = command("fit-wine", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["name"] == "fit-wine"
    assert found["quick"] is True
    assert found["unit"] == "s"
    assert 0 < found["value"] <= found["seconds"]


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own():
    before, peak = module("cnn-memory").in_new_process("plain", 1)
    parameters_and_gradients_and_moments = 4 * 9_074_218 * 4 / 2**20
    assert peak - before > parameters_and_gradients_and_moments


def test_random_networks_of_shrink_exact_are_those_of_the_tests():
    networks = module("shrink-exact")._networks()
    assert callable(networks.cut_and_masked) and callable(networks.collected)


def test_masking_ends_with_the_network_that_shrinking_ends_with():
    """What shrink-time compares does the same work: else its ratio would say nothing."""
    course = module("shrinking._course").Course
    small = course("digits", "mlp:64-32", 600, {"epochs": 6, "batch_size": 64, "size": "1k params"})
    _, _, difference = module("shrink-time")._pair(small, small.task(), 0)
    assert difference < 1e-5
