"""What every start of k-means keeps: k finite values within the weights, the same for the same seed, and no worse an end."""

from __future__ import annotations

import numpy as np
import pytest

from netdial.compression.pipeline.sharing import STARTS, kmeans

WEIGHTS = np.sort(np.random.default_rng(0).normal(size=200))


@pytest.mark.parametrize("name", list(STARTS))
def test_values_begin_among_the_weights(name: str) -> None:
    values = STARTS[name](WEIGHTS, 7, 3)
    assert values.shape == (7,)
    assert WEIGHTS[0] <= values.min() <= values.max() <= WEIGHTS[-1]
    assert np.array_equal(values, STARTS[name](WEIGHTS, 7, 3))


@pytest.mark.parametrize("name", list(STARTS))
def test_more_values_are_never_farther_from_the_weights(name: str) -> None:
    def distance(k: int) -> float:
        values = kmeans(WEIGHTS, k, start=name)
        return float(np.square(WEIGHTS[:, None] - values).min(axis=1).mean())

    assert distance(16) < distance(4) < distance(1)
    assert distance(1) == pytest.approx(WEIGHTS.var(), rel=1e-6)
