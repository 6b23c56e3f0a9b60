"""Sinks get the records of a run: every number once, at its step; a sink that fails never stops training."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from netdial.cli import main
from netdial.cli.app import app
from netdial.core.records import Record
from netdial.jobs.records import sinks
from netdial.jobs.records.sinks import SINKS, sending, tag_of
from netdial.runs.run import Run

FIT = "fit wine --epochs 2 --points 3 --name w --quiet --runs-dir"


def in_tensorboard(root: Path) -> dict[tuple[str, int], float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(root / "tensorboard" / "w"), size_guidance={"scalars": 0}).Reload()
    tags = found.Tags()["scalars"]
    return {(tag, one.step): one.value for tag in tags for one in found.Scalars(tag)}


def in_mlflow(root: Path) -> dict[tuple[str, int], float]:
    with sqlite3.connect(root / "mlflow.db") as base:
        rows = base.execute("select key, step, value from metrics").fetchall()
        [[status]] = base.execute("select status from runs").fetchall()
    assert status == "FINISHED"
    return {(key, step): value for key, step, value in rows}


READ = {"tensorboard": in_tensorboard, "mlflow": in_mlflow}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SINKS))
@pytest.mark.filterwarnings("default")
def test_every_sink_gets_every_record(tmp_path: Path, name: str) -> None:
    pytest.importorskip(SINKS[name].needs[0])
    done = CliRunner().invoke(app, [*FIT.split(), str(tmp_path), "--log", name])
    assert done.exit_code == 0, done.output
    records = Run.open(tmp_path / "w").records()
    found = READ[name](tmp_path)
    assert set(found) == {(tag_of(one), one.step) for one in records}
    for one in records:
        assert found[tag_of(one), one.step] == pytest.approx(one.value, rel=1e-5)


def test_names_are_checked_before_work_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*FIT.split(), str(tmp_path), "--log", "tensorbord"]) == 2
    assert "tensorboard" in capsys.readouterr().err
    monkeypatch.setattr(sinks, "find_spec", lambda name: None)
    assert main([*FIT.split(), str(tmp_path), "--log", "mlflow"]) == 2
    assert "netdial[mlflow]" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_a_sink_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[int] = []

    class Failing:
        needs = ()

        def __init__(self, run: Run, root: Path, step: int) -> None: ...

        def write(self, records: Sequence[Record]) -> None:
            got.append(len(records))
            raise OSError("the disk is full")

        def close(self) -> None:
            got.append(-1)

    monkeypatch.setitem(SINKS._parts, "failing", Failing)
    config = {"name": "r", "seed": 0, "data": "wine", "load": {}}
    run = Run(tmp_path / "r", config)
    run.path.mkdir()
    with sending(run, ["failing"], tmp_path, 0):
        with pytest.warns(UserWarning, match="failing.*disk is full"):
            run.record([run.row(0, "loss", 1.0)])
        run.record([run.row(1, "loss", 1.0)])
    assert got == [1]
    assert len(run.records_path.read_text().splitlines()) == 2


def test_tags_hold_all_axes_and_only_plain_signs() -> None:
    where = {"method": "evaluate", "part": "valid", "layer": "<b>", "lam": 0.1}
    assert (
        tag_of(Record("r", 0, 1, "nll", 0.0, where=where)) == "evaluate/valid/nll/layer _b_/lam 0.1"
    )
