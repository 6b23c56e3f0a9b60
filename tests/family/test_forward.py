"""``family(x, lam=1.0)``: the forward that a torch user writes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.family import Family, FamilyConfig


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))


@pytest.fixture(scope="module")
def family() -> Family:
    torch.manual_seed(1)
    x = torch.randn(48, 5)
    return nd.fit(net(), (x, (x[:, 0] > 0).long()), epochs=2, batch_size=16, groups=4)


@pytest.mark.parametrize("lam", [0.01, 0.05, 1, 1.0, 10.0])
def test_it_gives_what_the_exported_member_gives(family: Family, lam: float) -> None:
    x = torch.randn(7, 5)
    assert torch.allclose(family(x, lam=lam), family.export(lam)(x), atol=1e-6)
    assert family(x, lam).shape == (7, 3)


def test_several_complexities_are_stacked(family: Family) -> None:
    x = torch.randn(7, 5)
    out = family(x, lam=[0.01, 1.0])
    assert out.shape == (2, 7, 3)
    assert torch.equal(out[1], family(x, lam=1.0))
    assert family(x, lam=[1.0]).shape == (1, 7, 3)


def test_values_outside_the_range_are_refused(family: Family) -> None:
    with pytest.raises(ConfigError, match="1000"):
        family(torch.randn(2, 5), lam=1000.0)


def test_gradients_reach_the_maps_and_a_loop_of_ones_own_trains() -> None:
    made = Family(net(), FamilyConfig(map="linear")).train()
    x = torch.randn(32, 5)
    y: Tensor = (x[:, 0] > 0).long()
    optimizer = torch.optim.Adam(made.mean.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(made(x, lam=1.0), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


def test_training_mode_updates_the_statistics_at_the_complexity_alone() -> None:
    made = Family(net()).train()
    before = made.statistics.get_buffer("bank0").clone()
    made(torch.randn(8, 5) + 3, lam=1e-3)
    changed = (made.statistics.get_buffer("bank0") != before).any(dim=1)
    assert changed.tolist() == [True] + [False] * 7
