"""Networks as people write them: accepted by default, and a network that was cut is the one with zeros."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply

from .networks import mask, stirred

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.networks.first.blocks import BLOCKS
finally:
    sys.path.remove(str(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_a_network_that_was_cut_is_the_one_with_zeros(name: str) -> None:
    torch.manual_seed(0)
    net, x, widths = BLOCKS[name]
    graph = Graph.of(stirred(copy.deepcopy(net).double()), x)
    free = {group.name: group.size for group in graph.groups if not group.mixed}
    assert {group: free.get(group) for group in widths} == widths, (graph.widths, graph.kept)
    plan = graph.plan({group: range(0, size - 1, 2) for group, size in free.items()})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    torch.testing.assert_close(graph.traced(x), masked(x), rtol=1e-10, atol=1e-10)
    assert Graph.of(graph.traced, x).widths == graph.after(plan).widths


class Halves(nn.Module):
    """Parts of a size that is written down: one is worked on and one is not, and both are put together."""

    def __init__(self) -> None:
        super().__init__()
        self.c = 4
        self.a, self.m, self.b = nn.Linear(8, 8), nn.Linear(4, 4), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = list(torch.relu(self.a(x)).split((self.c, self.c), 1))
        y.append(torch.relu(self.m(y[-1])))
        return self.b(torch.cat(y, 1))


def test_parts_of_which_one_has_no_layer_of_its_own_stay_equal() -> None:
    x = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = Halves().double().eval()
    graph = Graph.of(copy.deepcopy(net), x)
    assert graph.widths == {"a": 4, "m": 4}
    assert all(
        len(slot.positions[0]) == 2 for slot in graph.groups[0].slots if slot.leaf == "a.weight"
    )
    plan = graph.plan({"a": [1], "m": [0, 3]})
    apply(plan, graph.traced)
    masked = copy.deepcopy(net)
    with torch.no_grad():
        for part, rows in ((masked.a, [1, 5]), (masked.m, [0, 3])):
            part.weight[rows], part.bias[rows] = 0, 0
    torch.testing.assert_close(graph.traced(x), masked(x))
