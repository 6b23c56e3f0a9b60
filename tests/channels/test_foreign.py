"""Networks as people write them: accepted by default, and a network that was cut is the one with zeros."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply

from .networks import mask, stirred

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks._zoo_networks import NETWORKS
finally:
    sys.path.remove(str(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_was_cut_is_the_one_with_zeros(name: str) -> None:
    torch.manual_seed(0)
    net, x, widths = NETWORKS[name]
    graph = Graph.of(stirred(copy.deepcopy(net).double()), x)
    free = {group.name: group.size for group in graph.groups if not group.mixed}
    assert {group: free.get(group) for group in widths} == widths, (graph.widths, graph.kept)
    plan = graph.plan({group: range(0, size - 1, 2) for group, size in free.items()})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    torch.testing.assert_close(graph.traced(x), masked(x), rtol=1e-10, atol=1e-10)
    assert Graph.of(graph.traced, x).widths == graph.after(plan).widths
