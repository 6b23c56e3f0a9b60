"""Bits of codes, and values that are shared: closed forms and laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netdial.compression.codebook import Codebook
from netdial.compression.pipeline import sharing
from netdial.compression.pipeline.rate import (
    adaptive_bits,
    book_bits,
    context_bits,
    cost_of_presence,
    entropy_bits,
    presence,
)
from netdial.compression.pipeline.sharing import STARTS
from netdial.core.errors import ConfigError, NonFiniteError

WEIGHTS = np.random.default_rng(0).standard_normal(400)


def test_an_adaptive_code_is_as_long_as_it_is_one_symbol_after_the_other() -> None:
    symbols = np.random.default_rng(1).integers(0, 3, 60)
    counts, bits = np.full(3, 0.5), 0.0
    for symbol in symbols:
        bits -= math.log2(counts[symbol] / counts.sum())
        counts[symbol] += 1
    assert adaptive_bits(np.bincount(symbols, minlength=3).astype(float)) == pytest.approx(bits)


def test_entropy_of_equal_shares_is_the_logarithm() -> None:
    assert entropy_bits(np.arange(8)) == pytest.approx(24)
    assert entropy_bits(np.zeros(5, np.int64)) == 0
    assert entropy_bits(np.zeros(0, np.int64)) == 0


def test_codes_in_full_rows_and_columns_are_cheaper_than_scattered_ones() -> None:
    source = np.random.default_rng(2)
    together = np.zeros((40, 50), np.int32)
    together[:8, :10] = 1
    scattered = together.reshape(-1)[source.permutation(2000)].reshape(40, 50)
    assert context_bits(together) < 0.5 * context_bits(scattered)
    assert context_bits(scattered) < 1.15 * entropy_bits(scattered) + 100


def test_no_codes_cost_nothing_much_and_a_table_costs_its_values() -> None:
    assert context_bits(np.zeros((0,), np.int32)) == 0
    empty, one = np.zeros((3, 3), np.int32), np.array([0, 1], np.int32)
    with_table = Codebook(one, np.array([0, 0.5], np.float32))
    assert book_bits(with_table) - context_bits(one) == 32
    assert book_bits(Codebook(empty, np.zeros(1, np.float32))) == context_bits(empty)


@pytest.mark.parametrize("shape", [(1, 4), (4,), (4, 1), (1, 2, 2, 1)])
def test_presence_in_a_single_row_is_its_share(shape: tuple[int, ...]) -> None:
    kept = torch.tensor([True, False, False, False]).view(shape)
    found = cost_of_presence(kept, 2.0)
    assert found.shape == kept.shape
    if shape != (4, 1):
        assert torch.allclose(found, torch.tensor(math.log2(0.75 / 0.25) + 2.0))


def test_presence_is_the_product_of_row_and_column_shares() -> None:
    kept = torch.tensor([[True, True, False, False], [True, False, False, False]])
    found = presence(kept)
    assert float(found[0, 0]) == pytest.approx(0.98)  # ½ · 1 / ⅜, bounded
    assert float(found[1, 1]) == pytest.approx(0.25 * 0.5 / 0.375)
    costs = cost_of_presence(kept, 3.0)
    assert costs.shape == kept.shape and float(costs[1, 3]) > float(costs[1, 1]) > float(
        costs[0, 1]
    )


@pytest.mark.parametrize("start", list(STARTS))
def test_every_value_is_the_mean_of_the_weights_nearest_to_it(start: str) -> None:
    values = sharing.kmeans(WEIGHTS, 6, start=start, seed=3)
    codes = sharing.nearest(WEIGHTS, values)
    assert 1 <= len(values) <= 6 and np.all(np.diff(values) > 0)
    for number, value in enumerate(values):
        assert WEIGHTS[codes == number].mean() == pytest.approx(value)
    spread = ((WEIGHTS - values[codes]) ** 2).mean()
    assert spread < 0.35 * WEIGHTS.var()


def test_starts_are_where_they_say() -> None:
    ranked = np.sort(WEIGHTS)
    assert sharing.linear(ranked, 3, 0) == pytest.approx(
        [ranked[0], (ranked[0] + ranked[-1]) / 2, ranked[-1]]
    )
    assert sharing.density(ranked, 1, 0) == pytest.approx([np.median(ranked)])
    assert set(sharing.random(ranked, 5, 0)) <= set(ranked)
    assert not np.array_equal(sharing.random(ranked, 5, 0), sharing.random(ranked, 5, 1))


def test_as_many_values_as_weights_lose_nothing_and_one_value_is_the_weighted_mean() -> None:
    few = np.array([3.0, -1.0, 3.0, 0.0, 2.0])
    exact = sharing.share(few, 3)
    assert np.array_equal(exact.values[exact.codes], few) and exact.loss == 0
    one = sharing.share(few, 1, pull=np.array([1.0, 2.0, 1.0, 9.0, 0.0]))
    assert one.values == pytest.approx([0, (3 - 2 + 3) / 4])
    assert one.codes.tolist() == [1, 1, 1, 0, 1]


def test_multiples_of_a_step_are_at_most_half_a_step_away() -> None:
    found = sharing.uniform(WEIGHTS, 0.3)
    assert np.abs(WEIGHTS - found.values[found.codes]).max() <= 0.15 + 1e-12
    assert found.values[0] == 0 and np.allclose(found.values / 0.3, np.rint(found.values / 0.3))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_a_dearer_bit_buys_fewer_bits_and_a_lower_cost_than_the_start(seed: int) -> None:
    source = np.random.default_rng(seed)
    weights = source.standard_normal(150) * (source.random(150) < 0.7)
    pull, zero = source.random(150) + 0.1, np.full(150, 3.0)
    start = sharing.share(weights, 8, pull=pull)
    bits = []
    for price in (1e-4, 1e-2, 1.0):
        found = sharing.entropy(weights, pull, price, 8, zero=zero)
        bits.append(found.bits)
        assert np.all(found.codes[weights == 0] == 0)
        off = weights - found.values[found.codes]
        assert found.loss == pytest.approx((pull * off * off).sum() / (2 * math.log(2)))
    assert bits[0] >= bits[1] >= bits[2]
    assert bits[2] < start.bits


def test_a_weight_becomes_0_only_where_it_may() -> None:
    pull = np.ones_like(WEIGHTS)
    assert np.all(sharing.entropy(WEIGHTS, pull, 10.0, 4).codes != 0)
    assert np.all(sharing.entropy(WEIGHTS, pull, 1e6, 4, zero=np.ones_like(WEIGHTS)).codes == 0)


def test_an_empty_leaf_and_one_of_zeros_are_shared() -> None:
    for leaf in (np.zeros(0), np.zeros(4)):
        assert sharing.share(leaf, 4).codes.shape == leaf.shape
        found = sharing.entropy(leaf, np.ones_like(leaf), 1.0, 4)
        assert found.codes.shape == leaf.shape and found.values.tolist() == [0]
        assert sharing.uniform(leaf, 1.0).values.tolist() == [0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    weights = np.array([1.0, bad, 2.0])
    for call in (
        lambda: sharing.share(weights, 2),
        lambda: sharing.uniform(weights, 1.0),
        lambda: sharing.entropy(weights, np.ones(3), 1.0, 2),
    ):
        with pytest.raises(NonFiniteError, match="1 of 3"):
            call()


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="k=0"):
        sharing.kmeans(WEIGHTS, 0)
    with pytest.raises(ConfigError, match=r"liner.*linear"):
        sharing.kmeans(WEIGHTS, 2, start="liner")
    with pytest.raises(ConfigError, match="step"):
        sharing.uniform(WEIGHTS, 0.0)
    with pytest.raises(ConfigError, match="price"):
        sharing.entropy(WEIGHTS, WEIGHTS, -1.0, 2)
