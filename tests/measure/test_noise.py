"""Intervals of new targets: which targets they cover, in which units."""

from __future__ import annotations

import pytest
import torch

from netdial.core.errors import ShapeError
from netdial.data import Dataset
from netdial.data.scale import TargetScale
from netdial.measure.noise import Intervals

FOUND = Intervals(
    torch.tensor([[90.0], [100.0]]), torch.tensor([[110.0], [120.0]]), torch.zeros(2, 1), 0.9
)


def test_targets_in_units_of_the_intervals() -> None:
    assert FOUND.covered(torch.tensor([[95.0], [99.0]])).tolist() == [[True], [False]]
    assert FOUND.covered(torch.tensor([95.0, 99.0])).tolist() == [[True], [False]]


def test_rows_know_the_units_of_their_targets() -> None:
    scale = TargetScale(("price",), (100.0,), (10.0,))
    rows = Dataset(torch.zeros(2, 3), torch.tensor([[-0.5], [-0.1]]), target=scale)
    assert FOUND.covered(rows).tolist() == [[True], [False]]
    plain = Dataset(torch.zeros(2, 3), torch.tensor([[95.0], [99.0]]))
    assert FOUND.covered(plain).tolist() == [[True], [False]]


def test_another_number_of_targets_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[3, 1\] for intervals \[2, 1\]"):
        FOUND.covered(torch.zeros(3))
