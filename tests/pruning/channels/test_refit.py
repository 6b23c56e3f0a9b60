"""Layers behind removed channels expect what these sent from the channels that are left."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.cutting import leaves


def rows(count: int, *shape: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, torch.zeros(count, dtype=torch.int64)


def test_weights_are_the_ridge_regression_of_what_was_read_on_what_is_left() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3)).double()
    data = rows(256, 5)
    small = nd.slim(net, share=0.5, data=data)
    left = [i for i in range(12) if i not in small.plan.removed["0"]]
    with torch.no_grad():
        was = net[1](net[0](data[0]))
    now, centre = was[:, left], was.mean(0)
    start = torch.eye(12, dtype=torch.float64)[:, left]
    weight = (1e-2 * now.var(0, correction=0) * len(now)).sqrt().diag()
    rows_ = torch.cat([now - centre[left], weight])
    mix = torch.linalg.lstsq(rows_, torch.cat([was - centre, weight @ start.T])).solution.T
    second = net[2]
    expected = second.weight @ mix
    found = leaves(small.net)
    assert small.refitted == ("2",)
    assert torch.allclose(found["2.weight"], expected, rtol=1e-9, atol=1e-12)
    shift = second.bias + second.weight @ (centre - mix @ centre[left])
    assert torch.allclose(found["2.bias"], shift, rtol=1e-9, atol=1e-12)
    # means of outputs over the data stay what they were
    assert torch.allclose(small.net(data[0]).mean(0), net(data[0]).mean(0), atol=1e-12)


def test_nothing_depends_on_the_scale_of_a_unit() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 3))
    other = copy.deepcopy(net.double())
    with torch.no_grad():
        for at in (0, 2):
            first, second = other[at], other[at + 2]
            scale = torch.exp2(torch.arange(len(first.bias)) % 7 - 3).double()
            first.weight.mul_(scale[:, None])
            first.bias.mul_(scale)
            second.weight.div_(scale)
    data = rows(256, 5)
    torch.testing.assert_close(other(data[0]), net(data[0]), rtol=0, atol=0)
    one, two = (nd.slim(each, share=0.5, criterion="taylor", data=data) for each in (net, other))
    assert one.plan.removed == two.plan.removed and one.refitted
    torch.testing.assert_close(two.net(data[0]), one.net(data[0]), rtol=1e-8, atol=1e-10)


class Padded(nn.Module):
    """Convolutions with and without padding, with BatchNorm, a residual addition and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 16, 3, padding=1)
        self.middle = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.point, self.after = nn.Conv2d(16, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.last = nn.Linear(8 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        x = x + self.norm(self.middle(x)).relu()
        x = self.after(self.point(x[..., ::2, ::2])).relu()
        out: Tensor = self.last(self.up(x[..., ::2, ::2]).relu().flatten(1))
        return out


class Stream(nn.Module):
    """A stream behind a LayerNorm, and a convolution of one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.norm = nn.Conv1d(3, 24, 2), nn.LayerNorm(24)
        self.one, self.two = nn.Linear(24, 32), nn.Linear(32, 24)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x).transpose(1, 2)
        x = x + self.two(nn.functional.gelu(self.one(self.norm(x))))
        out: Tensor = self.head(x.mean(1))
        return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "shape"), [(Padded, (2, 8, 8)), (Stream, (3, 9))], ids=["padded", "stream"]
)
@pytest.mark.parametrize("share", [0.3, pytest.param(0.6, marks=pytest.mark.slow)])
def test_outputs_stay_closer_to_those_of_the_whole_network(
    make: Any, shape: tuple[int, ...], share: float
) -> None:
    torch.manual_seed(0)
    net = make().double()
    x, y = rows(600, *shape)
    net(x)  # statistics of BatchNorm
    net.eval()
    new = torch.randn(200, *shape, dtype=torch.float64)
    cut = {
        emission: nd.slim(net, share=share, data=(x, y), exact=False, emission=emission)
        for emission in ("refit", "fold", "drop")
    }
    assert cut["refit"].widths == cut["fold"].widths
    with torch.no_grad():
        lost = {name: float((one.net(new) - net(new)).square().mean()) for name, one in cut.items()}
    assert lost["refit"] < min(lost["fold"], 0.75 * lost["drop"])
    again = nd.slim(net, share=share, data=(x, y), exact=False)
    assert torch.equal(again.net(new), cut["refit"].net(new))


def test_channels_that_are_the_same_for_every_input_leave_weights_as_they_are() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        net[0].weight[:3] = 0
    found = {
        emission: nd.slim(net, share=0.5, data=rows(200, 4), emission=emission)  # type: ignore[arg-type]
        for emission in ("refit", "fold")
    }
    assert found["refit"].plan.removed["0"] == (0, 1, 2)
    state = found["fold"].net.state_dict()
    assert all(torch.equal(p, state[name]) for name, p in found["refit"].net.state_dict().items())


class Functions(nn.Module):
    """A perceptron whose layers are calls of functions with weights of the network's own."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.w = nn.ParameterList(p for n, p in layers.named_parameters() if n.endswith("weight"))
        self.b = nn.ParameterList(p for n, p in layers.named_parameters() if n.endswith("bias"))

    def forward(self, x: Tensor) -> Tensor:
        for w, b in zip(self.w[:-1], self.b, strict=False):
            x = nn.functional.linear(x, w, b).relu()
        return nn.functional.linear(x, weight=self.w[-1], bias=self.b[-1])


def test_layers_written_as_functions_are_refit_as_modules_are() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 3)
    ).double()
    x, y = rows(300, 4)
    modules, functions = (nd.slim(one, share=0.5, data=(x, y)) for one in (net, Functions(net)))
    assert modules.refitted == ("2", "4") and functions.refitted == ("w.1", "w.2")
    torch.testing.assert_close(functions.net(x), modules.net(x))


