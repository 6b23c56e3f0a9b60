"""Forward hooks that keep what layers make: followed, cut exactly, and nothing of the tracing is left in what they write to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported
from netdial.nets.foreign import copy_network

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
SEEN: dict[str, Any] = {}


class Kept:
    """What a layer made last."""

    features: Any = None

    def __init__(self, layer: nn.Module) -> None:
        layer.register_forward_hook(self.keep)

    def keep(self, layer: nn.Module, args: Any, made: Tensor) -> None:
        self.features = made


class Hooked(nn.Module):
    """Adds what a hook kept of its first layer to what its second one makes."""

    def __init__(self, kind: str, *, asks: bool) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.kind, self.asks, self.seen = kind, asks, {}
        if kind == "object":
            self.kept = Kept(self.one)
        elif kind == "function":
            self.one.register_forward_hook(self.made_by("one"))
        else:
            self.one.register_forward_hook(_keep)
        self.one.register_forward_hook(lambda layer, args, made: float(made.mean()) and None)

    def made_by(self, name: str) -> Any:
        def keep(layer: nn.Module, args: Any, made: Tensor) -> None:
            self.seen[name] = made

        return keep

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.dim() == 0:
            raise ValueError("a number has no channels")
        y = self.two(F.relu(self.one(x)))
        kept = (
            self.kept.features
            if self.kind == "object"
            else (self.seen if self.kind == "function" else SEEN)["one"]
        )
        return self.head(F.relu(y + kept))


def _keep(layer: nn.Module, args: Any, made: Tensor) -> None:
    SEEN["one"] = made


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("kind", ["object", "function", "global"])
def test_what_hooks_keep_is_followed(kind: str, asks: bool) -> None:
    torch.manual_seed(0)
    net = Hooked(kind, asks=asks).double().eval()
    SEEN.clear()
    graph = Graph.of(net, X)
    assert is_exported(graph.traced) == asks
    assert graph.widths == {"one": 6}
    left = [0, 2, 3, 5]
    with torch.no_grad():
        kept = F.linear(X, net.one.weight[left], net.one.bias[left])
        y = F.linear(F.relu(kept), net.two.weight[left][:, left], net.two.bias[left])
        wanted = F.linear(F.relu(y + kept), net.head.weight[:, left], net.head.bias)
    apply(graph.plan({"one": [1, 4]}), graph.traced)
    torch.testing.assert_close(graph.traced(X), wanted)


def test_nothing_of_the_tracing_is_left_in_what_hooks_write_to() -> None:
    net = Hooked("object", asks=True).double().eval()
    held = net.kept.features = torch.ones(3)
    SEEN.clear()
    Graph.of(net, X)
    Graph.of(Hooked("global", asks=False).double().eval(), X)
    assert net.kept.features is held or type(net.kept.features) is Tensor
    assert all(type(part) is Tensor for part in SEEN.values())


def test_hooks_of_a_copy_write_to_the_copy() -> None:
    net = Hooked("function", asks=False).double().eval()
    net(X)
    before = net.seen["one"]
    copied = copy_network(net)
    copied(X + 1)
    assert net.seen["one"] is before
    torch.testing.assert_close(copied.seen["one"], copied.one(X + 1))
    torch.testing.assert_close(copied(X), net(X))
