"""Schedules: end points, monotone parts, and no surprise outside the planned steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.train import schedules


@given(st.integers(2, 300))
def test_onecycle_rises_to_one_and_falls_to_zero(steps: int) -> None:
    factor = schedules.onecycle(steps)
    values = [factor(step) for step in range(steps + 3)]
    top = max(range(len(values)), key=values.__getitem__)
    assert values[0] == pytest.approx(0.04)
    assert values[top] <= 1
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert values[steps] == pytest.approx(0, abs=1e-12)
    assert values[-1] == pytest.approx(0, abs=1e-12)


@given(st.integers(0, 300))
def test_cosine_falls_from_one_to_zero(steps: int) -> None:
    factor = schedules.cosine(steps)
    values = [factor(step) for step in range(steps + 3)]
    assert values[0] == 1
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-12)


def test_warmup_is_a_straight_line_then_one() -> None:
    factor = schedules.linear_warmup(4)
    assert [factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert schedules.linear_warmup(0)(0) == 1
    assert schedules.constant()(10**6) == 1