def test_channels_with_a_reader_without_bias_are_dropped_whoever_reads_them_later() -> None:
    class Side(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3, bias=False)
            self.c = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x).relu()
            out: Tensor = self.b(x) + self.c(x)
            return out

    torch.manual_seed(0)
    small = nd.slim(Side().double(), share=0.5, data=rows(300, 4))
    assert [dict(row.assumed) for row in small.rows] == [{"dropped": 4}]
    assert "has no bias" in small.rows[0].why


def test_a_weight_that_a_function_reads_too_is_left_alone() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.b(self.a(x).relu()).relu()
            out: Tensor = self.out(nn.functional.linear(x, self.b.weight).relu())
            return out

    torch.manual_seed(0)
    net = Tied().double()
    small = nd.slim(net, share=0.4, data=rows(300, 4))
    left = small.plan.cut("b.weight", net.b.weight.detach())
    assert torch.equal(leaves(small.net)["b.weight"], left)
    assert small.refitted == ("out",)


@pytest.mark.parametrize("how", ["frozen", "shared"])
def test_layers_that_are_frozen_or_shared_are_left_alone(how: str) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.b(self.a(x).relu()).relu()
            out: Tensor = self.out(self.b(x).relu() if how == "shared" else x)
            return out

    torch.manual_seed(0)
    net = Twice().double()
    net.b.requires_grad_(how != "frozen")
    small = nd.slim(net, share=0.4, data=rows(300, 4))
    left = small.plan.cut("b.weight", net.b.weight.detach())
    assert torch.equal(leaves(small.net)["b.weight"], left)


def test_without_data_nothing_is_refit() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(50, 4)
    one, other = (nd.slim(net, share=0.5, example=x, emission=e) for e in ("refit", "fold"))  # type: ignore[arg-type]
    assert torch.equal(one.net(x), other.net(x)) and one.refitted == ()


def test_a_norm_over_positions_takes_up_nothing_of_channels() -> None:
    """It is behind a layer without bias, and as long as there are channels."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 5, bias=False), nn.BatchNorm1d(5), nn.Flatten(), nn.Linear(25, 2)
    ).double()  # fmt: skip
    x, y = rows(300, 5, 6)
    net(x)
    small = nd.slim(net.eval(), share=0.4, data=(x, y))
    assert "2" in small.refitted
    assert torch.equal(leaves(small.net)["3.running_mean"], leaves(net)["3.running_mean"])
