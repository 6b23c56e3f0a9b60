"""Small families that have learned something, shared by the tests of choosing."""

from __future__ import annotations

import pytest

import netdial as nd
from netdial.data import Splits
from netdial.family import Family


@pytest.fixture(scope="session")
def wine() -> Splits:
    """Wine, 178 rows of 13 numbers in 3 classes."""
    return nd.load_data("wine")


@pytest.fixture(scope="session")
def family(wine: Splits) -> Family:
    """A family of normal posteriors on wine, λ from 0.001 to 100; tests leave it as it is."""
    net = nd.build("mlp:16", input_shape=(13,), n_outputs=3)
    return nd.fit(net, wine.train, objective="scaled-kl", epochs=25, batch_size=16, lr=1e-2)


@pytest.fixture(scope="session")
def points(wine: Splits) -> Family:
    """A family of points on wine, λ from 0.01 to 10; tests leave it as it is."""
    net = nd.build("mlp:16", input_shape=(13,), n_outputs=3)
    return nd.fit(net, wine.train, epochs=25, batch_size=16, lr=1e-2)
