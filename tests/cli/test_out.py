"""``--out``: a place where nothing can be written is refused before the work that is to be written there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from netdial.core.errors import WriteError
from netdial.core.storage.files import check_writable

from .conftest import Call

LONG = {
    "compress": ("netdial.jobs.analyses.compressed.compress", ["--lam", "1", "--max-bytes", "900"]),
    "slim": ("netdial.jobs.analyses.slimmed.member_of", ["--lam", "1"]),
    "finetune": ("netdial.jobs.analyses.tuned.finetune", ["--lam", "1"]),
    "choose": ("netdial.jobs.analyses.chosen.choose_run", []),
    "latency": ("netdial.jobs.search.latency.measured", []),
}
"""Commands that work long before they write: what does the work, and other arguments."""


@pytest.mark.parametrize("command", list(LONG))
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    command: str, call: Call, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*given: Any, **more: Any) -> None:
        pytest.fail("the work was begun")

    name, words = LONG[command]
    monkeypatch.setattr(name, work)
    run = tmp_path / "run"
    shutil.copytree(points, run)
    (tmp_path / "taken").write_text("a file where a folder should be")
    what = "wine" if command == "latency" else str(run)
    told = call(command, what, *words, "--out", "taken/out.ndz")
    assert told.code == 2
    assert "taken/out.ndz: could not be written" in told.err


def test_a_place_that_can_be_written_is_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folders" / "x.ndz")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "folder").mkdir()
    check_writable(tmp_path / "folder", is_folder=True)
    with pytest.raises(WriteError, match="Is a directory"):
        check_writable(tmp_path / "folder")
