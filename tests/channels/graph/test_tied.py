"""Tied leaves that a forward pass reads by later names alone, as T5 does its table of words."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels.fold.bypass import bypass
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import trace

from ..networks import mask

X = torch.arange(40).view(8, 5) % 10


class Tied(nn.Module):
    """A table that is called by the second of its names, and two heads whose number is written down."""

    def __init__(self, holder: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        made = {"embedding": nn.Embedding(10, 8), "linear": nn.Linear(8, 10, bias=False)}
        self.shared = made[holder] if holder in made else nn.Parameter(torch.randn(10, 8))
        self.table = nn.Embedding(10, 8)
        self.table.weight = getattr(self.shared, "weight", self.shared)
        self.q, self.o, self.head, self.heads = nn.Linear(8, 6), nn.Linear(6, 8), nn.Linear(8, 3), 2

    def forward(self, x: Tensor) -> Tensor:
        heads = self.q(self.table(x)).view(*x.shape, self.heads, 3)
        found: Tensor = self.head(self.o(heads.relu().flatten(-2)).relu().mean(1))
        return found


HOLDERS = [
    "embedding",
    *(pytest.param(other, marks=pytest.mark.slow) for other in ("linear", "parameter")),
]


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_graph_names_tied_leaves_as_its_network_does(holder: str) -> None:
    net = Tied(holder).double().eval()
    graph = Graph.of(copy.deepcopy(net), X)
    names = [name for name, _ in net.named_parameters()]
    assert [name for name, _ in graph.traced.named_parameters()] == names
    assert [name for name, _ in copy.deepcopy(graph.traced).named_parameters()] == names
    plan = graph.plan({"shared": [0, 3], "q": [1]})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    torch.testing.assert_close(graph.traced(X), masked(X), rtol=1e-12, atol=1e-12)
    assert graph.traced.table.weight.shape == (10, 6)


@pytest.mark.slow
@pytest.mark.parametrize("holder", HOLDERS)
def test_heads_go_from_a_network_with_a_table_read_by_its_second_name(
    holder: str, tmp_path: Path
) -> None:
    small = nd.slim(Tied(holder).eval(), share=0.5, scope="layer", example=X)
    assert small.widths == {"shared": 4, "q": 1, "o": 4}
    made = small.family.export(small.family.config.lams[0]).eval()
    tied = made.shared if holder == "parameter" else made.shared.weight
    assert made.table.weight is tied
    assert sum(p.numel() for p in made.parameters()) == small.n_params
    nd.save(small, tmp_path / "small.safetensors")
    loaded = nd.load_model(tmp_path / "small.safetensors", Tied(holder))
    assert isinstance(loaded, Tied)
    torch.testing.assert_close(loaded(X), made(X))


class Branched(nn.Module):
    """A residual branch behind a table that is called by the second of its names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared, self.other = nn.Parameter(torch.randn(10, 8)), nn.Parameter(torch.randn(8, 8))
        self.table, self.inner, self.outer = nn.Embedding(10, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.table.weight, self.inner.weight = self.shared, self.other
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.table(x)
        found: Tensor = self.head((h + self.outer(self.inner(h).relu())).mean(1))
        return found


def test_names_of_tied_leaves_stay_when_a_branch_goes() -> None:
    traced = trace(Branched().double().eval())
    insert_switches(traced)
    with torch.no_grad():
        traced.get_submodule("switch_inner").theta.zero_()
    graph, taken = bypass(Graph.of(traced, X))
    assert len(taken) == 1
    names = {name for name, _ in graph.traced.named_parameters()}
    assert "shared" in names and not names & {"table.weight", "other", "inner.weight"}
