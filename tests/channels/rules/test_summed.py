"""Channels that come to the output through sums over them: two towers, distances, cosines; what is 0 there goes exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.channels.collect import removable
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches, sums_ahead
from netdial.channels.sizes import thetas
from netdial.channels.trace.trace import trace

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0)).double()
Score = Callable[[Tensor, Tensor], Tensor]


class Towers(nn.Module):
    """Two perceptrons whose outputs meet."""

    def __init__(self, score: Score) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.user = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6))
        self.item = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6))
        self.score = score
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.user(x[:, :3]), self.item(x[:, 3:]))


PRODUCTS: dict[str, Score] = {
    "sum": lambda u, v: (u * v).sum(-1),
    "sum of activations": lambda u, v: torch.sigmoid(torch.sum(torch.tanh(u) * v, 1, keepdim=True)),
    "einsum": lambda u, v: torch.einsum("bd,bd->b", u, v),
    "bmm": lambda u, v: torch.bmm(u.unsqueeze(1), v.unsqueeze(2)).flatten(),
    "vecdot": lambda u, v: torch.linalg.vecdot(u, v),
}
"""Where one factor is enough."""
LENGTHS: dict[str, Score] = {
    "cosine": lambda u, v: F.cosine_similarity(u, v),
    "normalised": lambda u, v: (F.normalize(u, dim=-1) * F.normalize(v, dim=-1)).sum(-1),
    "by hand": lambda u, v: (u / u.norm(dim=-1, keepdim=True) * v).sum(-1) / v.norm(dim=-1),
    "lengths": lambda u, v: torch.linalg.vector_norm(u, dim=-1) + v.abs().sum(-1),
}
DISTANCES: dict[str, Score] = {
    "squared": lambda u, v: ((u - v) ** 2).sum(-1),
    "euclidean": lambda u, v: (u - v).norm(dim=-1),
}
TOGETHER: dict[str, Score] = {
    "mean": lambda u, v: (u * v).mean(-1),
    "exponentials": lambda u, v: torch.logsumexp(u * v, -1),
}


def off(score: Score, *, streams: bool, towers: tuple[str, ...]) -> tuple[Graph, Tensor]:
    """Returns two towers with switches, some channels of their last layers off, and what they give then."""
    traced = trace(Towers(score).eval(), X)
    assert sums_ahead(traced)
    summed = Graph.of(traced, X).summed()
    made = insert_switches(traced, streams=streams, summed=summed)
    assert {"user.2", "item.2"} <= set(made)
    graph = Graph.of(traced, X)
    with torch.no_grad():
        for name in towers:
            thetas(graph)[made[f"{name}.2"]][[1, 4]] = 0.0
    return graph, graph.traced(X)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_channel_whose_factor_is_0_goes_from_both_towers(name: str) -> None:
    graph, _ = off(PRODUCTS[name], streams=False, towers=("user",))
    assert removable(graph, continues=True) == {"user.2": (1, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LENGTHS, *DISTANCES])
def test_of_lengths_and_distances_both_have_to_be_0(name: str) -> None:
    score = {**LENGTHS, **DISTANCES}[name]
    graph, _ = off(score, streams=True, towers=("user", "item"))
    found = removable(graph, continues=True)
    assert all(channels == (1, 4) for channels in found.values()) and found
    graph, _ = off(score, streams=True, towers=("user",))
    assert "item.2" not in removable(graph, continues=True)
    assert name == "lengths" or not removable(graph, continues=True)


@pytest.mark.parametrize("name", TOGETHER)
def test_what_needs_all_channels_is_said(name: str) -> None:
    shrunk = nd.shrink(
        Towers(TOGETHER[name]), (X, X[:, 0]), size="70 params", epochs=2, loss=F.mse_loss
    )
    assert "depends on all channels together" in shrunk.kept["user.2.weight"]


def test_what_makes_an_output_besides_has_no_switch() -> None:
    traced = trace(Towers(lambda u, v: torch.cat([u, (u * v).sum(-1, keepdim=True)], 1)), X)
    summed = Graph.of(traced, X).summed()
    assert list(insert_switches(traced, summed=summed)) == ["user.0", "item.0"]


@pytest.mark.parametrize("name", ["sum", "bmm", "cosine", "by hand"])
def test_towers_shrink_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    net = Towers({**PRODUCTS, **LENGTHS}[name])
    data = (X, (X[:, 0] * X[:, 3]).reshape(net(X).shape))
    shrunk = nd.shrink(
        net, data, size="36 params", epochs=4, batch_size=16, loss=F.mse_loss, precision="64-true"
    )
    assert shrunk.widths["user.2"] < 6 and not shrunk.kept
    due = shrunk.net.eval()(X)
    nd.save(shrunk, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", net)
    assert isinstance(again, Towers)
    torch.testing.assert_close(again.eval()(X), due, rtol=1e-9, atol=1e-9)


def test_in_one_shot_lengths_are_of_all_channels() -> None:
    for name, score in {**PRODUCTS, **LENGTHS, **DISTANCES}.items():
        groups = {group.name: group for group in Graph.of(Towers(score).eval(), X).groups}
        assert bool(groups["user.2"].mixed) is (name not in PRODUCTS), name
