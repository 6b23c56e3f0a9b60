"""Families that begin as one network: it is the plain one, and members go their own ways from the step that says so."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.task import Classification
from netdial.train.config import make_config
from netdial.train.feed import Batch, TensorFeed
from netdial.train.method import FamilyMethod, FamilyState

STEPS, ROWS = 6, 48


def images(count: int = ROWS) -> Dataset:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, 6, 6, generator=source)
    return Dataset(x, (x[:, 0, :3].sum((1, 2)) > 0).long())


def convolutions(*, normalised: bool = False) -> nn.Module:
    torch.manual_seed(0)
    norm = [nn.BatchNorm2d(3)] if normalised else []
    return nn.Sequential(nn.Conv2d(1, 3, 3), *norm, nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))


def begun(net: nn.Module, **settings: Any) -> tuple[FamilyMethod, FamilyState, list[Batch]]:
    """A method of six steps in one epoch, its state, and the batches."""
    options = {"epochs": 1, "batch_size": ROWS // STEPS, "groups": 4, "objective": "l2", **settings}
    config = make_config(**options)
    feed = TensorFeed(images(), batch_size=config.known_batch_size, seed=0)
    method = FamilyMethod(config, task=Classification(), n_data=ROWS, steps=STEPS)
    return method, method.init(Family(net, config.family())), list(feed.epoch(0))


@pytest.mark.parametrize(("name", "clip"), [("Adam", 0.0), ("SGD", 0.1)])
def test_it_is_the_plain_network_at_the_mean_complexity_value(name: str, clip: float) -> None:
    """Golden: the same steps by hand, λ ‖w‖² / N at λ = (hi - lo) / log(hi / lo); its gradient is clipped as one network's."""
    net = convolutions()
    plain = copy.deepcopy(net)
    optimizer = getattr(torch.optim, name)(plain.parameters(), lr=4e-3)
    settings = {"optimizer": name, "clip": clip, "lr": 4e-3, "weighting": "uniform"}
    method, state, batches = begun(net, joint=0.5, schedule="constant", **settings)
    lam = (10 - 0.01) / torch.tensor(1000.0).log()
    for batch in batches[:3]:
        method.step(state, batch)
        loss = F.cross_entropy(plain(batch.x), batch.y)
        loss = loss + lam / ROWS * sum(p.square().sum() for p in plain.parameters())
        optimizer.zero_grad()
        loss.backward()
        if clip:
            assert nn.utils.clip_grad_norm_(plain.parameters(), clip) > clip
        optimizer.step()
    for at in (0.01, 0.5, 10.0):
        for leaf, value in state.family.at(at).items():
            torch.testing.assert_close(value, plain.get_parameter(leaf), rtol=1e-4, atol=1e-6)
    method.step(state, batches[3])
    low, high = (state.family.at(at)["0.weight"] for at in (0.01, 10.0))
    assert not torch.equal(low, high)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("objective", ["l1", "ard"])
def test_pivots_stay_equal_until_they_part(objective: str, optimizer: str) -> None:
    method, state, batches = begun(
        convolutions(), joint=0.5, objective=objective, optimizer=optimizer, clip=0.1
    )
    for step, batch in enumerate(batches):
        found = method.step(state, batch)
        together = all(
            torch.equal(one.pivots, one.pivots[:1].expand_as(one.pivots))
            for one in state.family.maps.values()
        )
        assert together == (step < 3) == (len(found["unit"]) == 1)


def test_what_is_known_of_common_steps_is_left_behind() -> None:
    method, state, batches = begun(convolutions(normalised=True), joint=0.5)
    state.family.train()
    for batch in batches[:3]:
        method.step(state, batch)
    statistics = [state.family.statistics.cell(u)["1.running_mean"].clone() for u in (0.1, 0.7)]
    assert not torch.equal(*statistics)
    method.step(state, batches[3])
    assert {int(known["step"]) for known in state.optimizer.state.values()} == {1}
    of_mean = state.family.statistics.cell(0.4)["1.running_mean"]
    assert bool((of_mean != 0).all())


@pytest.mark.parametrize(
    ("net", "settings", "steps"),
    [
        (convolutions(), {}, 4),
        (convolutions(), {"joint": 0.0}, 0),
        (convolutions(), {"objective": "scaled-kl"}, 0),
        (convolutions(), {"objective": "ard"}, 0),
        (convolutions(), {"objective": "scaled-kl", "joint": 0.5}, 3),
        (convolutions(), {"anchor": "start"}, 0),
        (convolutions(), {"map": "centred"}, 0),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 2)), {}, 0),
    ],
)
def test_who_begins_as_one_network(net: nn.Module, settings: dict[str, Any], steps: int) -> None:
    method, state, batches = begun(net, **settings)
    groups = [len(method.step(state, batch)["unit"]) for batch in batches]
    assert groups == [1] * steps + [4] * (STEPS - steps)


@pytest.mark.parametrize(("saved", "parts_at"), [({"joint": 3}, 3), ({}, 0)])
def test_a_run_goes_on_as_it_began(saved: dict[str, int], parts_at: int) -> None:
    """Whatever fraction is usual now; a checkpoint without one is from before families began so."""
    method, state, batches = begun(convolutions(), joint=0.5)
    for batch in batches[:2]:
        method.step(state, batch)
    tree = {name: value for name, value in state.tree().items() if name != "joint"}
    later, fresh, _ = begun(convolutions(), joint=0.9)
    fresh.restore({**tree, **saved})
    groups = [len(later.step(fresh, batch)["unit"]) for batch in batches[2:]]
    assert groups == [1] * (parts_at - 2) + [4] * (STEPS - max(parts_at, 2))


def test_families_side_by_side_are_what_each_is_alone() -> None:
    nets = [convolutions(), convolutions()]
    with torch.no_grad():
        for p in nets[1].parameters():
            p.mul_(0.5)
    settings: dict[str, Any] = {"epochs": 4, "batch_size": 12, "groups": 4, "joint": 0.5}
    alone = nd.fit(nets[0], images(), **settings)
    both = nd.fit_starts(nets, images(), **settings)
    torch.testing.assert_close(_pivots(both[0]), _pivots(alone), rtol=0, atol=1e-5)
    assert not torch.allclose(_pivots(both[0]), _pivots(both[1]), atol=1e-2)


def _pivots(family: Family) -> Tensor:
    return torch.cat([part.detach().flatten() for part in family.parameters()])


@pytest.mark.parametrize("kind", ["centred", "lowrank", "table"])
def test_maps_that_cannot_begin_as_one_network_say_so(kind: str) -> None:
    """The setting was passed over, so what it does was looked for in vain."""
    more: dict[str, Any] = {"lams": (1.0, 2.0)} if kind == "table" else {}
    with pytest.raises(ConfigError, match=kind):
        begun(convolutions(), joint=0.5, map=kind, **more)
    begun(convolutions(), joint=0.0, map=kind, **more)
