"""Codebooks: what they stand for, their canonical form, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.compression import Codebook
from netdial.core.errors import ConfigError, ShapeError


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=6),
    st.lists(st.integers(0, 5), max_size=20),
)
def test_the_canonical_form_is_the_same_tensor_and_has_one_name_for_each_value(values, codes):
    book = Codebook(np.array(codes, np.int64) % len(values), np.array(values, np.float32))
    found = book.canonical()
    np.testing.assert_array_equal(found.dense(), book.dense())
    rest = found.values[found.values != 0]
    assert (np.diff(rest) > 0).all() and set(found.values) == set(book.dense())
    assert (book.dense() == 0).sum() == 0 or found.values[0] == 0
    again = found.canonical()
    np.testing.assert_array_equal(again.codes, found.codes)
    np.testing.assert_array_equal(again.values, found.values)


def test_negative_zero_is_zero():
    found = Codebook(np.array([0, 1, 2]), np.array([-0.0, 0.0, 1.0])).canonical()
    assert found.values.tolist() == [0.0, 1.0] and not np.signbit(found.values).any()


@pytest.mark.parametrize(
    ("codes", "values", "error", "said"),
    [
        ([0, 2], [0.0, 1.0], ConfigError, "2"),
        ([-1], [0.0], ConfigError, "-1"),
        ([0.5], [0.0], ConfigError, "float64"),
        ([0], [np.nan], ConfigError, "1 of 1"),
        ([0], [[1.0]], ShapeError, "1, 1"),
    ],
)
def test_what_is_no_codebook_is_refused(codes, values, error, said):
    with pytest.raises(error, match=said):
        Codebook(np.array(codes), np.array(values))
