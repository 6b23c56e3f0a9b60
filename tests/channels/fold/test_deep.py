"""Deep networks fold and are saved: the check is in double precision, and rounding is held against the network's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels.fold.exactness import TOLERANCE, TOLERANCE_FLOAT64, default_tolerance
from netdial.channels.fold.fold import fold
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.trace.trace import trace
from netdial.core.errors import TraceError
from netdial.core.plan import Plan
from netdial.shrinking.shrink import Shrunk


class Inverted(nn.Module):
    """An inverted residual: wide, depthwise, narrow."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.a, self.an = nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.b = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.bn = nn.BatchNorm2d(wide)
        self.c, self.cn = nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.relu6(self.an(self.a(x)))
        h = nn.functional.relu6(self.bn(self.b(h)))
        found: Tensor = x + self.cn(self.c(h))
        return found


def deep(blocks: int = 17) -> nn.Module:
    """3 × 17 + 2 layers, the statistics of their normalisations as after some training."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), *(Inverted(8, 16) for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(8):
            net(2 * torch.randn(8, 3, 6, 6))
    return net.eval()


X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def switched() -> Shrunk:
    net = trace(deep(), X)
    insert_switches(net)
    with torch.no_grad():
        for name, theta in net.named_parameters():
            if name.endswith("theta"):
                theta.uniform_(0.5, 1.5)
    graph = Graph.of(net, X)
    alive = {group.name: tuple(range(group.size)) for group in graph.groups}
    return Shrunk(graph, Plan(), alive)


@pytest.mark.parametrize("norms", [True, False])
def test_a_deep_network_folds(switched: Shrunk, norms: bool) -> None:
    folded, report = fold(switched.net, X, norms=norms)
    layers = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in folded.modules())
    assert layers >= 50 and not any("switch" in left.node for left in report.left)
    assert report.difference_float64 <= TOLERANCE_FLOAT64


@pytest.mark.slow
def test_a_deep_network_is_saved_and_opened(switched: Shrunk, tmp_path: Path) -> None:
    nd.save(switched, tmp_path / "deep.safetensors")
    again = nd.load_model(tmp_path / "deep.safetensors", deep())
    due = switched.net.eval()(X)
    assert (again(X) - due).abs().max() <= 1e-3 * due.abs().max()


def test_the_bound_follows_what_the_network_loses_itself() -> None:
    assert default_tolerance([torch.float32], 0.0) == TOLERANCE
    assert default_tolerance([torch.float32], 1e-4) > 5e-4


@pytest.mark.slow
def test_the_tolerance_that_the_message_speaks_of_is_there(
    switched: Shrunk, tmp_path: Path
) -> None:
    for work in (
        lambda: switched.fold(tolerance=1e-12),
        lambda: nd.save(switched, tmp_path / "deep.safetensors", tolerance=1e-12),
    ):
        with pytest.raises(TraceError, match="tolerance="):
            work()
    assert not (tmp_path / "deep.safetensors").exists()
    assert switched.fold(tolerance=1.0)[1].difference_float64 <= TOLERANCE_FLOAT64
