"""The figure of how far a value travels counts what a run really does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("importable")


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def test_files_are_those_of_calls_that_are_given_the_value() -> None:
    from benchmarks.house._following import Follower

    from netdial.core.best import Row, one_se

    tag = 0.1234567
    rows = [Row(tag, 0.5, 0.0), Row(1.0, 0.7, 0.01)]

    def carries(thing: object) -> bool:
        return isinstance(thing, Row) and thing.lam == tag

    with Follower(carries) as follower:
        assert one_se(rows) == 0
    assert {visit.file for visit in follower.visits} == {"core/best.py"}
    assert "is_near" in {visit.function for visit in follower.visits}
    with Follower(carries, lambda visit: visit.function == "is_near") as follower:
        one_se(rows)
    assert follower.way[-1].function == "is_near"
    with Follower(lambda thing: thing == math.pi) as follower:
        one_se(rows)
    assert follower.visits == []


def test_what_hands_a_value_on_is_on_its_way() -> None:
    from benchmarks.house._following import Visit

    maker = Visit("b.py", "make", given=False)
    user = Visit("a.py", "use", given=False, handed=[maker])
    assert list(user.files()) == ["a.py", "b.py"]


def test_a_comprehension_is_a_part_of_its_function() -> None:
    """Python 3.11 runs it as a call, later ones do not; what a function finds on its way is not handed on."""
    from benchmarks.house._following import _SOURCE, Follower

    text = "def count(rows):\n    return len([row for row in rows if row])"
    names: dict[str, Any] = {}
    exec(compile(text, f"{_SOURCE}/made.py", "exec"), names)
    with Follower(lambda thing: thing == [3, 5]) as follower:
        assert names["count"]([3, 0, 5]) == 2
    assert follower.visits == []
    with Follower(lambda thing: thing == [3, 0, 5]) as follower:
        names["count"]([3, 0, 5])
    assert [visit.function for visit in follower.visits] == ["count"]


@pytest.mark.slow
def test_the_ways_of_lam_and_of_a_dead_channel() -> None:
    from benchmarks.house.hops import measure

    found = {row["what"]: row for row in measure(quick=True).rows}
    lam = str(found["lam"]["which"]).split(" -> ")
    assert (lam[0], lam[-1]) == ("cli/__init__.py", "shrinking/penalty.py")
    assert len(lam) <= 6, lam
    channel = str(found["dead channel"]["which"]).split(" -> ")
    assert len(channel) <= 13, channel
    assert channel[0] == "shrinking/killing.py" and channel[-1].startswith("core/storage/")
    assert {"channels/surgery.py", "core/cutting.py"} <= set(channel)
    assert "Event" in str(found["forms of one event"]["which"])
