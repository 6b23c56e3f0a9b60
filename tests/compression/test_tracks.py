"""Tracks in files: codes come back as they are, values within half a step, and what does not go together is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdial.compression import Codebook, ledger, read, write
from netdial.compression.tracks import MOVES, Track, at_knots, stored
from netdial.core.errors import CheckpointError


def track(shape: tuple[int, ...], k: int, knots: int, seed: int, move: float = 0.1) -> Track:
    source = np.random.default_rng(seed)
    values = source.normal(size=(k, 1)) + move * source.normal(size=(k, knots))
    return Track(source.integers(0, k + 1, size=shape).astype(np.int32), values)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), max_size=3).map(tuple),
    k=st.integers(1, 9),
    knots=st.integers(2, 7),
    seed=st.integers(0, 99),
    move=st.sampled_from([0.0, 1e-3, 0.1, 5.0]),
)
def test_leaves_come_back_within_half_a_step(
    shape: tuple[int, ...], k: int, knots: int, seed: int, move: float
) -> None:
    leaves = {"a": track(shape, k, knots, seed, move), "b": track((3,), 2, knots, seed + 1)}
    found = at_knots(stored(leaves), knots)
    for name, leaf in leaves.items():
        off = leaf.values - leaf.values.mean(axis=1, keepdims=True)
        half = 2.0 ** np.ceil(np.log2(max(np.abs(off).max(), 1e-30) / 127)) / 2
        wanted = leaf.at_knots()
        room = half + 2e-3 * np.abs(wanted).max(initial=0) + 1e-6  # means have half precision
        assert found[name].shape == (knots, *leaf.codes.shape)
        assert np.abs(found[name] - wanted).max(initial=0) <= room
        assert ((found[name] == 0).all(axis=0) == (leaf.codes == 0)).all()


def test_a_family_that_does_not_move_takes_no_moves() -> None:
    still = Track(np.array([[0, 1], [2, 1]], np.int32), np.array([[0.5] * 4, [-1.0] * 4]))
    held = stored({"a": still, "exact": np.ones((4, 2), np.float32)})
    assert set(held) == {"a", "exact"}
    np.testing.assert_array_equal(at_knots(held, 4)["a"], still.at_knots())
    np.testing.assert_array_equal(at_knots(held, 4)["exact"], np.ones((4, 2)))


def test_tracks_of_one_mean_stay_apart(tmp_path) -> None:  # type: ignore[no-untyped-def]
    leaf = Track(np.array([[1, 2, 3, 0]], np.int32), np.array([[1.0, -1], [-1, 1], [0.5, 0.5]]))
    told = write(tmp_path / "a.ndz", stored({"w": leaf}))
    found = at_knots(read(tmp_path / "a.ndz").tensors, 2)["w"]
    np.testing.assert_allclose(found, leaf.at_knots(), atol=1e-6)
    moves = next(row for row in told.rows if row.name == MOVES)
    assert told.split["tables"] >= moves.exact > 0 and told.split["biases"] == 0
    assert sum(ledger(tmp_path / "a.ndz").split.values()) == told.size


@pytest.mark.parametrize(
    "moves",
    [
        np.zeros(0, np.int8),
        np.zeros(4, np.int8),
        np.zeros(6, np.int8),
        np.zeros(5, np.float32),
        np.zeros((1, 5), np.int8),
        Codebook(np.zeros(5, np.int32), np.zeros(1)),
    ],
)
def test_moves_that_do_not_go_with_their_leaf_are_refused(moves: Codebook | np.ndarray) -> None:
    book = Codebook(np.array([0, 1, 2]), np.array([0, 1.0, 2.0]))
    with pytest.raises(CheckpointError, match="values move"):
        at_knots({MOVES: moves, "w": book}, 2)
