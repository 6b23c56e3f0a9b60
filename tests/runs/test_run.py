"""The run folder: made once, opened with care, never overwritten silently, rewritten atomically."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.records import Record
from netdial.runs.run import Run
from netdial.runs.schemas.details import Bins, Details, read_details, write_details
from netdial.runs.schemas.known import Known
from netdial.runs.settings import FORMAT, config_difference

from ..early import early

CONFIG = {
    "data": "wine",
    "epochs": 20,
    "lams": [0.1, 1.0],
    "optimiser": {"lr": 0.004, "warm": None},
}


def record(step: int, value: float = 1.0, name: str = "train/loss") -> Record:
    return early("wine", "train", None, 0, step, name, value)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "runs", "wine", CONFIG)


def test_opening_gives_back_what_was_created(run: Run) -> None:
    opened = Run.open(run.path)
    assert opened == run
    assert opened.config == {**CONFIG, "name": "wine"}
    assert json.loads(run.config_path.read_text())["format"] == FORMAT
    assert not opened.is_done
    assert opened.records() == []


def test_environment_says_where_the_run_was_started(run: Run) -> None:
    environment = Run.open(run.path).environment()
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["versions"].keys() == {"netdial", "torch", "numpy"}
    assert environment["cpu_count"] == os.cpu_count()
    assert environment["command"]
    assert environment["started"].endswith("+00:00")
    assert "git_commit" in environment


def test_a_missing_or_damaged_environment_is_empty(run: Run) -> None:
    run.env_path.write_text("{")
    assert run.environment() == {}
    run.env_path.write_text("[]")
    assert run.environment() == {}
    run.env_path.unlink()
    assert run.environment() == {}


def test_all_paths_lie_in_the_folder(run: Run) -> None:
    paths = [run.splits_path, run.log_path, run.checkpoint_path, run.model_path, run.report_path]
    assert [path.name for path in paths] == [
        "splits.json",
        "log.txt",
        "checkpoint",
        "model",
        "report.html",
    ]
    assert {path.parent for path in [*paths, run.done_path, run.records_path]} == {run.path}


def test_an_existing_folder_is_not_touched(run: Run) -> None:
    run.record([record(1)])
    with pytest.raises(ConfigError, match=r"(?s)exists already.*--resume.*--overwrite.*--name"):
        Run.create(run.path.parent, "wine", {"epochs": 1})
    assert Run.open(run.path) == run
    assert run.records() == [record(1)]


def test_overwrite_starts_afresh(run: Run) -> None:
    run.record([record(1)])
    run.checkpoint_path.mkdir()
    run.finish()
    again = Run.create(run.path.parent, "wine", {"epochs": 1}, overwrite=True)
    assert again.config == {"epochs": 1, "name": "wine"}
    assert again.records() == []
    assert not again.is_done
    assert not again.checkpoint_path.exists()


def test_overwrite_mends_a_damaged_or_half_made_run(run: Run) -> None:
    run.config_path.write_text("{")
    assert Run.create(run.path.parent, "wine", {}, overwrite=True).records() == []
    run.config_path.unlink()
    assert Run.create(run.path.parent, "wine", {}, overwrite=True).records() == []


def test_overwrite_leaves_other_folders_alone(tmp_path: Path) -> None:
    thesis = tmp_path / "home" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(ConfigError, match=r"'thesis.tex' and is not a run folder"):
        Run.create(tmp_path, "home", {}, overwrite=True)
    assert thesis.read_text() == "years of work"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot make the run folder \(Not a directory\)"):
        Run.create(tmp_path / "runs", "wine", {})


@pytest.mark.parametrize("name", ["wine 2", "<script>", "Вино", "a.b", "x" * 200])
def test_names_of_folders(tmp_path: Path, name: str) -> None:
    assert Run.open(Run.create(tmp_path, name, {}).path).config["name"] == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-x", "a/b", "../up", "a\\b", "a\nb", "a\0b", " a", "é" * 101],
)
def test_names_that_are_no_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"run name .*\(--name\)"):
        Run.create(tmp_path / "runs", name, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lams": (1, 2)}, r"lams is \(1, 2\) \(tuple\)"),
        ({"a": {"b": [0, {"c": float("nan")}]}}, r"a\.b\[1\]\.c is nan"),
        ({"root": Path("x")}, r"root is .*Path"),
        ({"a": {1: 2}}, r"a has the key 1; keys must be strings"),
        ({"format": 3}, "the key 'format' is taken"),
    ],
)
def test_a_configuration_that_json_would_change(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Run.create(tmp_path, "wine", config)
    assert list(tmp_path.iterdir()) == []


def test_opening_what_is_not_there_names_the_nearest(run: Run) -> None:
    with pytest.raises(CheckpointError, match=r"no such run folder; did you mean .*wine\?"):
        Run.open(run.path.parent / "wien")
    with pytest.raises(CheckpointError, match="netdial list"):
        Run.open(run.path.parent / "something-else")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"is not a run folder \(no config.json"),
        (b'{"format": 1,', "cannot be read.*--overwrite"),
        (b"\xff\xfe", "cannot be read"),
        (b"[1]", "no format number"),
        (b'{"epochs": 1}', "no format number"),
        (b'{"format": true}', "no format number"),
        (b'{"format": 99}', "has format 99, this netdial reads format 1"),
    ],
)
def test_opening_a_damaged_run(run: Run, content: bytes | None, message: str) -> None:
    run.config_path.unlink()
    if content is not None:
        run.config_path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        Run.open(run.path)


def test_the_last_of_equal_records_counts(run: Run) -> None:
    run.record([record(1, 5.0), record(2, 4.0)])
    run.record([record(1, 3.0)])
    assert run.records() == [record(1, 3.0), record(2, 4.0)]


def test_records_after_half_a_line(run: Run) -> None:
    run.record([record(1)])
    with run.records_path.open("a") as file:
        file.write(record(2).to_json()[:20])
    assert run.records() == [record(1)]
    run.record([record(3)])
    assert run.records() == [record(1), record(3)]


def test_damaged_records(run: Run) -> None:
    run.records_path.write_text("{}\n")
    with pytest.raises(CheckpointError, match="line 1 is not a record"):
        run.records()
    run.records_path.write_bytes(b"\xff\n")
    with pytest.raises(CheckpointError, match="is not text"):
        run.records()
    run.records_path.unlink()
    assert run.records() == []


def test_truncating_drops_what_came_after_the_step(run: Run) -> None:
    run.record([record(step) for step in range(5)])
    run.finish()
    assert Run.open(run.path).is_done
    run.truncate(2)
    assert [r.step for r in run.records()] == [0, 1, 2]
    assert not run.is_done
    run.record([record(3)])
    assert [r.step for r in run.records()] == [0, 1, 2, 3]


def test_truncating_that_fails_keeps_the_old_file(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.record([record(step) for step in range(5)])
    before = run.records_path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run.truncate(2)
    assert run.records_path.read_bytes() == before
    assert not list(run.path.glob(".*.tmp"))


@settings(deadline=None)
@given(steps=st.lists(st.integers(0, 20)), cut=st.integers(-1, 21))
def test_resuming_equals_never_having_stopped(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], cut: int
) -> None:
    """Going back to a step and recording the rest again gives the records of an uninterrupted run."""
    steps = sorted(set(steps))
    run = Run.create(tmp_path_factory.mktemp("runs"), "wine", {})
    run.record(record(step, -1.0 if step > cut else 1.0) for step in steps)
    run.truncate(cut)
    run.record(record(step) for step in steps if step > cut)
    assert run.records() == [record(step) for step in steps]


def test_differences_are_read_by_people() -> None:
    old = {"epochs": 20, "data": "wine", "optimiser": {"lr": 0.1, "warm": None}, "gone": 1}
    new = {"epochs": 40, "data": "wine", "optimiser": {"lr": 0.2, "warm": None}, "new": [1, "a"]}
    assert config_difference(old, new) == [
        "epochs: 20 -> 40",
        "gone: 1 -> (absent)",
        'new: (absent) -> [1, "a"]',
        "optimiser.lr: 0.1 -> 0.2",
    ]
    assert config_difference({"a": {"b": 1}}, {"a": 2}) == ['a: {"b": 1} -> 2']


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


TYPED = {"format", *Known.model_fields, "exclude"}
"""Settings of which the reader knows the type, or that it translates."""


@settings(deadline=None)
@given(config=st.dictionaries(st.text().filter(lambda key: key not in TYPED), json_values))
def test_any_plain_configuration_comes_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]
) -> None:
    run = Run.create(tmp_path_factory.mktemp("runs"), "wine", config)
    assert config_difference(run.config, Run.open(run.path).config) == []


def rows_of(name: str, count: int) -> list[Record]:
    """Returns so many records of different steps."""
    return [Record(name, 0, step, "loss", 1 / (step + 1)) for step in range(count)]


def cut(path: Path, lines: int) -> None:
    """Cuts whole lines off the end of a file."""
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-lines]))


def test_records_cut_short_after_the_end_are_seen(run: Run) -> None:
    run.record(rows_of("wine", 20))
    cut(run.records_path, 5)
    assert len(run.records()) == 15  # training goes on from what is there
    run.record(rows_of("wine", 20)[15:])
    run.finish()
    assert len(Run.open(run.path).records()) == 20
    whole = run.records_path.read_bytes()
    for damage in (1, 7, 20):
        cut(run.records_path, damage)
        with pytest.raises(CheckpointError, match=rf"records.jsonl.*{20 - damage} of the 20"):
            Run.open(run.path).records()
        run.records_path.write_bytes(whole)
    run.records_path.write_bytes(whole[:-3])  # in mid-line
    with pytest.raises(CheckpointError, match=r"19 of the 20|changed"):
        run.records()
    run.records_path.unlink()
    with pytest.raises(CheckpointError, match=r"records.jsonl: is missing"):
        run.records()


def test_what_is_recorded_after_the_end_counts_too(run: Run) -> None:
    run.record(rows_of("wine", 3))
    run.finish(seconds=1.5)
    run.record(rows_of("wine", 6))  # three of them for the second time
    run.replace(rows_of("wine", 8))
    assert len(run.records()) == 8
    cut(run.records_path, 1)
    with pytest.raises(CheckpointError, match="7 of the 8"):
        run.replace(rows_of("wine", 1))
    assert json.loads(run.done_path.read_text())["seconds"] == 1.5


def test_a_count_that_was_not_brought_up_to_date_misses_nothing(run: Run) -> None:
    run.record(rows_of("wine", 3))
    run.finish()
    done = run.done_path.read_bytes()
    run.record(rows_of("wine", 9))
    run.done_path.write_bytes(done)  # as after a kill between the two
    assert len(run.records()) == 9


def test_a_damaged_marker_is_said(run: Run) -> None:
    run.finish()
    run.done_path.write_text('{"finished": ')
    with pytest.raises(CheckpointError, match="DONE"):
        run.records()


def test_sealed_files_that_are_gone_after_the_end_are_seen(run: Run) -> None:
    run.write_splits({"kind": "built-in"}, {"train": [0, 1], "valid": [2], "test": [3]})
    assert read_details(run.details_path) is None  # earlier runs have none
    sizes = Bins(low=-1, high=1, count=2)
    write_details(
        run.details_path, Details(step=1, layers=[], weights=sizes, snr=sizes, members=[])
    )
    run.finish()
    run.details_path.unlink()
    with pytest.raises(CheckpointError, match=r"details\.json: is missing"):
        read_details(run.details_path)
    run.splits_path.unlink()
    with pytest.raises(CheckpointError, match=r"splits\.json: is missing"):
        run.parts()


@pytest.mark.parametrize("version", ['"99.0.0"', "99", "1.5"])
def test_a_format_that_is_not_read_is_named(run: Run, version: str) -> None:
    run.config_path.write_text(f'{{"format": {version}}}')
    with pytest.raises(CheckpointError, match=rf"format {version}.*1 or 2"):
        Run.open(run.path)


def test_a_run_that_cannot_be_begun_leaves_nothing(tmp_path: Path) -> None:
    """On a full disk the hidden folder of the new run stayed, and took the space that was left."""

    def full(_: Run) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match="No space left on device"):
        Run.create(tmp_path, "one", CONFIG, fill=full)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".one.lock"] == []
