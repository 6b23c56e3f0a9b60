"""Weights that are parameters of the network itself: switches behind them, merged into them, and gone from files."""

from __future__ import annotations

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
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.run(self, x))
        return found


def by_products(s: Any, x: Tensor) -> Tensor:
    return torch.relu(s.b1 + torch.relu(x @ s.w0 + s.b0).matmul(s.w1))


def by_addmm(s: Any, x: Tensor) -> Tensor:
    return F.gelu(torch.addmm(s.b1, F.gelu(torch.addmm(s.b0, x, s.w0)), s.w1))


def by_linear(s: Any, x: Tensor) -> Tensor:
    return torch.relu(F.linear(torch.relu(F.linear(x, s.w0, s.b0)), s.w1, bias=s.b1))


def by_convolution(s: Any, x: Tensor) -> Tensor:
    h = torch.relu(F.conv1d(x[:, :, None].expand(-1, -1, 4), s.w0, s.b0, padding=1))
    return torch.relu(F.conv1d(h, s.w1, s.b1)).mean(2)


NETS: dict[str, Callable[[], nn.Module]] = {
    "products": lambda: Own(by_products, (6, 12), (12, 12)),
    "addmm": lambda: Own(by_addmm, (6, 12), (12, 12)),
    "linear": lambda: Own(by_linear, (12, 6), (12, 12)),
    "convolution": lambda: Own(by_convolution, (12, 6, 3), (12, 12, 1)),
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
