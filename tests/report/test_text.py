"""Numbers and sentences for people."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.report.text import count, fixed, number, percent, power_of_ten, sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.001, "0.001"),
        (0.0009996, "0.001"),
        (99.96, "100"),
        (100, "100"),
        (12.345, "12.3"),
        (-3.2, "−3.2"),
        (999_999.9, "10⁶"),
        (2.5e-7, "2.5×10⁻⁷"),
        (-1e7, "−10⁷"),
        (math.nan, "not finite"),
        (None, "–"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_columns_keep_their_zeros() -> None:
    assert number(58.0, digits=4, padded=True) == "58.00"
    assert (fixed(0.5), percent(0.5), count(1234.5)) == ("0.500", "50.0%", "1\u202f234")


def test_a_minus_sign_is_one_and_zero_has_none() -> None:
    assert (fixed(-0.5), percent(-0.5), count(-1234.5)) == ("−0.500", "−50.0%", "−1\u202f234")
    assert (fixed(-0.0001), percent(-1e-9), count(-0.2)) == ("0.000", "0.0%", "0")


def read_back(text: str) -> float:
    """Returns the number that a text shows."""
    mantissa, _, power = text.replace("−", "-").replace("×", "").rpartition("10")
    exponent = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    if exponent == power:
        return float(text.replace("−", "-"))
    return float(f"{mantissa + '1' if mantissa in ('', '-') else mantissa}e{exponent}")


@given(st.floats(-1e12, 1e12).filter(lambda value: abs(value) > 1e-12))
def test_numbers_are_right_to_three_digits(value: float) -> None:
    assert read_back(number(value)) == pytest.approx(value, rel=0.0051)
    assert read_back(power_of_ten(value)) == pytest.approx(value, rel=0.0051)


def test_a_sentence_leaves_out_what_is_not_known() -> None:
    assert sentence({"epochs": 1}).endswith("networks in 1 epoch.")
    assert sentence({}) == "One run trained a family of networks."
    assert sentence({"epochs": 9}, done=False).startswith("One run began to train a family")
    full = sentence(
        {
            "model": "linear",
            "data": "wine",
            "n_train": 1000,
            "n_valid": "?",
            "lo": 1e-3,
            "hi": 1e2,
            "epochs": 3,
        }
    )
    assert full == (
        "One run trained a family of linear networks on wine (1\u202f000 training examples) "
        "for every complexity λ from 0.001 to 100 in 3 epochs."
    )
