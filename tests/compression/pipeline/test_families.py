"""A whole family as one file: any λ comes out of it, members are near those given, and sizes and losses are as asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netdial as nd
from netdial import compression
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.families.moving import Dial, SharedMoving, WholeMoving, pivots_of
from netdial.compression.pipeline.families.search import TrackSearch
from netdial.compression.pipeline.families.vectors import shared_tracks
from netdial.compression.tracks import Track
from netdial.core.errors import CheckpointError, ConfigError
from netdial.pruning.channels import prune_family

from .test_compress import QUICK, rows

SPEC = {"spec": "mlp:24", "input_shape": [12], "n_outputs": 3}


@pytest.fixture(scope="module")
def family() -> nd.Family:
    net = nd.build("mlp:24", input_shape=(12,), n_outputs=3, seed=0)
    return nd.fit(net, rows(300, 0), epochs=25, batch_size=16, lr=2e-2, objective="l2")


def compressed(family: nd.Family, **settings: Any) -> Any:
    return nd.compress(family, rows(300, 0), rows(300, 1), **{**QUICK, **settings})


@pytest.mark.slow
def test_any_member_comes_out_of_one_file(family: nd.Family, tmp_path: Path) -> None:
    found = compressed(family, max_bytes=700, recipe={"net": SPEC})
    path = tmp_path / "a.ndz"
    told = compression.write(path, found.chosen.tensors, recipe=found.recipe)
    assert told.size == found.n_bytes <= 700
    again = nd.load_model(path)
    assert isinstance(again, nd.Family) and isinstance(found.net, nd.Family)
    x, y = rows(300, 1)
    for lam in (family.config.lo, 0.0313, 1.7, family.config.hi):
        torch.testing.assert_close(again.export(lam)(x), found.net.export(lam)(x), rtol=0, atol=0)
    given, right = (
        float((one.export(family.config.lo)(x).argmax(1) == y).float().mean())
        for one in (family, again)
    )
    assert right > given - 0.1 > 0.6
    facts = nd.inspect(path).facts
    assert (facts["lo"], facts["hi"], facts["knots"]) == (family.config.lo, family.config.hi, 7)
    assert facts["dense_bytes"] >= 7 * 4 * family.n_params
    with pytest.raises(CheckpointError, match="does not fit"):
        nd.load_model(path, nd.build("mlp:23", input_shape=(12,), n_outputs=3))


@pytest.mark.slow
def test_a_family_that_lost_channels_opens_by_its_description_or_a_fresh_network(
    family: nd.Family, tmp_path: Path
) -> None:
    small, _ = prune_family(family, 1.0, share=0.5, data=rows(300, 0))
    found = compressed(small, max_bytes=700, recipe={"net": SPEC})
    path, x = tmp_path / "a.ndz", rows(300, 1)[0]
    told = compression.write(path, found.chosen.tensors, recipe=found.recipe)
    assert told.size == found.n_bytes <= 700
    built = nd.build("mlp:24", input_shape=(12,), n_outputs=3, seed=7)
    for net in (None, built, small.net):
        again = nd.load_model(path, net)
        assert isinstance(again, nd.Family) and isinstance(found.net, nd.Family)
        assert [tuple(p.shape) for p in again.net.parameters()][:2] == [(12, 12), (12,)]
        torch.testing.assert_close(again.export(0.1)(x), found.net.export(0.1)(x), rtol=0, atol=0)
    assert next(built.parameters()).shape == (24, 12)
    about = {**found.recipe, "family": {**found.recipe["family"], "cut": {"cuts": 3}}}
    compression.write(path, found.chosen.tensors, recipe=about)
    with pytest.raises(CheckpointError, match="no cut"):
        nd.load_model(path)


@pytest.mark.parametrize(
    ("goal", "excess"),
    [({"max_loss": 0.15}, 0.2), ({"max_bytes": 900}, 0.2), ({}, 0.1)],
)
def test_what_a_size_loses_is_that_of_the_member_that_loses_most(
    goal: dict[str, Any], excess: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = torch.tensor([[0.5, 0.3, -0.1, 0.1], [0.1, 0.1, 0.1, 0.1]])  # the first one less surely
    search = object.__new__(TrackSearch)
    known = {
        "start": torch.zeros(2, 4),
        "context": SimpleNamespace(config=CompressConfig(**goal)),
        "size_of": lambda tensors, family: 100,
    }
    for name, value in known.items():
        object.__setattr__(search, name, value)
    monkeypatch.setattr(
        "netdial.compression.pipeline.families.search.member_losses", lambda *_: lost
    )
    assert search._measured(nd.Family.__new__(nd.Family), {}, 0.0).excess == pytest.approx(excess)


@pytest.mark.slow
def test_members_are_near_those_given(family: nd.Family) -> None:
    found = compressed(family, max_loss=0.1, epochs=6, tuning=3)
    x, _ = rows(300, 1)

    def at(one: nd.Family, lam: float) -> torch.Tensor:
        return one.export(lam)(x).detach().softmax(1)

    ends = (family.config.lo, family.config.hi)
    for lam, other in (ends, ends[::-1]):
        own, far = (
            float((at(found.net, lam) - at(family, each)).abs().mean()) for each in (lam, other)
        )
        assert own < 0.7 * far  # what is near depends on the machine: training rounds otherwise
    assert found.chosen.excess <= 0.1
    assert found.stages[0].n_bytes == 7 * 4 * family.n_params


@pytest.mark.slow
def test_networks_of_convolutions_and_normalisation() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    x, y = rows(200, 0, (1, 6, 6))
    family = nd.fit(net, (x, y), epochs=2, batch_size=50, objective="l2")
    found = nd.compress(family, (x, y), rows(100, 1, (1, 6, 6)), max_bytes=4000, **QUICK)
    held = found.chosen.tensors["1.running_mean"]
    assert held.shape == (8, 4) and np.abs(held).max() > 0
    assert found.chosen.tensors["1.weight"].shape == (7, 4)
    assert bool(torch.isfinite(found.net.export(1.0)(x)).all())


class Scaled(nn.Module):
    """A layer with normalisation, and a scale of its own for each unit, which no training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.linspace(0.1, 3, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.last(self.norm(self.first(x)).relu() * self.scale)
        return scores


@pytest.mark.slow
def test_buffers_follow_units_that_are_put_in_another_order() -> None:
    torch.manual_seed(0)
    family = nd.fit(Scaled(), rows(300, 0), epochs=25, batch_size=16, lr=2e-2)
    found = compressed(family, max_bytes=2050)
    order = found.net.export(0.1).scale
    assert not torch.equal(order, family.net.scale)
    assert torch.equal(order.sort().values, family.net.scale)
    right = [
        nd.evaluate(one, rows(300, 1), lams=3).column("accuracy") for one in (family, found.net)
    ]
    assert max(a - b for a, b in zip(*right, strict=True)) < 0.1


def test_gradients_of_tracks_are_sums_over_their_weights() -> None:
    net = nn.Linear(3, 2, bias=False)
    codes = np.array([[0, 1, 1], [2, 1, 0]], np.int32)
    track = Track(codes, np.array([[1.0, 2.0], [-1.0, 0.0]]))
    made = SharedMoving(net, {"weight": track}, {}, 2, Dial())
    weight = made.weights(0.25)["weight"]
    torch.testing.assert_close(weight, torch.tensor([[0, 1.25, 1.25], [-0.75, 1.25, 0]]))
    weight.backward(torch.arange(6.0).view(2, 3))
    assert made.means[0].grad.tolist() == [1 + 2 + 4, 3]
    assert made.moves[0].grad.tolist() == [[7 * 0.75, 7 * 0.25], [3 * 0.75, 3 * 0.25]]


def test_a_moving_network_is_the_family_at_its_knots(family: nd.Family) -> None:
    made = WholeMoving.of(family, pivots_of(family, 7), ("fc1.weight",), Dial()).eval()
    x, _ = rows(20, 3)
    for knot, lam in enumerate(family.lams(7)):
        torch.testing.assert_close(
            made.member(knot / 6)(x), family.export(lam)(x), rtol=1e-4, atol=1e-5
        )
    seen = {made.unit_of(turn) for turn in range(1, 40)}
    assert {j / 6 for j in range(1, 6)} <= seen and all(0 <= unit <= 1 for unit in seen)


def test_as_many_tracks_as_there_are_tell_all() -> None:
    source = np.random.default_rng(0)
    kinds = source.normal(size=(3, 5))
    codes = source.integers(0, 4, (6, 7))
    weights = np.concatenate([np.zeros((1, 5)), kinds])[codes].transpose(2, 0, 1)
    found = shared_tracks(weights, np.ones_like(weights), 1e-9, [8])
    np.testing.assert_allclose(found.at_knots(), weights, atol=1e-6)
    assert ((found.codes == 0) == (codes == 0)).all() and len(found.values) == 3
    dear = shared_tracks(weights, np.ones_like(weights), 1e3, [1, 2, 4, 8])
    assert len(dear.values) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"price": 1.0}, "one network"),
        ({"criterion": "magnitude"}, "gradient"),
        ({"share": "uniform"}, "share"),
        ({"max_bytes": 90}, "smallest file"),
    ],
)
def test_what_cannot_be_is_refused(family: nd.Family, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        compressed(family, **settings)
