"""Graph networks that read lists of edges: messages are added at places that a tensor gives, and channels follow them."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.core.inputs import as_packed, one_tensor

from ..networks import mask, stirred

SOURCE = torch.Generator().manual_seed(0)
NODES, EDGES = (
    torch.randn(3, 5, 4, generator=SOURCE),
    torch.randint(0, 5, (3, 2, 7), generator=SOURCE),
)


class Convolution(nn.Module):
    """Sums of neighbours by their degree; the nodes of all graphs lie one after another."""

    def __init__(self, n_in: int, n_out: int, *, written: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.n_out = n_out if written else -1

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        ones = torch.ones_like(target, dtype=x.dtype)
        scale = x.new_zeros(x.shape[0]).index_add_(0, target, ones).rsqrt()
        y = self.linear(x)
        message = y[source] * (scale[source] * scale[target])[:, None]
        channels = y.shape[1] if self.n_out == -1 else self.n_out
        return x.new_zeros(x.shape[0], channels).index_add_(0, target, message)


class GCN(nn.Module):
    """Two convolutions of graphs and a mean over nodes."""

    def __init__(self, *, written: bool = False) -> None:
        super().__init__()
        self.one = Convolution(4, 8, written=written)
        self.two = Convolution(8, 6, written=written)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        b, n = x.shape[0], x.shape[1]
        at = edges + n * torch.arange(b, device=x.device)[:, None, None]
        loops = torch.arange(b * n, device=x.device)
        source, target = (torch.cat([at[:, k].reshape(-1), loops]) for k in (0, 1))
        y = torch.relu(self.one(x.reshape(b * n, -1), source, target))
        y = torch.relu(self.two(y, source, target))
        return self.last(y.reshape(b, n, -1).mean(1))


class SAGE(nn.Module):
    """Means of neighbours beside the node itself, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.other = nn.Linear(4, 8), nn.Linear(4, 8, bias=False)
        self.own2, self.other2 = nn.Linear(8, 6), nn.Linear(8, 6, bias=False)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        y = torch.relu(self.own(x) + self.other(self.mean(x, edges)))
        y = torch.relu(self.own2(y) + self.other2(self.mean(y, edges)))
        return self.last(y.mean(1))

    def mean(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges[:, 0, :, None], edges[:, 1, :, None]
        message = x.gather(1, source.expand(-1, -1, x.shape[2]))
        total = torch.zeros_like(x).scatter_add_(1, target.expand_as(message), message)
        count = x.new_zeros(x.shape[0], x.shape[1], 1).scatter_add(
            1, target, torch.ones_like(target, dtype=x.dtype)
        )
        return total * count.clamp(min=1).reciprocal()


KINDS = {"GCN": GCN, "GCN, sizes in the code": lambda: GCN(written=True), "SAGE": SAGE}


@pytest.mark.parametrize("kind", KINDS)
def test_channels_follow_the_messages(kind: str) -> None:
    torch.manual_seed(0)
    x, packing = as_packed([NODES.double(), EDGES], ["", ""], "data")
    net = one_tensor(KINDS[kind]().double(), packing)
    graph = Graph.of(stirred(copy.deepcopy(net)), x)
    assert sorted(graph.widths.values()) == [6, 8]
    assert not any(group.mixed for group in graph.groups)
    plan = graph.plan({group.name: range(0, group.size, 2) for group in graph.groups})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    torch.testing.assert_close(graph.traced(x), masked(x), rtol=1e-10, atol=1e-10)
    other, _ = as_packed([NODES.double().flip(1)[:2], EDGES[1:].flip(2)], ["", ""], "data")
    torch.testing.assert_close(graph.traced(other), masked(other), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_shrunk_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    source = torch.Generator().manual_seed(1)
    x, edges = (
        torch.randn(64, 5, 4, generator=source),
        torch.randint(0, 5, (64, 2, 7), generator=source),
    )
    torch.manual_seed(0)
    net = KINDS[kind]()
    data = ((x, edges), (x[:, :, 0].sum(1) > 0).long())
    shrunk = nd.shrink(net, data, size="60 params", epochs=4, streams=kind == "SAGE")
    assert shrunk.n_params < 70
    nd.save(shrunk, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", KINDS[kind]())
    torch.testing.assert_close(again.eval()(x, edges), shrunk.net.eval()(x, edges))


@pytest.mark.slow
def test_a_few_graphs_train_a_family() -> None:
    """Whether members run at once is not tried on made-up edges, which no graph has."""
    torch.manual_seed(0)
    x, edges = torch.randn(6, 5, 4), torch.randint(0, 5, (6, 2, 7))
    family = nd.fit(GCN(), ((x, edges), torch.arange(6) % 2), epochs=2)
    assert family.export(1.0)(x, edges).shape == (6, 2)


_OTHERS_SELECT = """
import torch
plain = torch.index_select
torch.index_select = lambda x, dim, at: plain(x, dim, at)  # as torch_geometric does when it is imported
from netdial.channels.rules.table import FUNCTIONS
assert plain in FUNCTIONS
"""


@pytest.mark.slow
def test_functions_that_another_library_has_replaced_keep_their_rules() -> None:
    subprocess.run([sys.executable, "-c", _OTHERS_SELECT], check=True)


class Heads(nn.Module):
    """Four heads of messages; how many there are is written in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        target = torch.tensor([2, 0, 2, 1, 1])
        message = torch.relu(self.one(x)).view(-1, 4, 2)
        return self.two(x.new_zeros(5, 4, 2).index_add_(0, target, message).flatten(1))


def test_a_written_count_of_heads_follows() -> None:
    torch.manual_seed(0)
    x = NODES[0].double()
    graph = Graph.of(stirred(Heads().double()), x)
    assert graph.widths == {"one": 4}
    plan = graph.plan({"one": [0, 3]})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    torch.testing.assert_close(graph.traced(x), masked(x), rtol=1e-10, atol=1e-10)
    assert graph.traced.one.weight.shape == (4, 4)
    assert Graph.of(graph.traced, x).widths == {"one": 2}
