"""What records say about the members of a family, and which member is chosen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.records import Record
from netdial.runs.curves import MemberRow, deciding, headline, learning, members, metrics_of

from ..early import early


def evaluated(
    lam: float | None, value: float, *, name: str = "valid/accuracy", seed: int = 0, step: int = 9
) -> Record:
    return early("r", "evaluate", lam, seed, step, name, value)


def accuracies(values: dict[float, float], name: str = "valid/accuracy") -> list[MemberRow]:
    return [MemberRow(lam, {name: value}) for lam, value in values.items()]


CONFIG = {"kind": "classification", "n_valid": 400}


def test_members_are_sorted_and_averaged_over_seeds() -> None:
    rows = members(
        [
            evaluated(10.0, 0.5),
            evaluated(0.1, 0.6),
            evaluated(0.1, 0.8, seed=1),
            evaluated(0.1, 3, name="kl_bits"),
        ]
    )
    assert [row.lam for row in rows] == [0.1, 10.0]
    assert rows[0].values == {"valid/accuracy": pytest.approx(0.7), "kl_bits": 3}


def test_members_come_from_the_latest_evaluation_only() -> None:
    rows = members(
        [
            evaluated(0.1, 0.5, step=1),
            evaluated(1.0, 0.6, step=2),
            evaluated(None, 0.9, step=2),
            early("r", "train", 7.0, 0, 3, "train/loss", 1.0),
        ]
    )
    assert rows == [MemberRow(1.0, {"valid/accuracy": 0.6})]
    assert members([]) == []


def compared(values: dict[float, tuple[float, float]]) -> list[MemberRow]:
    """Members with a log loss, and the paired standard error of its difference to the best."""
    least = min(loss for loss, _ in values.values())
    return [
        MemberRow(
            lam, {"valid/nll": loss, "valid/excess": loss - least, "valid/excess_error": error}
        )
        for lam, (loss, error) in values.items()
    ]


def test_the_simplest_within_one_paired_standard_error_of_the_log_loss() -> None:
    rows = compared({0.1: (0.3, 0.0), 1.0: (0.31, 0.02), 10.0: (0.33, 0.04), 100.0: (0.35, 0.04)})
    answer = headline(rows, CONFIG)
    assert answer is not None
    assert (answer.metric, answer.best.lam, answer.value) == ("valid/nll", 0.1, 0.3)
    assert answer.simplest is not None
    assert answer.simplest.lam == answer.chosen.lam == 10.0
    assert (answer.excess, answer.standard_error) == (pytest.approx(0.03), 0.04)


def test_members_worse_than_a_constant_are_known_and_said() -> None:
    rows = compared({0.1: (0.8, 0.0), 1.0: (0.9, 0.01)})
    answer = headline(rows, CONFIG, {"valid/nll": 0.85, "valid/accuracy": 0.6})
    assert answer is not None
    assert [answer.is_worse_than_constant(row) for row in rows] == [False, True]
    assert not any("constant" in text for text in answer.remarks)
    worse = headline(rows, CONFIG, {"valid/nll": 0.7})
    assert worse is not None
    assert any("worse than a constant" in text for text in worse.remarks)


def test_a_choice_at_an_end_of_the_range_says_what_to_do() -> None:
    rows = compared({1e-3: (0.3, 0.0), 1.0: (0.5, 0.02)})
    answer = headline(rows, {**CONFIG, "lo": 1e-3, "hi": 1e2})
    assert answer is not None
    (said,) = answer.remarks
    assert "0.001" in said and "lo=0.0001" in said


def test_the_better_way_to_predict_is_named() -> None:
    row = {"valid/rmse": 2.0, "valid/rmse_predictive": 1.9}
    answer = headline([MemberRow(1.0, row)], {"kind": "regression"})
    assert answer is not None and answer.using == "predictive"
    answer = headline(
        [MemberRow(1.0, {**row, "valid/rmse_predictive": 2.1})], {"kind": "regression"}
    )
    assert answer is not None and answer.using == "mean weights"


def test_of_equal_members_the_simplest_is_best() -> None:
    answer = headline(accuracies({0.1: 0.9, 1.0: 0.9, 10.0: 0.5}), CONFIG)
    assert answer is not None
    assert answer.best.lam == 1.0
    rmse = headline(
        accuracies({0.1: 2.0, 1.0: 2.0, 10.0: 3.0}, "valid/rmse"), {"kind": "regression"}
    )
    assert rmse is not None
    assert rmse.best.lam == 1.0
    assert rmse.metric == "valid/rmse"
    assert rmse.simplest is None


def test_a_run_without_recorded_comparison_has_a_best_member_and_no_simplest() -> None:
    answer = headline(accuracies({0.1: 0.9, 1.0: 0.8}), {"kind": "classification"})
    assert answer is not None
    assert answer.best.lam == 0.1
    assert answer.standard_error is None
    assert answer.simplest is None


def test_test_data_never_decides() -> None:
    assert headline(accuracies({0.1: 0.9}, "test/accuracy"), CONFIG) is None


def test_values_that_are_not_finite_never_win() -> None:
    answer = headline(accuracies({0.1: 0.5, 1.0: math.nan, 10.0: math.inf}), CONFIG)
    assert answer is not None
    assert answer.best.lam == 0.1
    assert headline(accuracies({0.1: math.nan}), CONFIG) is None


@given(
    st.dictionaries(
        st.floats(1e-3, 1e3), st.tuples(st.floats(0, 9), st.floats(1e-3, 1)), min_size=1
    )
)
def test_laws_of_the_choice(values: dict[float, tuple[float, float]]) -> None:
    answer = headline(compared(values), CONFIG)
    assert answer is not None
    assert answer.simplest is not None and answer.excess is not None
    assert answer.value == pytest.approx(min(loss for loss, _ in values.values()), abs=1e-4)
    assert answer.simplest.lam >= answer.best.lam
    assert answer.excess <= values[answer.simplest.lam][1] + 1e-4


def test_learning_curves_are_sorted_by_step() -> None:
    rows = [
        early("r", "train", lam, 0, step, "train/fit", float(step))
        for step in (2, 1)
        for lam in (None, 0.5)
    ]
    line = [(1, 1.0), (2, 2.0)]
    assert learning([*rows, evaluated(1.0, 0.5)]) == {"train/fit": {None: line, 0.5: line}}


def test_a_run_says_what_its_members_are_compared_by() -> None:
    """A task of one's own is asked through what it wrote; earlier runs hold the kind of task alone."""
    own = {"kind": "ordinal", "metric": "distance", "proper": "crps"}
    assert metrics_of(own) == ("distance", "crps")
    row = MemberRow(1.0, {"valid/crps": 1.0, "valid/nll": 2.0})
    assert deciding([row], own) == "valid/crps"
    assert deciding([row], {"kind": "regression"}) is None
    assert metrics_of({"kind": "regression"}) == ("rmse", "rmse")
    assert metrics_of({"kind": "classification"}) == metrics_of({}) == ("accuracy", "nll")
