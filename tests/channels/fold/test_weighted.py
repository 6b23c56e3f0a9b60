"""Weights that are parameters of the network itself: switches behind them, merged into them, and gone from files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.layers.switch import Switch
from netdial.channels.trace.trace import trace
from netdial.core.errors import ConfigError
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.shrink import prepare

G = torch.Generator().manual_seed(0)


class Own(nn.Module):
    """A network whose two inner layers are parameters, put to use by a function."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = run
        for number, shape in enumerate(shapes):
            setattr(self, f"w{number}", nn.Parameter(torch.randn(shape) / 3))
            setattr(self, f"b{number}", nn.Parameter(torch.randn(12) / 3))
        self.register_buffer("mask", torch.tril(torch.ones(12, 12)))
        self.each, self.head = nn.Parameter(torch.randn(2, 12) / 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.run(self, x))
        return found


def by_products(s: Any, x: Tensor) -> Tensor:
    return torch.relu(s.b1 + torch.relu(x @ s.w0 + s.b0).matmul(s.w1))


def by_addmm(s: Any, x: Tensor) -> Tensor:
    return F.gelu(torch.addmm(s.b1, F.gelu(torch.addmm(s.b0, x, s.w0)), s.w1))


def by_linear(s: Any, x: Tensor) -> Tensor:
    return torch.relu(F.linear(torch.relu(F.linear(x, s.w0, s.b0)), s.w1, bias=s.b1))


