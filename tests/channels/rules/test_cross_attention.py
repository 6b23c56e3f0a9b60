"""Attention to a sequence of another width (``kdim``, ``vdim``): heads go exactly, and training and files follow."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.core.outputs import evaluated, same_outputs

from ..networks import mask


class Cross(nn.Module):
    """Reads a sequence of another width by attention (``kdim``, ``vdim``)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(6, 16), nn.Linear(6, 10)
        self.attend = nn.MultiheadAttention(16, 4, kdim=10, vdim=10, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        kv = self.kv(x).relu()
        found: Tensor = self.head(self.attend(self.q(x), kv, kv)[0].mean(1))
        return found


def test_heads_of_attention_to_a_sequence_of_another_width_go_exactly() -> None:
    torch.manual_seed(0)
    net, x = Cross().double(), torch.randn(5, 4, 6, dtype=torch.float64)
    graph = Graph.of(copy.deepcopy(net), x)
    sizes = {group.name: group.size for group in graph.groups}
    assert sizes == {"q": 16, "kv": 10, "attend.q_proj_weight": 4, "attend.out_proj": 16}
    gone = {"attend.q_proj_weight": [0, 2], "kv": [1, 4, 5], "q": [3], "attend.out_proj": range(9)}
    plan = graph.plan(gone)
    masked = copy.deepcopy(net)
    mask(masked, plan)
    apply(plan, graph.traced)
    assert graph.traced.get_parameter("attend.v_proj_weight").shape == (8, 7)
    assert same_outputs(evaluated(masked, x), evaluated(graph.traced, x), tolerance=1e-12)


def test_such_attention_shrinks_and_comes_back_from_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 4, 6), torch.randint(0, 3, (64,))
    shrunk = nd.shrink(Cross(), (x, y), size="500 params", epochs=6, batch_size=16)
    assert abs(shrunk.n_params - 500) < 100
    nd.save(shrunk, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", net=Cross())
    torch.testing.assert_close(again.eval()(x), shrunk.net.eval()(x))
