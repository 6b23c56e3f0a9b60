"""Inputs that go: features are found, the network is exact, files and folded networks hold what is left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.layers.pick import Pick, insert_picks
from netdial.channels.trace.trace import trace
from netdial.core.errors import ConfigError
from netdial.models.cut.recipe import save_network
from netdial.models.cut.restoring import load_network
from netdial.nets import build
from netdial.shrinking.shrink import shrink


@pytest.fixture
def planted() -> tuple[Tensor, Tensor]:
    """Two classes told apart by inputs 3 and 7 of 12."""
    source = torch.Generator().manual_seed(1)
    x = torch.randn(400, 12, generator=source)
    return x, ((x[:, 3] + x[:, 7]) > 0).long()


def test_a_pick_changes_nothing_until_inputs_go(planted: tuple[Tensor, Tensor]) -> None:
    net = build("mlp:8", input_shape=(12,), n_outputs=2)
    traced = trace(net)
    before = traced(planted[0])
    assert insert_picks(traced) == {"fc1": "pick_fc1"}
    assert torch.equal(traced(planted[0]), before)
    graph = Graph.of(traced, planted[0][:2])
    slots = {(slot.leaf, slot.dim) for group in graph.groups for slot in group.slots}
    assert {("pick_fc1.index", 0), ("fc1.weight", 1)} <= slots


def test_inputs_that_say_nothing_go(planted: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    net = build("mlp:8", input_shape=(12,), n_outputs=2)
    shrunk = shrink(
        net, planted, inputs=True, size="40 params", epochs=30, batch_size=50, minimum=2
    )
    (pick,) = (module for module in shrunk.net.modules() if isinstance(module, Pick))
    assert {3, 7} <= set(pick.index.tolist())
    assert len(pick.index) < 12
    assert shrunk.alive["pick_fc1"] == tuple(pick.index.tolist())
    small, report = shrunk.fold()
    assert not report.left
    out = shrunk.net(planted[0])
    assert torch.allclose(small(planted[0]), out, atol=1e-5)
    assert float((out.argmax(1) == planted[1]).float().mean()) > 0.95
    save_network(shrunk, tmp_path / "small.safetensors")
    again = load_network(
        tmp_path / "small.safetensors", build("mlp:8", input_shape=(12,), n_outputs=2, seed=5)
    )
    assert torch.allclose(again(planted[0]), out, atol=1e-5)


def test_a_network_whose_inputs_no_linear_layer_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match="no linear layer reads the network's inputs"):
        insert_picks(trace(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(4, 2))))
