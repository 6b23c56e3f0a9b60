"""One runner of members: side by side or one after another, they are the networks that would be exported."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.family import Family, FamilyConfig
from netdial.measure.members import Members

NETS = {
    "together": nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)),
    "statistics": nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)),
    "shaped": nn.Sequential(nn.Linear(5, 8), nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 3, 2)),
}


@pytest.mark.parametrize("name", list(NETS))
def test_members_are_the_networks_that_would_be_exported(name: str) -> None:
    family = Family(NETS[name], FamilyConfig(1e-2, 1e2)).double().eval()
    with torch.no_grad():
        for leaf in family.mean.parameters():
            leaf.add_(0.1 * torch.randn_like(leaf))
    lams, x = [0.05, 1.0, 20.0], torch.randn(7, 5, dtype=torch.float64)
    members = Members(family)
    with torch.no_grad():
        weights = torch.stack([family.layout.join(family.at(lam)) for lam in lams])
        found = members.run(x, weights, lams)
        wanted = torch.stack([family.export(lam)(x) for lam in lams])
        alone = torch.stack([members.alone(x, *one) for one in zip(weights, lams, strict=True)])
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, atol=1e-12) and torch.allclose(alone, wanted, atol=1e-12)
    assert members.together(x, 3) == (name != "statistics" and family.side_by_side(x, 1, 3))
    assert not members.together(x, members.at_once + 1)


def test_few_large_members_run_at_once() -> None:
    small, large = (Family(nn.Linear(size, size), FamilyConfig(1e-2, 1e2)) for size in (4, 1500))
    assert (Members(small).at_once, Members(large).at_once) == (64, 1)


class Renamed(nn.Module):
    """A network that reads files in which its parameters had other names."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(x)
        return out

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        known = {name.removeprefix("old."): t for name, t in state.items() if "old." in name}
        return super().load_state_dict(known, strict=strict, assign=assign)


def test_draws_reach_networks_that_read_other_names() -> None:
    """Nothing of a draw was loaded into them, so an average over draws was that of the mean weights."""
    x, y = torch.randn(20, 3), torch.arange(20) % 2
    family = nd.Family(Renamed(), nd.FamilyConfig(objective="scaled-kl", log_std=0.0))
    plain = nd.Family(nn.Sequential(OrderedDict(last=Renamed().last)), family.config)
    plain.load_state_dict(family.state_dict())
    found = nd.predictive(family, 1.0, (x, y), n_samples=3)
    assert float(found.std(dim=0).mean()) > 0.1
    assert torch.equal(found, nd.predictive(plain, 1.0, (x, y), n_samples=3))
