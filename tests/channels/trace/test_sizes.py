"""Sizes as numbers in a forward pass (``int(x.shape[0])``): followed for batches and pictures of any size, cut exactly."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import netdial as nd
from netdial.channels.trace.answers import sizes
from netdial.channels.trace.trace import is_exported, trace
from netdial.core.errors import TraceError

X = torch.randn(3, 3, 4, 6, generator=torch.Generator().manual_seed(0))
Between = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """Two convolutions with a function between them."""

    def __init__(self, between: Between) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.two(self.between(self, F.relu(self.one(x)))).mean((2, 3))
        return made

    def count(self, x: Tensor) -> int:
        return int(x.shape[0])


def whole(net: Net, x: Tensor) -> Tensor:
    return x.flatten(1).view(int(x.shape[0]), -1, int(x.shape[2]), int(x.size(3)))


def mapped(net: Net, x: Tensor) -> Tensor:
    b, c, h, w = map(int, x.shape)
    return x.view(b, c, h * w).flip(-1).view(b, c, h, w)


def by_method(net: Net, x: Tensor) -> Tensor:
    return x.flatten(1).view(net.count(x), -1, x.shape[2], x.shape[3])


def by_function(net: Net, x: Tensor) -> Tensor:
    def inside(y: Tensor) -> int:
        return first(y)

    return x + torch.zeros(inside(x), 1, 1, 1, dtype=int)  # type: ignore[call-overload,no-any-return]


def first(x: Tensor) -> int:
    size = int(x.shape[0])
    assert isinstance(size, int)
    return size


def decorated(function: Between) -> Between:
    @functools.wraps(function)
    def call(net: Net, x: Tensor) -> Tensor:
        return function(net, x)

    return call


@decorated
def halved(net: Net, x: Tensor) -> Tensor:
    return F.interpolate(x, size=(int(x.shape[2] * 0.5), math.ceil(x.shape[3] / 2)))


def divided(net: Net, x: Tensor) -> Tensor:
    return x / float(x.shape[-1]) / float(x.shape[0])


def rooted(net: Net, x: Tensor) -> Tensor:
    tokens = x.repeat(1, 1, 1, 6)[..., : 4 * int(x.shape[2])].flatten(2)
    side = int(tokens.shape[2] ** 0.5)
    return tokens.view(int(x.shape[0]), -1, side, side)


def windows(net: Net, x: Tensor) -> Tensor:
    """Windows of an image put together again, as transformers do it, whose number is a quotient."""
    _, c, h, w = x.shape
    parts = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 3, 5, 1)
    parts = parts.reshape(-1, 2, 2, c)
    batch = int(parts.shape[0] / (h * w / 2 / 2))
    parts = parts.view(batch, h // 2, w // 2, 2, 2, -1).permute(0, 5, 1, 3, 2, 4)
    return parts.reshape(batch, -1, h, w)


FOLLOWED = [windows, whole, mapped, by_method, by_function, halved, divided, rooted]


@pytest.mark.parametrize("between", FOLLOWED, ids=lambda part: part.__name__)
def test_sizes_stay_sizes_in_graphs(between: Between) -> None:
    net = Net(between).eval()
    traced = trace(net, X)
    for shape in ((1, 3, 4, 6), (5, 3, 4, 6), (2, 3, 8, 8)):
        x = torch.randn(shape)
        assert torch.allclose(traced(x), net(x), atol=1e-6)


def listed(net: Net, x: Tensor) -> Tensor:
    b, c, h, w = [int(size) for size in x.shape]
    return x.reshape(b, c, h * w).reshape(b, -1, h, w)


def padded(net: Net, x: Tensor) -> Tensor:
    b, _, h, w = map(int, x.shape)
    more = F.pad(x, (0, 1, 0, 0)) if w % 4 else x
    return more + torch.linspace(-1, 1, w + 1).expand(b, 1, h, w + 1)


def counted(net: Net, x: Tensor) -> Tensor:
    rows = max(1, int(x.shape[0]))
    return x.flatten(1).view(rows, -1, *tuple(int(size) for size in x.shape[2:]))


@pytest.mark.slow
@pytest.mark.parametrize("between", [listed, padded, counted], ids=lambda part: part.__name__)
def test_sizes_of_the_batch_stay_sizes_in_exported_graphs(between: Between) -> None:
    net = Net(between).eval()
    traced = trace(net, X)
    assert is_exported(traced)
    for rows in (1, 2, 5):
        x = torch.randn(rows, 3, 4, 6)
        assert torch.allclose(traced(x), net(x), atol=1e-6)


def test_quotients_of_sizes_are_whole_in_programs() -> None:
    traced = trace(Net(windows).eval(), X)
    batch = torch.export.Dim("batch")
    program = torch.export.export(traced, (X,), dynamic_shapes=({0: batch},)).module()
    x = torch.randn(5, *X.shape[1:])
    torch.testing.assert_close(program(x), traced(x))


def test_code_of_many_names_is_followed() -> None:
    names = "".join(f"        x.name_{number}\n" for number in range(300))
    made: dict[str, Any] = {"nn": nn}
    source = "class Many(nn.Module):\n  def forward(self, x):\n    if x is None:\n"
    exec(source + names + "    return x.reshape(int(x.shape[0]), -1)", made)
    net = made["Many"]()
    with sizes.sizes_kept(net):
        graph = fx.Tracer().trace(net)
    assert not any(node.target is int for node in graph.nodes)


@pytest.mark.slow
@pytest.mark.parametrize("between", [mapped, padded], ids=lambda part: part.__name__)
def test_networks_with_sizes_come_back_as_their_class(between: Between, tmp_path: Path) -> None:
    small: Any = nd.slim(Net(between), share=0.5, example=X)
    assert small.widths == {"one": 3}
    nd.save(small, tmp_path / "small.safetensors")
    again: Any = nd.load_model(tmp_path / "small.safetensors", Net(between))
    assert type(again) is Net
    x = torch.randn(5, 3, 4, 6)
    assert torch.allclose(again.eval()(x), small.net.eval()(x), atol=1e-6)


def one_by_one(net: Net, x: Tensor) -> Tensor:
    return torch.cat([x[i : i + 1] for i in range(x.shape[0])])


def test_going_through_the_batch_is_refused_with_its_line() -> None:
    with pytest.raises(TraceError, match=r"test_sizes.py:\d+ in .*size of the batch as a number"):
        trace(Net(one_by_one), X)


def test_code_is_as_it_was_afterwards() -> None:
    before = first.__code__
    with sizes.sizes_kept(Net(by_function)):
        assert first.__code__ is not before
        assert first(X) == 3
    assert first.__code__ is before
    assert not [name for name in first.__globals__ if name.startswith("_netdial")]
