"""Rules on rows: laws whatever the numbers, and cases worked out by hand."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.best import (
    RULES,
    Row,
    best,
    is_near,
    one_se,
    proportion,
    remarks,
    sparsest,
    undecided,
)
from netdial.core.errors import ConfigError


def rows_of(
    losses: list[list[float]], sizes: list[int], lams: list[float], proper: bool = False
) -> list[Row]:
    """Rows with paired errors, from losses of every member on the same examples."""
    means = [statistics.fmean(row) for row in losses]
    plain = [Row(lam, mean, size=size) for lam, mean, size in zip(lams, means, sizes, strict=True)]
    top = losses[best(plain)]
    errors = [
        statistics.stdev([a - b for a, b in zip(row, top, strict=True)]) / math.sqrt(len(row))
        for row in losses
    ]
    return [Row(r.lam, r.loss, e, r.size) for r, e in zip(plain, errors, strict=True)]


@st.composite
def comparisons(draw: st.DrawFn) -> list[Row]:
    count, examples = draw(st.integers(1, 8)), draw(st.integers(2, 20))
    numbers = st.floats(0, 3) if draw(st.booleans()) else st.sampled_from([0.0, 1.0])
    losses = draw(
        st.lists(
            st.lists(numbers, min_size=examples, max_size=examples), min_size=count, max_size=count
        )
    )
    sizes = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    lams = draw(st.lists(st.sampled_from([0.01, 1.0, 10.0]), min_size=count, max_size=count))
    return rows_of(losses, sizes, lams)


@given(comparisons())
def test_laws_of_the_rules(rows: list[Row]) -> None:
    top, simple, least = best(rows), one_se(rows), sparsest(rows)
    assert all(rows[top].loss <= row.loss * (1 + 1e-6) + 1e-9 for row in rows)
    assert rows[simple].loss - rows[top].loss <= rows[simple].error * (1 + 1e-6) + 3e-6
    plain = [(row.size, -row.lam) for row in rows]
    assert plain[least] <= plain[simple] <= plain[top]
    near = [i for i, row in enumerate(rows) if i == top or is_near(row, rows[top])]
    assert plain[simple] == min(plain[i] for i in near)


@given(comparisons(), st.integers(0, 7), st.sampled_from(sorted(RULES)))
def test_a_loss_that_is_not_finite_is_never_chosen(rows: list[Row], at: int, rule: str) -> None:
    for bad in (math.nan, math.inf, -math.inf):
        spoiled = [*rows, Row(99.0, bad, 0.0, 0)]
        assert RULES[rule](spoiled, None) == RULES[rule](rows, None)
        assert any("1 of" in text and "99" in text for text in remarks(spoiled, 0))
    with pytest.raises(ConfigError, match="none of 2 members has a finite loss"):
        RULES[rule]([Row(1.0, math.nan), Row(2.0, math.nan)], None)


@given(comparisons(), st.randoms())
def test_rules_do_not_depend_on_the_order(rows: list[Row], random: object) -> None:
    turned = list(reversed(rows))
    for rule in RULES.values():
        one, two = rows[rule(rows, None)], turned[rule(turned, None)]
        assert (one.size, one.lam) == (two.size, two.lam)


def test_by_hand() -> None:
    rows = [
        Row(0.1, 0.50, 0.0),
        Row(1.0, 0.52, 0.02),
        Row(10.0, 0.56, 0.05),
        Row(100.0, 0.51, math.nan),
    ]
    assert (best(rows), one_se(rows), sparsest(rows)) == (0, 1, 3)
    assert one_se(rows, [0, 2]) == 0


def test_equal_within_rounding_is_equal() -> None:
    """Outputs computed alone and side by side differ in the last bits; the choice must not."""
    for wobble in (-2e-8, 2e-8):
        rows = [Row(0.1, 0.7, 1e-9), Row(1.0, 0.7 + wobble, 1e-9)]
        assert best(rows) == one_se(rows) == 1


def test_an_error_of_zero_never_makes_a_choice() -> None:
    """All members are right on the same 36 examples; their log losses say which are alike."""
    rows = [
        Row(0.1, 0.0, 0.0, 900, 0.05, 0.0),
        Row(1.0, 0.0, 0.0, 300, 0.06, 0.02),  # within one standard error by log loss
        Row(10.0, 0.0, 0.0, 100, 0.40, 0.03),  # as accurate on these, and far less sure of it
    ]
    assert (best(rows), one_se(rows)) == (0, 1)
    assert undecided(rows, 0) == [1, 2]
    (said,) = remarks([*rows[:3], Row(100.0, 0.5, 0.1, 50, 1, 0.1)], 1, metric="accuracy")
    assert "accuracy does not tell 2 members" in said


def test_the_end_of_the_range_is_said_with_the_cure() -> None:
    rows = [Row(lam, loss, 0.0) for lam, loss in ((0.001, 0.1), (1.0, 0.2), (100.0, 0.3))]
    (low,) = remarks(rows, 0, 1e-3, 1e2)
    assert "0.001 is an end of the trained range" in low and "lo=0.0001 (--lo 0.0001)" in low
    (high,) = remarks(rows, 2, 1e-3, 1e2)
    assert "hi=1000 (--hi 1000)" in high
    assert remarks(rows, 1, 1e-3, 1e2) == []
    (inner,) = remarks(rows, 0, 1e-5, 1e2)
    assert "values looked at" in inner
    assert remarks(rows[:1], 0, 1e-3, 1e2) == []


def test_all_right_is_not_certainty() -> None:
    assert proportion(0.9, 400) == "± 1.5 points"
    assert "36" in proportion(1.0, 36) and "8%" in proportion(1.0, 36)
    assert "0.03%" in proportion(1.0, 10_000)
    assert "none of 5" in proportion(0.0, 5)


def test_no_torch_is_loaded() -> None:
    code = "import sys, netdial.core.best; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
