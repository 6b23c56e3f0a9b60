"""Trials of one sweep are made from the same tables, wherever it is looked at from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from netdial.core.errors import ConfigError, DataError
from netdial.sweeps.conductor import Told
from netdial.sweeps.run import open_sweep, sweep
from netdial.sweeps.spec import SweepSpec

Make = Callable[..., SweepSpec]


def _table(path: Path, slope: float = 2.0) -> None:
    rows = [f"{x},{slope * x + x % 7}" for x in range(60)]
    path.write_text("\n".join(["x,y", *rows]))


@pytest.mark.parametrize("changed", ["homes.csv", "valid.csv"])
@pytest.mark.parametrize("data_dir", [None, "elsewhere"])
def test_a_table_that_was_changed_is_not_mixed_with_what_it_was(
    toy: Make, tmp_path: Path, data_dir: str | None, changed: str
) -> None:
    """Trials of two states of a table would be compared as if one were better than the other."""
    home = tmp_path / (data_dir or ".")
    home.mkdir(exist_ok=True)
    _table(home / "homes.csv")
    _table(home / "valid.csv", 3.0)
    how = {
        "data": "homes.csv",
        "data_dir": data_dir,
        "settings": {"epochs": 2, "target": "y", "valid": "valid.csv"},
    }
    before = sweep(toy(**how, trials=2))
    assert before.counts["done"] == 2
    _table(home / changed, 5.0)
    assert open_sweep("toy").counts["done"] == 2  # as they were made
    with pytest.raises(DataError, match=rf"{changed}.*was changed since.*another name"):
        sweep(toy(**how, trials=3))
    assert len(open_sweep("toy").trials) == 2  # nothing was begun
    (home / changed).unlink()
    with pytest.raises(DataError, match=f"{changed}.*no such file"):
        sweep(toy(**how, trials=3))
    _table(home / changed, 2.0 if changed == "homes.csv" else 3.0)  # as it was
    assert sweep(toy(**how, trials=3)).counts["done"] == 3


def test_a_table_that_changes_while_trials_are_made_fails_those_that_come_after(
    toy: Make, tmp_path: Path
) -> None:
    """The first trial stays, and no other one reads the new rows under its name."""
    table = tmp_path / "homes.csv"
    _table(table)

    def report(told: Told) -> None:
        if told.state == "done":
            _table(table, 5.0)

    settings = {"epochs": 2, "target": "y"}
    found = sweep(toy(data="homes.csv", settings=settings, trials=3), report=report)
    assert [trial.state for trial in found.trials] == ["done", "failed", "failed"]
    assert "was changed since" in found.trials[1].error


def test_a_sweep_reads_the_same_from_any_folder(
    toy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials were called waiting where the table is not found from the folder one stands in."""
    _table(tmp_path / "homes.csv")
    settings = {"epochs": 2, "target": "y"}
    sweep(toy(data="homes.csv", settings=settings, trials=2))
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert open_sweep(tmp_path / "runs/sweeps/toy").counts["done"] == 2


def test_fewer_trials_than_there_are_leave_none_waiting(toy: Make) -> None:
    """The count of those that wait was negative."""
    sweep(toy(trials=4))
    found = sweep(toy(trials=2))
    assert found.counts == {"done": 4, "stopped": 0, "failed": 0, "unfinished": 0, "waiting": 0}


def test_tables_in_memory_are_kept_with_the_sweep_and_an_equal_one_goes_on(
    toy: Make, tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = pandas.DataFrame({"x": range(60), "y": [2.0 * x + x % 7 for x in range(60)]})
    rows.to_parquet(tmp_path / "homes.parquet", index=False)
    keys = {name: value for name, value in toy(trials=2).model_dump().items() if value is not None}

    def made(data: object, valid: object, **changes: Any) -> list[Mapping[str, float]]:
        settings = {"epochs": 2, "target": "y", "valid": valid}
        found = sweep({**keys, "data": data, "settings": settings}, **changes)
        return [trial.measures for trial in found.trials]

    of_file = made("homes.parquet", "homes.parquet", name="files")
    of_frame = made(rows, rows.copy())
    assert of_frame == of_file
    assert made(rows.copy(), rows, trials=3)[:2] == of_frame
    (kept,) = Path("runs/sweeps/toy").glob("*.parquet")
    assert pandas.read_parquet(kept).equals(rows)
    with pytest.raises(ConfigError, match="s3://bucket/a: other machines cannot read it"):
        made(rows, rows, storage="s3://bucket/a", name="far")
