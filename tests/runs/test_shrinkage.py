"""What a shrinking run left behind: records as lines over time, and the log of collections."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import CheckpointError
from netdial.core.records import Event, Record
from netdial.jobs.reports import list_runs
from netdial.runs.listing import RunRow
from netdial.runs.run import Run
from netdial.runs.shrinkage import KILLS, events, shrinkage

from ..early import early

LINE: dict[str, Any] = {
    "step": 14,
    "lam": 0.5,
    "rule": "size",
    "gone": {"fc1": [48, 62]},
    "widths": {"fc1": 62, "fc2": 64},
    "n_params": 4350,
    "folded": {"fc2.bias": 1},
    "refused": {"fc2": "keeps at least 1 of 4 channels"},
    "difference": 1e-7,
    "seconds": 0.02,
}
EVENT = Event(**{**LINE, "gone": {"fc1": (48, 62)}})


def record(method: str, step: int, name: str, value: float) -> Record:
    return early("r", method, None, 0, step, name, value)


RECORDS = [
    record("train", 0, "shrink/width/fc1", 64),
    record("train", 0, "shrink/params", 1000),
    record("train", 7, "shrink/width/fc1", 20),
    record("train", 7, "shrink/params", 300),
    record("train", 7, "valid/accuracy", 0.7),
    record("cost", 7, "shrink/start/params", 1001),
    record("cost", 7, "shrink/start/ms_1", 0.2),
    record("cost", 7, "shrink/end/params", 290),
    record("cost", 7, "shrink/end/ms_1", 0.1),
    record("cost", 7, "shrink/fold_difference", 3e-7),
    record("evaluate", 7, "valid/accuracy", 0.71),
    record("evaluate", 7, "test/accuracy", 0.69),
]


def test_records_become_lines_over_time() -> None:
    found = shrinkage(RECORDS)
    assert found.steps == (0, 7)
    assert found.widths == {"fc1": (64, 20)}
    assert found.course["params"] == (1000, 300)
    accuracy = found.course["valid/accuracy"]
    assert math.isnan(accuracy[0]) and accuracy[1] == 0.7
    assert found.start == {"params": 1001, "ms_1": 0.2}
    assert found.end == {"params": 290, "ms_1": 0.1}
    assert found.scores == {"valid/accuracy": 0.71, "test/accuracy": 0.69}
    assert found.fold_difference == 3e-7


def test_parameters_are_those_of_the_folded_network_or_those_so_far() -> None:
    assert shrinkage(RECORDS).parameters == (1001, 290)
    assert shrinkage(RECORDS[:5]).parameters == (1000, 300)
    assert shrinkage([]).parameters is None


def write(folder: Path, *lines: str) -> None:
    (folder / KILLS).write_text("".join(lines), encoding="utf-8")


def test_the_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    later = {**LINE, "step": 21, "gone": {}, "folded": {}, "refused": {}, "of a later version": 1}
    write(tmp_path, json.dumps(LINE) + "\n", json.dumps(later) + "\n")
    first, second = events(tmp_path)
    assert first == EVENT
    assert (second.step, second.gone) == (21, {})


def test_lines_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Parameters were called ``params`` in logs, and checkpoints held what a collection did as a whole of its own."""
    line = {**LINE, "params": LINE["n_params"]}
    del line["n_params"]
    write(tmp_path, json.dumps(line) + "\n")
    assert events(tmp_path) == [EVENT]
    done = {
        name: LINE[name]
        for name in ("widths", "n_params", "folded", "refused", "difference", "seconds")
    }
    state = {
        **{name: LINE[name] for name in ("step", "lam", "rule", "gone")},
        "collection": {**done, "plan": {}},
    }
    assert Event.from_json(state, "checkpoint", "delete it") == EVENT


def test_no_log_and_an_empty_log_hold_nothing(tmp_path: Path) -> None:
    assert events(tmp_path) == []
    write(tmp_path)
    assert events(tmp_path) == []


@given(cut=st.integers(1, len(json.dumps(LINE))))
def test_a_line_that_was_cut_off_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    write(folder, json.dumps(LINE) + "\n", json.dumps(LINE)[:cut])
    assert events(folder) == [EVENT]


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"step": 3}', "not JSON"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    write(tmp_path, json.dumps(LINE) + "\n", line + "\n")
    with pytest.raises(CheckpointError, match=r"kills\.jsonl: line 2 is not a removal.*delete"):
        events(tmp_path)


def test_a_log_cut_short_after_the_end_is_seen(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "wine", CONFIG | {"seed": 0})
    write(run.path, *[json.dumps(LINE) + "\n"] * 3)
    run.finish()
    assert len(events(run.path)) == 3
    write(run.path, *[json.dumps(LINE) + "\n"] * 2)
    with pytest.raises(CheckpointError, match=r"kills\.jsonl.*2 of the 3"):
        events(run.path)
    (run.path / "kills.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"kills\.jsonl: is missing"):
        events(run.path)


CONFIG = {"way": "shrink", "data": "wine", "model": "mlp:64-64", "kind": "classification"}


def listed(tmp_path: Path, records: list[Record], **config: Any) -> RunRow:
    run = Run.create(tmp_path, "r", {**CONFIG, **config})
    run.record(records)
    return list_runs(tmp_path)[0]


def test_the_list_of_runs_shows_way_sizes_and_accuracy(tmp_path: Path) -> None:
    row = listed(tmp_path, RECORDS)
    assert (row.way, row.params, row.metric, row.best) == (
        "shrink",
        (1001, 290),
        "valid/accuracy",
        0.71,
    )
    assert row.best_lam is None


def test_the_list_shows_the_size_of_a_run_under_way_and_claims_no_result(tmp_path: Path) -> None:
    row = listed(tmp_path, RECORDS[:5])
    assert (row.params, row.metric, row.best) == ((1000, 300), None, None)


def test_the_list_shows_the_error_of_a_regression(tmp_path: Path) -> None:
    row = listed(tmp_path, [record("evaluate", 7, "valid/rmse", 3.5)], kind="regression")
    assert (row.params, row.metric, row.best) == (None, "valid/rmse", 3.5)


def test_a_run_without_a_way_is_a_family_and_a_damaged_one_has_none(tmp_path: Path) -> None:
    Run.create(tmp_path, "family", {"data": "wine"})
    Run.create(tmp_path, "damaged", CONFIG).config_path.write_text("{")
    assert {row.name: row.way for row in list_runs(tmp_path)} == {"family": "fit", "damaged": None}
