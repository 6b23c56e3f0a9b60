"""Biases and BatchNorm that come after sums over neighbours: a channel that is off is gone there, too."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.channels.collect import collect
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.layers.switch import Switch
from netdial.channels.trace.trace import trace
from netdial.core.inputs import as_packed, one_tensor

G = torch.Generator().manual_seed(0)
NODES = torch.randn(48, 5, 4, generator=G)
ADJACENT = (torch.rand(48, 5, 5, generator=G) > 0.5).float() + torch.eye(5)
TARGET = torch.tensor([2, 0, 2, 1, 4, 3, 1])
SOURCE = torch.tensor([0, 1, 1, 3, 2, 4, 0])


class Convolution(nn.Module):
    """A graph layer whose bias comes after the sum over neighbours."""

    def __init__(self, run: Callable[..., Tensor], n_in: int, n_out: int) -> None:
        super().__init__()
        self.run = run
        self.linear = nn.Linear(n_in, n_out, bias=False)
        self.w = nn.Parameter(torch.randn(n_in, n_out) / 2)
        self.bias = nn.Parameter(torch.rand(n_out) + 0.1)
        self.scale, self.look = nn.Parameter(torch.ones(n_out)), nn.Parameter(torch.randn(n_out, 1))
        self.norm = nn.BatchNorm1d(n_out)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        found: Tensor = self.run(self, x, a)
        return found


def product(s: Any, x: Tensor, a: Tensor) -> Tensor:
    return a @ s.linear(x) + s.bias


def own_weight(s: Any, x: Tensor, a: Tensor) -> Tensor:
    return torch.bmm(a, torch.matmul(x, s.w)) + s.bias


def self_loops(s: Any, x: Tensor, a: Tensor) -> Tensor:
    h = s.linear(x)
    return s.scale * (torch.einsum("bij,bjc->bic", a, h) / 5 + h) + s.bias


def in_place(s: Any, x: Tensor, a: Tensor) -> Tensor:
    out = torch.matmul(a, s.linear(x))
    out += s.bias
    return out


def edges(s: Any, x: Tensor, a: Tensor) -> Tensor:
    h = s.linear(x)
    return torch.zeros_like(h).index_add_(1, TARGET, h[:, SOURCE] * 0.7) + s.bias


def attention(s: Any, x: Tensor, a: Tensor) -> Tensor:
    h = s.linear(x)
    return torch.softmax(F.leaky_relu(h @ s.look).transpose(1, 2) * a, -1) @ h + s.bias


def normalised(s: Any, x: Tensor, a: Tensor) -> Tensor:
    return s.norm(torch.matmul(a[0], s.linear(x[0])) + s.bias)[None].expand(len(x), -1, -1)


def norm_of_edges(s: Any, x: Tensor, a: Tensor) -> Tensor:
    b, n, c = x.shape
    h = s.linear(x.reshape(b * n, c))
    return s.norm(torch.zeros_like(h).index_add_(0, TARGET, h[SOURCE])).reshape(b, n, -1)


KINDS = {run.__name__: run for run in (product, own_weight, self_loops, in_place, edges, attention)}


class Net(nn.Module):
    """Two graph layers and a mean over nodes; the second layer has no bias that could take up what comes out of the first."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = Convolution(run, 4, 8), Convolution(run, 8, 6)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        y = torch.relu(self.two(torch.relu(self.one(x, a)), a))
        found: Tensor = self.last(y.mean(1))
        return found


def switched(net: nn.Module) -> tuple[Any, Tensor]:
    """Returns a network of graphs in double precision, traced, and its inputs."""
    x, packing = as_packed([NODES[:4].double(), ADJACENT[:4].double()], ["", ""], "data")
    return trace(one_tensor(net.double().eval(), packing), x), x


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_that_is_off_goes_exactly_though_its_bias_is_not_0(kind: str) -> None:
    net, x = switched(Net(KINDS[kind]))
    before = net(x)
    made = insert_switches(net)
    assert torch.equal(net(x), before)
    for layer, name in made.items():
        if layer.endswith("look"):  # a layer of one channel, which looks at the others
            continue
        switch = net.get_submodule(name)
        assert isinstance(switch, Switch)
        with torch.no_grad():
            switch.theta[1:3] = 0
    wanted = net(x)
    graph = Graph.of(net, x)
    assert sorted(graph.widths.values()) == [6, 8]
    graph, _ = collect(graph)
    assert sorted(graph.widths.values()) == [4, 6]
    torch.testing.assert_close(graph.traced(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_shrank_is_of_its_class_again(kind: str, tmp_path: Path) -> None:
    data = ((NODES, ADJACENT), (NODES[:, :, 0].sum(1) > 0).long())
    shrunk = nd.shrink(
        Net(KINDS[kind]), data, size="70 params", epochs=4, batch_size=16, streams=False
    )
    assert sum(shrunk.widths.values()) < 14
    _, report = shrunk.fold()
    assert not report.left
    nd.save(shrunk, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", Net(KINDS[kind]))
    assert isinstance(again, Net)
    due = shrunk.net.eval()(shrunk.graph.example)
    parts = shrunk.graph.example
    assert parts.shape[0] == 2
    torch.testing.assert_close(again.eval()(NODES[:2], ADJACENT[:2]), due, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("run", [normalised, norm_of_edges])
def test_the_switch_stands_behind_a_batch_norm_after_the_sum(run: Callable[..., Tensor]) -> None:
    net, x = switched(Net(run))
    before = net(x)
    made = insert_switches(net)
    assert torch.equal(net(x), before)
    before_them = [node.args[0] for node in net.graph.nodes if node.target in made.values()]
    assert [str(node.target) for node in before_them] == ["one.norm", "two.norm"]


def test_what_is_added_to_two_layers_is_not_that_of_one() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.last = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)
            self.bias = nn.Parameter(torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.last(torch.relu(self.one(x) + self.other(x) + self.bias))
            return found

    net = trace(Two(), torch.randn(2, 4))
    insert_switches(copy.deepcopy(net), streams=True)
    made = insert_switches(net, streams=True)
    calls = [node for node in net.graph.nodes if node.target in made.values()]
    assert sorted(str(node.args[0]) for node in calls) == ["one", "other"]
