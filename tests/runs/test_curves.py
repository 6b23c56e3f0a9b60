"""What records say about the members of a family, and which member is chosen."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.records import Record
from netdial.runs.curves import Member, headline, learning, members


def evaluated(
    lam: float | None, value: float, *, name: str = "valid/accuracy", seed: int = 0, step: int = 9
) -> Record:
    return Record("r", "evaluate", lam, seed, step, name, value)


def accuracies(values: dict[float, float], name: str = "valid/accuracy") -> list[Member]:
    return [Member(lam, {name: value}) for lam, value in values.items()]


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
            Record("r", "train", 7.0, 0, 3, "train/loss", 1.0),
        ]
    )
    assert rows == [Member(1.0, {"valid/accuracy": 0.6})]
    assert members([]) == []


def test_the_simplest_within_one_standard_error() -> None:
    """p = 0.9 over 400 examples has a standard error of 0.015."""
    answer = headline(accuracies({0.1: 0.9, 1.0: 0.89, 10.0: 0.886, 100.0: 0.88}), CONFIG)
    assert answer is not None
    assert (answer.best.lam, answer.value) == (0.1, 0.9)
    assert answer.standard_error == pytest.approx(0.015)
    assert answer.simplest is not None
    assert answer.simplest.lam == 10.0


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


@pytest.mark.parametrize("n_valid", [None, 0, "400"])
def test_no_standard_error_without_the_number_of_examples(n_valid: object) -> None:
    answer = headline(accuracies({0.1: 0.9}), {"kind": "classification", "n_valid": n_valid})
    assert answer is not None
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
    st.dictionaries(st.floats(1e-3, 1e3), st.floats(0, 1), min_size=1),
    st.integers(1, 10**6),
)
def test_laws_of_the_choice(values: dict[float, float], n_valid: int) -> None:
    answer = headline(accuracies(values), {"kind": "classification", "n_valid": n_valid})
    assert answer is not None
    assert answer.simplest is not None
    assert answer.standard_error is not None
    assert answer.value == max(values.values())
    assert answer.simplest.lam >= answer.best.lam
    assert values[answer.simplest.lam] >= answer.value - answer.standard_error


def test_learning_curves_are_sorted_by_step() -> None:
    rows = [
        Record("r", "train", lam, 0, step, "train/fit", float(step))
        for step in (2, 1)
        for lam in (None, 0.5)
    ]
    line = [(1, 1.0), (2, 2.0)]
    assert learning([*rows, evaluated(1.0, 0.5)]) == {"train/fit": {None: line, 0.5: line}}
