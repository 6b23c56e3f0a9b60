"""Commands that are killed at any change of the disk, or at any time, go on to the same result."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SMALL = "fit wine --model linear --epochs 2 --points 2 --samples 0 -q"
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.slow
def test_a_fit_that_is_killed_goes_on_to_the_same_result() -> None:
    from benchmarks.faults.kills import Fate, Scene, kills

    scene = Scene("fit", SMALL, f"{SMALL} --resume")
    fates = [fate for _, _, fate in kills([scene], 6, seed=1)]
    assert {Fate(fate.died) for fate in fates} == set(fates)
    assert any(fate.died for fate in fates)


def test_a_difference_is_found(tmp_path: Path) -> None:
    from benchmarks.faults.kills import difference, result

    (tmp_path / "records.jsonl").write_text('{"name": "a", "value": 1}\n{"name": "x_seconds"}\n')
    (tmp_path / "log.txt").write_text("epoch 1/2  fit 0.5  0.25 s\n")
    first = result(tmp_path)
    assert difference(first, first) == ""
    (tmp_path / "log.txt").write_text("epoch 1/2  fit 0.5  0.75 s\n")
    assert difference(first, result(tmp_path)) == ""
    (tmp_path / "records.jsonl").write_text('{"name": "a", "value": 2}\n')
    assert difference(first, result(tmp_path)) == "records.jsonl differs"
    (tmp_path / "records.jsonl").unlink()
    assert difference(first, result(tmp_path)) == "records.jsonl is missing"