def by_converted(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(F.linear(x, s.w0.to(x.dtype), s.b0.type_as(x)))
    return torch.relu(F.linear(h, s.w1.to(h.dtype), s.b1.float()))


def by_convolution(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(F.conv1d(x[:, :, None].expand(-1, -1, 4), s.w0, s.b0, padding=1))
    return torch.relu(F.conv1d(h, s.w1, s.b1)).mean(2)


def by_transposed_convolution(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(F.conv_transpose1d(x[:, :, None].expand(-1, -1, 4), s.w0, s.b0, stride=2))
    return torch.relu(F.conv_transpose1d(h, s.w1, bias=s.b1)).mean(2)


def by_einsum(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(torch.einsum("bi, io -> bo", x, s.w0) + s.b0)
    return torch.relu(torch.einsum("io,bi->bo", s.w1, h) + s.b1)


def by_asking(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(x.view(-1, s.w0.shape[0]) @ s.w0 + s.b0)
    return torch.relu(h.view(-1, s.w1.size(0)) @ s.w1 + s.b1)


def by_transposes(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(x @ s.w0.t() + s.b0)
    return torch.relu(F.linear(h, s.w1.transpose(0, 1), s.b1))


def by_other_transposes(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(torch.matmul(x, s.w0.T) + s.b0)
    return torch.relu(torch.addmm(s.b1, h, s.w1.permute(1, 0).to(h.dtype)))


def by_constants(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(F.linear(x, s.w0 * 1.5, s.b0 * 0.5))
    return torch.relu(F.linear(h, s.mask * s.w1, s.b1))


def by_members(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(torch.bmm(x[None].repeat(2, 1, 1), s.w0) + s.each[:, None, :])
    return torch.relu(torch.baddbmm(s.b1, h, s.w1)).mean(0)


NETS: dict[str, Callable[[], nn.Module]] = {
    "products": lambda: Own(by_products, (6, 12), (12, 12)),
    "addmm": lambda: Own(by_addmm, (6, 12), (12, 12)),
    "linear": lambda: Own(by_linear, (12, 6), (12, 12)),
    "converted": lambda: Own(by_converted, (12, 6), (12, 12)),
    "convolution": lambda: Own(by_convolution, (12, 6, 3), (12, 12, 1)),
    "einsum": lambda: Own(by_einsum, (6, 12), (12, 12)),
    "asking": lambda: Own(by_asking, (6, 12), (12, 12)),
    "transposes": lambda: Own(by_transposes, (12, 6), (12, 12)),
    "others": lambda: Own(by_other_transposes, (12, 6), (12, 12)),
    "constants": lambda: Own(by_constants, (12, 6), (12, 12)),
    "members": lambda: Own(by_members, (2, 6, 12), (2, 12, 12)),
    "transposed": lambda: Own(by_transposed_convolution, (6, 12, 3), (12, 12, 1)),
}
X = torch.randn(16, 6, generator=G)


@pytest.mark.parametrize("name", list(NETS))
def test_switches_stand_behind_parameters(name: str) -> None:
    net = trace(NETS[name](), X[:2])
    before = net(X)
    assert insert_switches(net) == {"w0": "switch_w0", "w1": "switch_w1"}
    assert torch.equal(net(X), before)
    theta = net.get_submodule("switch_w0")
    assert isinstance(theta, Switch) and len(theta.theta) == 12
    (call,) = [node for node in net.graph.nodes if node.target == "switch_w0"]
    readers = [str(user.target) for user in call.users]
    assert not any("add" in reader for reader in readers)  # the bias is before the switch


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETS))
def test_networks_of_parameters_shrink_and_come_back_as_their_class(
    name: str, tmp_path: Path
) -> None:
    y = torch.randint(0, 3, (16,), generator=G)
    shrunk = nd.shrink(NETS[name](), (X, y), lam=2.0, epochs=4, batch_size=16)
    assert sum(shrunk.widths.values()) < 24
    folded, report = shrunk.fold()
    assert not any(isinstance(module, Switch) for module in folded.modules()) and not report.left
    nd.save(shrunk, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", NETS[name]())
    assert isinstance(again, Own)
    assert torch.allclose(again(X), shrunk.net.eval()(X), atol=1e-5)


def test_a_parameter_that_is_read_twice_has_no_switch() -> None:
    def tied(s: Any, x: Tensor) -> Tensor:
        return torch.relu(torch.relu(x @ s.w0) @ s.w0)

    net = trace(Own(tied, (12, 12)), torch.randn(2, 12))
    with pytest.raises(ConfigError, match="no layer that can shrink"):
        insert_switches(net)


def rounded(w: Tensor) -> Tensor:
    return w + (torch.round(w * 8) / 8 - w).detach()


class Quantised(nn.Module):
    """A layer whose weights are rounded in the forward pass, and a plain one."""

    def __init__(self, *, pictures: bool = False) -> None:
        super().__init__()
        self.first: Any = nn.Conv2d(1, 6, 3) if pictures else nn.Linear(6, 6)
        self.last, self.pictures, self.plain = nn.Linear(6, 3), pictures, False

    def forward(self, x: Tensor) -> Tensor:
        by = F.conv2d if self.pictures else F.linear
        h = self.first(x) if self.plain else by(x, rounded(self.first.weight), self.first.bias)
        return self.last(torch.relu(h.amax((2, 3)) if self.pictures else h))


@pytest.mark.parametrize("pictures", [False, True])
def test_computed_weights_are_refused_with_layer_and_line_and_what_to_do_helps(
    pictures: bool,
) -> None:
    net = Quantised(pictures=pictures)
    x = torch.randn(16, 1, 5, 5, generator=G) if pictures else X
    y = torch.randint(0, 3, (16,), generator=G)
    settings: dict[str, Any] = {"lam": 2.0, "epochs": 4, "batch_size": 16}
    with pytest.raises(
        ConfigError, match=r"test_weighted.py:\d+\) multiplies by .* first.weight"
    ) as refused:
        nd.shrink(net, (x, y), **settings)
    assert ("nd.slim" in str(refused.value)) is not pictures
    if not pictures:
        slim = nd.slim(net, share=0.5, example=x)
        assert slim.net.get_parameter("first.weight").shape[0] < 6
    net.plain = True
    assert sum(nd.shrink(net, (x, y), **settings).widths.values()) < 6


class Partly(nn.Module):
    """One layer as torch has it, and one whose weight goes through an expression."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.one(x))
        h = torch.relu(F.linear(h, torch.tanh(self.two.weight), self.two.bias))
        return self.three(h)


def test_a_layer_whose_weight_is_computed_is_said_to_stay_beside_one_that_shrinks() -> None:
    x, y = torch.randn(40, 4), torch.randint(0, 2, (40,))
    shrunk = nd.shrink(Partly(), (x, y), size="80 params", epochs=2, batch_size=20)
    assert shrunk.widths["one"] < 8
    assert re.search(
        r"test_weighted.py:\d+\) multiplies by a weight that is computed", shrunk.kept["two.weight"]
    )
    assert shrunk.kept["three.weight"] == "makes the network's outputs"


def test_a_layer_that_is_added_to_another_is_said_to_stay() -> None:
    class Residual(Partly):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.one(x))
            return self.three(h + self.two(torch.relu(self.zero(h))))

    net = Residual()
    net.two, net.three, net.zero = nn.Linear(5, 8), nn.Linear(8, 2), nn.Linear(8, 5)
    graph = prepare(net, torch.randn(2, 4), ShrinkConfig())
    assert "is added to another layer" in graph.kept["two.weight"]
    assert "zero.weight" not in graph.kept
    assert "two.weight" not in prepare(net, torch.randn(2, 4), ShrinkConfig(streams=True)).kept


def pooled(s: Any, x: Tensor) -> Tensor:
    h = torch.tanh(torch.stack([x, 2 * x], 1) @ s.w0)
    weights = torch.softmax(h @ s.b0, dim=1)
    return (weights.unsqueeze(-1) * h).sum(1)


def scored(s: Any, x: Tensor) -> Tensor:
    return torch.einsum("bd,d->b", torch.relu(x @ s.w0), s.b0)[:, None].expand(-1, 12)


@pytest.mark.parametrize("run", [pooled, scored])
@pytest.mark.parametrize("emission", ["fold", "refit", "drop"])
def test_channels_that_a_vector_reads_go_in_one_shot(run: Any, emission: str) -> None:
    y = torch.randint(0, 3, (16,), generator=G)
    found = nd.slim(Own(run, (6, 12)), data=(X, y), share=0.5, emission=emission)
    made, read = found.net.get_parameter("w0"), found.net.get_parameter("b0")
    assert made.shape[1] == len(read) < 12
