"""Rounds of removing and training: shares, sizes, plans over all rounds, families and networks."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.cutting import cut_module
from netdial.core.errors import ConfigError, TraceError
from netdial.core.size import Target
from netdial.pruning.channels import Options, retrain_structured, shares
from netdial.pruning.channels.choosing import Limits

from .problems import Residual, family_of


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(48, 2, 5, 5, generator=source)
    return x, (x.mean((1, 2, 3)) > 0).long()


@given(share=st.floats(0.05, 0.95), rounds=st.integers(1, 6))
def test_shares_are_geometric_and_end_at_the_share(share: float, rounds: int) -> None:
    gone = [0.0, *shares(share, rounds)]
    assert gone[-1] == pytest.approx(share)
    factors = [(1 - b) / (1 - a) for a, b in pairwise(gone)]
    assert factors == pytest.approx([factors[0]] * rounds)


@pytest.mark.slow
def test_a_network_is_pruned_in_rounds_and_learns_in_between(data: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    net = Residual(8, 8).eval()
    before = copy.deepcopy(net.state_dict())
    done = retrain_structured(
        net, None, data, share=0.75, rounds=2, epochs=6, lr=2e-2, batch_size=16
    )
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    assert [sum(turn.trained.widths.values()) for turn in done] == [8, 4]
    last = done[-1].trained
    cut_module(last.plan, net)
    assert {n: p.shape for n, p in net.named_parameters()} == {
        n: p.shape for n, p in last.net.named_parameters()
    }
    assert [row.before for row in last.rows] == [8, 8]
    assert {row.group: row.after for row in last.rows} == last.widths

    def loss(found: nn.Module) -> float:
        return float(nn.functional.cross_entropy(found(data[0]), data[1]).detach())

    assert loss(last.net) < loss(done[-1].pruned.net)


def test_a_member_arrives_at_a_size_under_its_own_objective(data: tuple[Tensor, Tensor]) -> None:
    family = family_of(Residual(8, 8))
    options = Options(limits=Limits("layer", minimum=2))
    done = retrain_structured(
        family, 0.5, data, size="300 params", rounds=2, options=options, epochs=1, batch_size=16
    )
    sizes = [turn.trained.n_params for turn in done]
    assert sizes[0] > sizes[1]
    assert abs(sizes[1] - 300) <= 60
    member = done[-1].trained.family
    assert member.config.lams == (0.5,)
    assert member.log_std is not None
    assert all(width >= 2 for width in done[-1].trained.widths.values())


@pytest.mark.slow
def test_several_sizes_are_a_ladder_of_networks(data: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    net = Residual(8, 8).eval()
    start = sum(p.numel() for p in net.parameters())
    sizes = [f"{round(start * share)} params" for share in (0.35, 0.7, 0.5)]
    done = retrain_structured(net, None, data, size=sizes, rounds=2, epochs=1, batch_size=16)
    reached = [turn for turn in done if str(turn.goal) in sizes]
    assert [str(turn.goal) for turn in reached] == [sizes[1], sizes[2], sizes[0]]
    assert [turn.goal for turn in done[1::2]] == [turn.goal for turn in reached]
    for turn in reached:
        assert isinstance(turn.goal, Target)
        assert turn.trained.n_params == pytest.approx(turn.goal.value, abs=40)
        small = copy.deepcopy(net)
        cut_module(turn.trained.plan, small)  # plans are of the network at the start
        assert sum(p.numel() for p in small.parameters()) == turn.trained.n_params
    for larger, smaller in pairwise(done):  # each is made of the one before, not of the start
        member, goal = larger.trained.family, smaller.goal
        assert isinstance(goal, Target)
        (turn,) = retrain_structured(
            member, member.config.lams[0], data, size=goal, rounds=1, epochs=1, batch_size=16
        )
        assert turn.trained.widths == smaller.trained.widths
        for a, b in zip(
            turn.trained.net.parameters(), smaller.trained.net.parameters(), strict=True
        ):
            assert torch.equal(a, b)
    alone = retrain_structured(net, None, data, size=sizes, epochs=1, batch_size=16)
    assert [str(turn.goal) for turn in alone] == [sizes[1], sizes[2], sizes[0]]


def test_what_is_refused(data: tuple[Tensor, Tensor]) -> None:
    net = Residual(4, 4)
    with pytest.raises(ConfigError, match="rounds=0; expected at least 1"):
        retrain_structured(net, None, data, share=0.5, rounds=0)
    with pytest.raises(ConfigError, match="there are still"):
        retrain_structured(net, None, data, size="3 params", rounds=2)
    with pytest.raises(ConfigError, match=r"target of 3 params.*there are still"):
        retrain_structured(net, None, data, size=["100 params", "3 params"])
    with pytest.raises(ConfigError, match="nothing to remove"):
        retrain_structured(net, None, data, size=["100k params", "100 params"])
    with pytest.raises(ConfigError, match="100 params, 100 macs: in different units"):
        retrain_structured(net, None, data, size=["100 params", "100 macs"])
    with pytest.raises(ConfigError, match="one of them stands twice"):
        retrain_structured(net, None, data, size=["100 params", "100 params"])
    with pytest.raises(ConfigError, match="give either a share"):
        retrain_structured(net, None, data, share=0.5, size=["100 params"])
    with pytest.raises(ConfigError, match="give either a share"):
        retrain_structured(net, None, data, size=[])
    with pytest.raises(ConfigError, match="'epoch'"):
        retrain_structured(net, None, data, share=0.5, epoch=2)


class Named(nn.Module):
    """Gives its outputs by name, or takes its inputs so."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)


class Outputs(Named):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.last(torch.relu(self.first(x)))}


class Inputs(Named):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.first(one) + other[:, :1]))
        return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Outputs, Inputs])
def test_networks_are_taken_as_by_slim(kind: type[Named]) -> None:
    x, y = torch.randn(24, 4), torch.arange(24) % 3
    data: Any = (x, y) if kind is Outputs else ({"one": x, "other": x}, y)
    net = kind()
    done = retrain_structured(net, None, data, share=0.5, rounds=2, epochs=1, batch_size=12)
    assert [turn.trained.widths["first"] for turn in done] == [6, 4]


class GhostBatches(nn.Module):
    """Normalises the parts of a batch one by one, as TabNet does, and writes a size down, so that no smaller one is left."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(8, 24), nn.BatchNorm1d(24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.first(x).chunk(math.ceil(x.shape[0] / 16))
        out: Tensor = self.last(torch.cat([self.norm(part) for part in parts]).view(-1, 24).relu())
        return out


@pytest.mark.slow
def test_a_graph_that_trains_otherwise_than_the_network_is_refused() -> None:
    """It is taken on two inputs, which are one part."""
    data = torch.randn(96, 8), torch.arange(96) % 3
    settings: dict[str, Any] = {"share": 0.4, "rounds": 1, "epochs": 1}
    with pytest.raises(TraceError, match=r"on a batch of 32.* lower batch_size"):
        retrain_structured(GhostBatches(), None, data, batch_size=32, **settings)
    assert retrain_structured(GhostBatches(), None, data, batch_size=16, **settings)
