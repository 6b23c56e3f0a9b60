"""The list of runs."""

from __future__ import annotations

from pathlib import Path

from netdial.core.storage.files import write_json
from netdial.jobs.reports import list_runs
from netdial.runs.listing import RunRow
from netdial.runs.run import Run
from netdial.runs.store import content_hash

from ..early import early

CONFIG = {
    "data": "wine",
    "model": "mlp:50",
    "objective": "scaled-kl",
    "map": "linear",
    "kind": "classification",
}


def test_runs_are_listed_by_time_with_their_best_member(tmp_path: Path) -> None:
    later, earlier = Run.create(tmp_path, "a", CONFIG), Run.create(tmp_path, "b", CONFIG)
    write_json(later.env_path, {"started": "2026-02-01"})
    write_json(earlier.env_path, {"started": "2026-01-01"})
    later.record(
        early("a", "evaluate", lam, 0, 70, "valid/accuracy", value)
        for lam, value in ((0.1, 0.9), (1.0, 0.8))
    )
    later.finish()
    key = content_hash(CONFIG)
    assert list_runs(tmp_path) == [
        RunRow("b", "unfinished", "wine", "mlp:50", "scaled-kl", "linear", started="2026-01-01", key=key),
        RunRow(
            "a", "done", "wine", "mlp:50", "scaled-kl", "linear",
            step=70, metric="valid/accuracy", best=0.9, best_lam=0.1, started="2026-02-01", key=key,
        ),
    ]  # fmt: skip


def test_a_damaged_run_does_not_spoil_the_list(tmp_path: Path) -> None:
    Run.create(tmp_path, "good", CONFIG)
    Run.create(tmp_path, "no-config", CONFIG).config_path.write_text("{")
    Run.create(tmp_path, "no-records", CONFIG).records_path.write_text("{}\n")
    (tmp_path / "photos").mkdir()
    rows = {row.name: row for row in list_runs(tmp_path)}
    assert {name: row.status for name, row in rows.items()} == {
        "good": "unfinished",
        "no-config": "damaged",
        "no-records": "damaged",
    }
    assert "config.json" in (rows["no-config"].problem or "")
    assert "line 1" in (rows["no-records"].problem or "")


def test_no_folder_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []
