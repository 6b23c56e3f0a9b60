"""What a graph learns is what its network learns; and a class that reads sizes is not handed over once they are others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import trace
from netdial.channels.trace.training import check_training
from netdial.core.errors import ConfigError, TraceError
from netdial.models.cut.recipe import save_network
from netdial.models.cut.restoring import load_network
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.shrink import Shrunk, prepare
from netdial.train.config import make

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers with something between them."""

    def __init__(self, between: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.between = nn.Linear(8, 16), nn.Linear(16, 4), between

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(self.between(self, x))
        return found


class Sign(torch.autograd.Function):
    """A sign whose gradient goes straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class MaskedSoftmax(torch.autograd.Function):
    """A softmax over some places, which writes in place what its own gradient is computed of."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, away: Tensor) -> Tensor:
        found = torch.softmax(x.masked_fill(away, torch.finfo(x.dtype).min), -1)
        found.masked_fill_(away, 0)
        ctx.save_for_backward(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (found,) = ctx.saved_tensors
        return torch._softmax_backward_data(gradients[0], found, -1, found.dtype), None


def frozen(self: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = torch.relu(self.a(x))
    return 1.0 * h


@torch.no_grad()
def decorated(self: Net, x: Tensor) -> Tensor:
    h: Tensor = torch.relu(self.a(x))
    return h.reshape(h.shape[0], -1)


def straight(self: Net, x: Tensor) -> Tensor:
    h: Tensor = Sign.apply(self.a(x))  # type: ignore[no-untyped-call]
    return h


sign = Sign.apply


def named(self: Net, x: Tensor) -> Tensor:
    h: Tensor = sign(self.a(x))  # type: ignore[no-untyped-call]
    return h


def masked(self: Net, x: Tensor) -> Tensor:
    if (
        x.shape[1] != 8
    ):  # torch.fx cannot follow that, and torch.export follows the operations inside
        raise ValueError(x.shape)
    h: Tensor = MaskedSoftmax.apply(self.a(x), torch.arange(16) % 3 == 0)  # type: ignore[no-untyped-call]
    return h


def gradients(net: nn.Module, x: Tensor) -> dict[str, Tensor | None]:
    net.zero_grad()
    net(x).square().sum().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("between", [frozen, decorated, straight, named, masked])
def test_a_graph_has_the_gradients_of_its_network(between: Any) -> None:
    net = Net(between)
    wanted = gradients(net, X)
    got = gradients(trace(net, X), X)
    assert wanted.keys() == got.keys()
    for name, gradient in wanted.items():
        other = got[name]
        assert (gradient is None) == (other is None), name
        assert gradient is None or torch.equal(gradient, other), name  # type: ignore[arg-type]


def test_a_layer_without_gradients_has_no_switch_that_could_not_learn() -> None:
    with pytest.raises(ConfigError, match="a runs without gradients"):
        prepare(Net(frozen), X, make(ShrinkConfig, {}))


def test_a_network_that_fails_on_its_inputs_is_told_so_and_not_that_it_cannot_be_traced() -> None:
    def five(self: Net, x: Tensor) -> Tensor:
        _, *rest = x.shape
        assert rest == [5], "five columns"
        h: Tensor = self.a(x)
        return h

    words = r"fails on inputs of shape \[4, 8\] \(AssertionError: five columns at test_training.py:\d+ in five "
    with pytest.raises(TraceError, match=words):
        trace(Net(five), X)


def test_gradients_that_a_graph_loses_are_refused() -> None:
    net, other = (
        Net(lambda self, x: self.a(x)),
        Net(lambda self, x: 2 * self.a(x).detach() - self.a(x)),
    )
    other.a, other.b = net.a, net.b
    with pytest.raises(TraceError, match=r"gradient of a\.weight is up to"):
        check_training(net, other, (X,))
    buffers = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 2))
    check_training(buffers, buffers, (X,))
    assert int(buffers[0].num_batches_tracked) == 0  # type: ignore[arg-type]


def by_width(self: Net, x: Tensor) -> Tensor:
    return torch.relu(self.a(x)) / math.sqrt(self.a.out_features)


def by_branch(self: Net, x: Tensor) -> Tensor:
    return torch.relu(self.a(x)) if self.a.out_features > 12 else torch.tanh(self.a(x))


def in_training(self: Net, x: Tensor) -> Tensor:
    h: Tensor = torch.relu(self.a(x))
    scale = 1.0 if self.a.out_features > 12 else h.detach().mean() * 0 + 0.5
    return h + 0 * h.detach() if scale == 1.0 else (h - h.detach()) * scale + h.detach()


@pytest.mark.parametrize("between", [by_width, by_branch, in_training])
def test_code_that_reads_sizes_of_layers_comes_back_as_a_graph(
    between: Any, tmp_path: Path
) -> None:
    graph = Graph.of(Net(between).eval(), X)
    plan = graph.plan({"a": range(8)})
    apply(plan, graph.traced)
    save_network(Shrunk(graph.after(plan), plan, {}), tmp_path / "f")
    with pytest.warns(UserWarning, match="Net does something else now that its layers are smaller"):
        loaded = load_network(tmp_path / "f", Net(between))
    assert type(loaded) is not Net
    torch.testing.assert_close(loaded(X), graph.traced(X))


def test_code_that_knows_no_sizes_comes_back_as_the_class(tmp_path: Path) -> None:
    graph = Graph.of(Net(lambda self, x: torch.relu(self.a(x))).eval(), X)
    plan = graph.plan({"a": range(8)})
    apply(plan, graph.traced)
    save_network(Shrunk(graph.after(plan), plan, {}), tmp_path / "f")
    assert type(load_network(tmp_path / "f", Net(lambda self, x: torch.relu(self.a(x))))) is Net
