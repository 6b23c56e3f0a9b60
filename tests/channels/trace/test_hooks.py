"""Forward hooks that keep what layers make: followed, cut exactly, and nothing of the tracing is left in what they write to."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported
from netdial.core.outputs import evaluated, same_outputs
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


@pytest.mark.slow
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


class Made:
    """Makes a layer's weight before each call: of one length for each output, or scaled by how many inputs it has."""

    def __init__(self, layer: nn.Module, *, standard: bool) -> None:
        layer.weight_orig = nn.Parameter(layer._parameters.pop("weight").data)
        layer.register_forward_pre_hook(self)
        self.standard = standard

    def __call__(self, layer: Any, args: Any) -> None:
        w = layer.weight_orig
        if self.standard:
            w = w - w.flatten(1).mean(1).view(-1, 1, 1, 1)
            layer.weight = w / (w.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-5)
        else:
            layer.weight = w * (2 / (w.data.size(1) * w.data[0][0].numel())) ** 0.5


class MadeByHooks(nn.Module):
    """Convolutions whose weights hooks make; they have one before the first call, or none."""

    def __init__(self, *, standard: bool, asks: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.out = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)
        self.asks = asks
        for layer in (self.one, self.two):
            Made(layer, standard=standard)
            if standard:
                layer.weight = layer.weight_orig.data

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and x.shape[1] != 3:
            raise ValueError("three channels")
        return self.out(F.relu(self.two(F.relu(self.one(x))))).mean((2, 3))


@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize("asks", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_weights_that_hooks_make_are_cut_where_they_are_made_of(
    *, standard: bool, asks: bool
) -> None:
    x = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    net = MadeByHooks(standard=standard, asks=asks).double()
    graph = Graph.of(copy_network(net), x)
    assert is_exported(graph.traced) is asks
    assert graph.widths == {"one.weight_orig": 8, "two.weight_orig": 6}
    for one in (net.train(), graph.traced.train()):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            one(x).square().sum().backward()
            optimizer.step()
    assert same_outputs(evaluated(net, x), evaluated(graph.traced, x))


@pytest.mark.slow
def test_networks_whose_weights_hooks_make_are_slimmed_shrunk_and_saved(tmp_path: Path) -> None:
    x, y, path = torch.randn(16, 3, 6, 6), torch.randn(16, 2), tmp_path / "net.safetensors"
    scaled, standard = MadeByHooks(standard=False), MadeByHooks(standard=True)
    small = nd.shrink(scaled, (x, y), loss=F.mse_loss, size="150 params", epochs=4, batch_size=16)
    for cut, kind in ((small, fx.GraphModule), (nd.slim(standard, share=0.5, example=x), None)):
        assert sum(cut.graph.widths.values()) < 14
        nd.save(cut, path)
        fresh = MadeByHooks(standard=kind is None)
        with warnings.catch_warnings():  # with fewer inputs its code scales otherwise
            warnings.filterwarnings("ignore", message=".*what comes back is its graph")
            again = nd.load_model(path, fresh)
        assert isinstance(again, kind or MadeByHooks)
        assert same_outputs(evaluated(cut.graph.traced, x), evaluated(again, x), tolerance=1e-5)
