"""Damaged files are refused in words, whatever the damage: a slice of the figure ``fuzz``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("pandas")
sys.path.insert(0, str(Path(__file__).parent.parent))
try:
    from benchmarks.faults import fuzz
    from benchmarks.faults._samples import SAMPLES
finally:
    sys.path.pop(0)

SLOW = {"shrunken", "run folder", "records to report"}
COUNT = 15


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in SAMPLES],
)
def test_mutated_files_raise_our_errors_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz.signal, "alarm", lambda seconds: 0)  # the test's own limit stays
    found = list(fuzz.cases(name, 0, COUNT, tmp_path))
    bad = [case for case in found if case["outcome"] == "foreign" or fuzz._silent(case)]
    assert not bad, bad[0]
    assert len(found) == COUNT and any(case["outcome"] == "own error" for case in found)


def test_a_reader_that_raises_or_takes_something_else_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz.signal, "alarm", lambda seconds: 0)

    def stumbles(folder: Path) -> str:
        raise KeyError("lam")

    assert fuzz._outcome(stumbles, tmp_path, "")[0] == "foreign"
    assert fuzz._outcome(lambda folder: "other", tmp_path, "")[0] == "other content"
    assert fuzz._silent({"outcome": "other content", "sample": "family"})
    assert not fuzz._silent({"outcome": "other content", "sample": "csv"})
