"""Intervals of new targets: which targets they cover, in which units."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from netdial.core.errors import ShapeError
from netdial.data import Dataset
from netdial.data.scale import TargetScale
from netdial.family import Family, FamilyConfig
from netdial.measure.noise import Intervals, calibrate, intervals
from netdial.task import Regression

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


def test_an_interval_without_ends_covers_everything() -> None:
    whole = torch.full((2, 1), math.inf)
    assert Intervals(-whole, whole, torch.zeros(2, 1), 0.9).covered(torch.zeros(2, 1)).all()


@pytest.mark.parametrize("mean", [200.0, 20_000.0, 2e6])
def test_held_out_rows_are_covered_as_often_as_ranks_of_their_errors_say(mean: float) -> None:
    """However far targets lie from 0, and however few digits of their errors are left there."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(35, 3, generator=source)
    scale = TargetScale(names=("y",), mean=(mean,), std=(54.0,))
    rows = Dataset(x, x[:, :1] + 0.3 * torch.randn(35, 1, generator=source), target=scale)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    family = Family(net, FamilyConfig(objective="l2", lo=0.1, hi=1.0))
    family.learns(Regression(scale=scale), len(rows))
    calibrate(family, rows)
    for level in (0.5, 0.8, 0.9, 0.95):
        share = float(intervals(family, rows, 0.1, level=level).covered(rows).double().mean())
        assert share == pytest.approx(math.ceil(36 * level - 1e-9) / 35)
