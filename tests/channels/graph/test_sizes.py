"""Sizes: what is counted, and that a channel saves what goes when it is cut."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.layers.switch import Switch
from netdial.channels.sizes import RemovalSavings, size, strip, switches_of, thetas
from netdial.core.cutting import cut_module
from netdial.nets.named import build
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.shrink import prepare

EXACT = ("params", "bytes", "macs")


def vgg_like() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 6), (6, 8), (8, 5)):
        conv = nn.Conv2d(before, after, 3, padding=1, bias=after != 8)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, 4))


NETS: dict[str, Any] = {
    "mlp": lambda: (build("mlp:9-6", input_shape=(5,), n_outputs=3), (5,)),
    "lenet5": lambda: (build("lenet5", input_shape=(1, 28, 28), n_outputs=10), (1, 28, 28)),
    "vgg": lambda: (vgg_like(), (3, 16, 16)),
    "resnet20": lambda: (build("resnet20", input_shape=(3, 8, 8), n_outputs=10), (3, 8, 8)),
}


@cache
def graph_of(name: str) -> Graph:
    net, shape = NETS[name]()
    return prepare(net, torch.randn(2, *shape), ShrinkConfig(streams=True))


def cut(graph: Graph, removed: dict[str, list[int]]) -> Graph:
    """Returns the graph of a copy that was cut."""
    plan, traced = graph.plan(removed), copy.deepcopy(graph.traced)
    cut_module(plan, traced)
    return replace(graph.after(plan), traced=traced)


def test_a_perceptron_is_counted_as_by_hand() -> None:
    found = {kind: size(graph_of("mlp"), kind) for kind in EXACT}  # type: ignore[arg-type]
    params = (5 * 9 + 9) + (9 * 6 + 6) + (6 * 3 + 3)
    assert found["params"].value == params
    assert found["bytes"].value == 4 * params
    assert found["macs"].value == 5 * 9 + 9 * 6 + 6 * 3
    first, second = (group.name for group in graph_of("mlp").groups)
    assert found["params"].saved == {first: 5 + 1 + 6, second: 9 + 1 + 3}
    assert found["macs"].saved == {first: 5 + 6, second: 9 + 3}


def test_a_convolution_is_counted_as_by_hand() -> None:
    """Six channels of 3 x 3 on 16 x 16 pictures, read by eight; with batch normalisation, whose counter takes 8 bytes."""
    graph = graph_of("vgg")
    first = graph.groups[0].name
    kernels, norm = 3 * 9 + 1 + 8 * 9, 2
    assert size(graph, "params").saved[first] == kernels + norm
    assert size(graph, "bytes").saved[first] == 4 * (kernels + norm + 2)
    assert size(graph, "macs").saved[first] == 3 * 9 * 256 + 8 * 9 * 64
    stored = vgg_like().state_dict().values()
    assert size(graph, "bytes").value == sum(t.numel() * t.element_size() for t in stored)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETS))
@pytest.mark.parametrize("kind", EXACT)
def test_what_a_channel_saves_is_what_goes_with_it(name: str, kind: Any) -> None:
    graph = graph_of(name)
    before = size(graph, kind)
    assert set(before.saved) == set(graph.widths) and graph.groups
    for group, saved in before.saved.items():
        after = size(cut(graph, {group: [0]}), kind)
        assert before.value - after.value == saved > 0


@given(name=st.sampled_from(["mlp", "vgg"]), kind=st.sampled_from(EXACT), seed=st.integers(0, 99))
def test_channels_that_go_one_after_another_save_what_they_save_together(
    name: str, kind: Any, seed: int
) -> None:
    """Weights between two groups that both lose channels go once."""
    graph, choose = graph_of(name), random.Random(seed)
    removed = {
        g: choose.sample(range(n), choose.randint(0, n - 1)) for g, n in graph.widths.items()
    }
    order = [group for group, channels in removed.items() for _ in channels]
    choose.shuffle(order)
    before, after = size(graph, kind), size(cut(graph, removed), kind)
    assert before.value - sum(before.costs(order)) == after.value


@pytest.mark.parametrize("kind", EXACT)
def test_asking_what_the_next_channel_saves_takes_none(kind: Any) -> None:
    now = size(graph_of("vgg"), kind)
    going, groups = RemovalSavings(now), list(now.groups)
    for _ in range(2):
        asked = [going.cost(group) for group in groups]
        assert asked == [going.cost(group) for group in groups]
        assert going.take(groups[0]) == asked[0]
    assert going.cost(groups[1]) == now.costs([groups[0], groups[0], groups[1]])[-1]


def test_switches_do_not_count() -> None:
    net, shape = NETS["vgg"]()
    plain, gated = Graph.of(net, torch.randn(2, *shape)), graph_of("vgg")
    assert sum(len(theta) for theta in thetas(gated).values()) == 6 + 8 + 5 + 7
    for kind in EXACT:
        assert size(plain, kind).value == size(gated, kind).value  # type: ignore[arg-type]
        assert size(plain, kind).saved == size(gated, kind).saved  # type: ignore[arg-type]


def test_a_parameter_of_the_network_may_be_called_theta() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(4, 6), nn.Linear(6, 2)
            self.theta = nn.Parameter(torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.layer(x) * self.theta)
            return out

    graph = prepare(Scaled(), torch.randn(2, 4), ShrinkConfig())
    assert "theta" in strip(graph.traced)
    assert size(graph, "params").value == sum(p.numel() for p in Scaled().parameters())
    assert size(graph, "params").saved["layer"] == 4 + 1 + 1 + 2


@pytest.mark.parametrize("name", list(NETS))
def test_switches_are_found_by_group(name: str) -> None:
    graph = graph_of(name)
    found, widths = switches_of(graph), graph.widths
    assert {switch for held in found.values() for switch, _ in held} == set(thetas(graph))
    for group, held in found.items():
        for switch, places in held:
            assert isinstance(graph.traced.get_submodule(switch), Switch)
            assert len(places) == widths[group]
            assert sorted(places.flatten().tolist()) == list(range(places.numel()))


def test_milliseconds_are_measured_and_shared_like_multiplications() -> None:
    graph = graph_of("vgg")
    time, macs = size(graph, "ms"), size(graph, "macs")
    assert 0 < time.value < 1000
    for group, saved in time.saved.items():
        assert saved / time.value == pytest.approx(macs.saved[group] / macs.value)


def test_counting_changes_nothing() -> None:
    net, shape = NETS["vgg"]()
    graph = prepare(net, torch.randn(2, *shape), ShrinkConfig())
    graph.traced.train()
    before = copy.deepcopy(graph.traced.state_dict())
    for kind in (*EXACT, "ms"):
        size(graph, kind)  # type: ignore[arg-type]
    assert all(torch.equal(before[n], leaf) for n, leaf in graph.traced.state_dict().items())
    assert all(module.training for module in graph.traced.modules())


class OfAnother(nn.Module):
    """Parts as wide as the stream, and heads as long as its channels leave for each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.emb, self.qkv, self.out = nn.Linear(5, 12), nn.Linear(12, 36), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.emb(x))
        b, n, c = h.shape
        q, k, v = torch.split(self.qkv(h), [c, c, c], dim=-1)
        q, k, v = (part.view(b, n, 3, c // 3) for part in (q, k, v))
        y = torch.einsum("bhnm,bmhd->bnhd", torch.einsum("bnhd,bmhd->bhnm", q, k), v)
        return self.out(y.reshape(b, n, c))


def test_heads_as_long_as_the_stream_leaves_for_each_are_cut() -> None:
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    graph = Graph.of(OfAnother().double().eval(), x)
    assert graph.widths == {"emb": 3} and not set(graph.kept) - {"out.weight"}
