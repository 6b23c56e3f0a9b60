"""Laws of the split: disjoint, complete, in proportion, decided by the seed alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netdial.core.errors import ConfigError, DataError
from netdial.data.split import split_rows

fractions = st.floats(0.05, 0.4)
class_sizes = st.lists(st.integers(20, 60), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(sizes=class_sizes, valid=fractions, test=fractions, seed=st.integers(0, 2**31))
def test_parts_are_a_stratified_partition(
    sizes: list[int], valid: float, test: float, seed: int
) -> None:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    parts = split_rows(len(labels), valid=valid, test=test, seed=seed, labels=labels)
    rows = torch.cat(list(parts.values()))
    assert torch.equal(rows.sort().values, torch.arange(len(labels)))
    for name, fraction in (("valid", valid), ("test", test)):
        assert abs(len(parts[name]) - fraction * len(labels)) <= 0.5 + 1e-9
        for label, size in enumerate(sizes):
            got = int((labels[parts[name]] == label).sum())
            assert got >= 1 and abs(got - fraction * size) <= 1
    again = split_rows(len(labels), valid=valid, test=test, seed=seed, labels=labels)
    assert all(torch.equal(parts[name], again[name]) for name in parts)


def test_seed_decides_and_global_generator_rests() -> None:
    state = torch.get_rng_state()
    one = split_rows(100, valid=0.2, test=0.2, seed=1)
    two = split_rows(100, valid=0.2, test=0.2, seed=2)
    assert not torch.equal(one["test"], two["test"])
    assert torch.equal(torch.get_rng_state(), state)


def test_zero_fraction_leaves_the_part_empty() -> None:
    parts = split_rows(10, valid=0.3, test=0.0, seed=0)
    assert [len(parts[name]) for name in ("train", "valid", "test")] == [7, 3, 0]


@pytest.mark.parametrize("n_rows", [0, 1])
def test_too_little_data(n_rows: int) -> None:
    with pytest.raises(DataError, match=rf"{n_rows} row\(s\) of data; at least two"):
        split_rows(n_rows, valid=0.2, test=0.2, seed=0)


def test_rare_class_is_named() -> None:
    labels = torch.tensor([0] * 20 + [1] * 2)
    with pytest.raises(DataError, match=r"class 'rare' with 2 row\(s\) cannot be split"):
        split_rows(22, valid=0.2, test=0.2, seed=0, labels=labels, classes=("usual", "rare"))
    with pytest.raises(DataError, match="all 2 rows cannot be split"):
        split_rows(2, valid=0.2, test=0.2, seed=0)


@pytest.mark.parametrize(
    ("valid", "test"), [(0.5, 0.5), (-0.1, 0.2), (1.2, 0.0), (float("nan"), 0.1)]
)
def test_impossible_fractions(valid: float, test: float) -> None:
    with pytest.raises(ConfigError, match="leave no training rows"):
        split_rows(10, valid=valid, test=test, seed=0)
