"""Streams under RMSNorm: channels that are 0 there go exactly; LayerNorm's and hand-written ones stay, and it is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels.collect import collect, removable
from netdial.channels.fold.fold import fold
from netdial.channels.fold.norms import norm_lengths, rescale
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.sizes import thetas
from netdial.channels.trace.trace import trace
from netdial.core.cutting import cut_module
from netdial.core.plan import Plan

X = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0)).double()


class ByHand(nn.Module):
    """RMSNorm as it is often written out."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(n) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3)


class Stream(nn.Module):
    """Two residual blocks and a head, each behind a normalisation of the stream."""

    def __init__(self, norm: Any = nn.RMSNorm) -> None:
        super().__init__()
        self.stem = nn.Linear(5, 8, bias=False)
        self.norms = nn.ModuleList(norm(8) for _ in range(3))
        self.ups = nn.ModuleList(nn.Linear(8, 12) for _ in range(2))
        self.downs = nn.ModuleList(nn.Linear(12, 8) for _ in range(2))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, up, down in zip(self.norms, self.ups, self.downs, strict=False):
            x = x + down(torch.relu(up(norm(x))))
        return self.head(self.norms[2](x).mean(1))


def off(norm: Any, gone: tuple[int, ...] = (1, 4, 6)) -> Graph:
    """The network with channels of the stream switched off in all that is added to it."""
    torch.manual_seed(0)
    net = Stream(norm).double()
    with torch.no_grad():
        for layer in net.norms:
            layer.weight.uniform_(0.5, 2.0)
    traced = trace(net, X)
    insert_switches(
        traced, streams=True, start="sampled", generator=torch.Generator().manual_seed(1)
    )
    graph = Graph.of(traced, X)
    with torch.no_grad():
        for name in ("switch_stem", "switch_downs_0", "switch_downs_1"):
            thetas(graph)[name][list(gone)] = 0.0
    return graph


@pytest.mark.parametrize("eps", [None, 1e-6, 0.5])
def test_channels_that_are_0_leave_an_rms_norm_exactly(eps: float | None) -> None:
    graph = off(lambda n: nn.RMSNorm(n, eps=eps))
    wanted = graph.traced.eval()(X)
    small, done = collect(graph)
    assert small.widths["stem"] == 5 and not done.refused
    assert torch.allclose(small.traced(X), wanted, rtol=0, atol=1e-14)
    again = small.traced(torch.randn(3, 4, 5).double())
    assert again.isfinite().all()
    second, _ = collect(small)
    assert second.widths == small.widths, "nothing goes twice"


def test_cuts_one_after_another_are_one_cut() -> None:
    graph = off(lambda n: nn.RMSNorm(n, eps=0.1))
    wanted = graph.traced.eval()(X)
    graph, _ = collect(graph, only={"stem": [1]})
    graph, _ = collect(graph)
    assert graph.widths["stem"] == 5
    assert torch.allclose(graph.traced(X), wanted, rtol=0, atol=1e-14)
    assert graph.traced.get_submodule("norms.0").eps == pytest.approx(0.1 * 8 / 5)


def test_a_channel_that_is_something_somewhere_stays() -> None:
    graph = off(nn.RMSNorm)
    with torch.no_grad():
        thetas(graph)["switch_downs_1"][4] = 0.3
    assert removable(graph, continues=True)["stem"] == (1, 6)


@pytest.mark.parametrize("norm", [nn.LayerNorm, ByHand])
def test_streams_under_others_stay_whole_and_it_is_said_where(norm: Any) -> None:
    graph = off(norm)
    assert "stem" not in removable(graph, continues=True)
    small, done = collect(graph, only={"stem": [1]})
    assert small.widths["stem"] == 8
    if norm is ByHand:
        assert "test_rms_norm.py:" in done.refused["stem"]
    else:  # 0 before it is not 0 behind it, so somebody reads the channel
        assert done.refused["stem"] == "not the same for every input"


def test_a_stream_shrinks_while_it_trains_is_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 4, 5)
    y = (x[:, 0, 0] > 0).long()
    shrunk = nd.shrink(
        Stream(),
        (x, y),
        size="200 params",
        streams=True,
        epochs=4,
        batch_size=16,
        precision="64-true",
    )
    assert shrunk.widths["stem"] < 8
    net, _ = fold(shrunk.net, shrunk.graph.example)
    assert torch.allclose(net(x.double()), shrunk.net.eval()(x.double()), atol=1e-10)
    nd.save(shrunk, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", Stream().double())
    assert torch.allclose(again.eval()(x.double()), shrunk.net(x.double()), atol=1e-10)


def test_weights_that_two_norms_share_are_scaled_once() -> None:
    net = nn.Sequential(nn.Linear(5, 6), nn.RMSNorm(6), nn.Linear(6, 6), nn.RMSNorm(6))
    net[3].weight = net[1].weight
    before, lengths = net[1].weight.detach().clone(), norm_lengths(net)
    assert lengths == {"1.weight": 6}
    rows, both = {0: (0, 2, 3, 5)}, {0: (0, 2, 3, 5), 1: (0, 2, 3, 5)}
    cuts = {"0.weight": rows, "0.bias": rows, "1.weight": rows, "2.weight": both, "2.bias": rows}
    cut_module(Plan(cuts), net)
    rescale(net, lengths)
    assert torch.equal(net[3].weight, before[[0, 2, 3, 5]] * math.sqrt(6 / 4))
    rescale(net, norm_lengths(net))
    assert torch.equal(net[3].weight, before[[0, 2, 3, 5]] * math.sqrt(6 / 4))
