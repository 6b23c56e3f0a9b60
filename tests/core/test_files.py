"""Atomic writes: after any failure the old file is whole and no temporary file is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from netdial.core.errors import CheckpointError
from netdial.core.records import read_records
from netdial.core.storage.files import write_atomic, write_json, write_text

from ..early import early

ROW = early("wine", "train", 0.5, 0, 12, "train/loss", 1.25, "nats/example")


def test_text_and_json_are_written_with_their_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "λ\n")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "λ\n"
    write_json(tmp_path / "c.json", {"x": [1, 2]})
    assert (tmp_path / "c.json").read_text(encoding="utf-8").endswith("]\n}\n")


def test_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk went away")

    with pytest.raises(OSError, match="went away"):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_records_survive_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    rows = [ROW, early("wine", "evaluate", None, 0, 12, "kl_bits", 3.0)]
    path.write_text("".join(f"{row.to_json()}\n" for row in rows))
    assert list(read_records(path)) == rows


def test_cut_off_last_record_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(ROW.to_json() + "\n" + ROW.to_json()[:20])
    assert list(read_records(path)) == [ROW]


@pytest.mark.parametrize("line", ["{not json", '{"run": "wine"}', "[1]"])
def test_damaged_record_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(ROW.to_json() + "\n" + line + "\n" + ROW.to_json() + "\n")
    with pytest.raises(CheckpointError, match="line 2 is not a record"):
        list(read_records(path))
