"""Free bits: what is changed changes nothing of the function, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.compression.pipeline.free import empty_units, fold_inputs, reorder, rescale, unchanged
from netdial.compression.pipeline.leaves import divide, tensors_of
from netdial.compression.pipeline.rate import context_bits
from netdial.data.dataset import Dataset
from netdial.nets.foreign import copy_network


def sparse_mlp() -> nn.Module:
    """784-like in small: constant inputs, a unit that nothing reaches, a unit that nobody reads."""
    net = nd.build("mlp:12-6", input_shape=(9,), n_outputs=3, seed=1)
    source = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name in divide(net).weights:
            weight = net.get_parameter(name)
            weight.mul_(torch.rand(weight.shape, generator=source) < 0.4)
        net.get_parameter("fc1.weight")[3] = 0.0
        net.get_parameter("fc1.bias")[3] = 0.7
        net.get_parameter("fc2.weight")[:, 3] = 0.5
        net.get_parameter("fc2.weight")[:, 8] = 0.0
        net.get_parameter("fc1.weight")[8] = 1.0
    return net.eval()


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(45, 4),
    )
    with torch.no_grad():
        net[3].weight[:, 2] = 0.0
    return net.eval()


def inputs(net: nn.Module) -> Tensor:
    shape = (20, 1, 10, 10) if isinstance(net[0], nn.Conv2d) else (20, 9)
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def same(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((one.double()(x.double()) - other.double()(x.double())).abs().max())


def test_weights_of_constant_inputs_go_into_biases() -> None:
    net, x = sparse_mlp(), inputs(sparse_mlp())
    x[:, 2], x[:, 7] = 1.5, 0.0
    before = copy_network(net)
    there = int((net.get_parameter("fc1.weight")[:, [2, 7]] != 0).sum())
    assert fold_inputs(net, Dataset(x, torch.arange(20) % 3), x) == there > 0
    assert not net.get_parameter("fc1.weight")[:, [2, 7]].any()
    assert same(before, net, x) < 1e-6
    assert fold_inputs(net, Dataset(x[:, :], torch.arange(20) % 3), x) == 0


def test_units_that_are_constant_or_unread_become_0_everywhere() -> None:
    net, x = sparse_mlp(), inputs(sparse_mlp())
    before = copy_network(net)
    assert empty_units(net, divide(net), x) >= 2
    for unit in (3, 8):
        assert not net.get_parameter("fc1.weight")[unit].any()
        assert net.get_parameter("fc1.bias")[unit] == 0
        assert not net.get_parameter("fc2.weight")[:, unit].any()
    assert same(before, net, x) < 1e-6
    assert empty_units(net, divide(net), x) == 0, "once is enough"


@pytest.mark.parametrize("make", [sparse_mlp, convolutional])
def test_units_are_scaled_alike_and_the_function_stays(make) -> None:
    net, x = make(), inputs(make())
    before = copy_network(net)
    count = rescale(net, divide(net), x)
    assert count >= 6
    name = divide(net).weights[0]
    rows = net.get_parameter(name).detach().flatten(1)
    sizes = torch.stack([row[row != 0].square().mean().sqrt() for row in rows if row.any()])
    assert float(sizes.max() / sizes.min()) == pytest.approx(1, rel=1e-4)
    assert same(before, net, x) < 1e-6


@pytest.mark.parametrize("make", [sparse_mlp, convolutional])
def test_an_order_is_taken_only_if_its_code_is_shorter(make) -> None:
    net, x = make(), inputs(make())
    before = copy_network(net)
    names = divide(net).weights

    def bits(one: nn.Module) -> float:
        return sum(
            context_bits((one.get_parameter(n).detach().numpy() != 0).astype("int32"))
            for n in names
        )

    count, moved = reorder(net, divide(net), x)
    assert bits(net) <= bits(before)
    assert (count > 0) == (bits(net) < bits(before)) == bool(moved)
    for name, at in moved.items():
        was, now = tensors_of(before)[name], tensors_of(net)[name]
        assert torch.equal(was.flatten()[at.flatten()].view(was.shape), now)
    assert same(before, net, x) < 1e-6


def test_a_change_that_is_none_of_these_is_noticed() -> None:
    net, x = sparse_mlp(), inputs(sparse_mlp())

    def shift(target: nn.Module) -> None:
        target.get_parameter("fc3.bias")[0] += 1e-6

    assert not unchanged(net, shift, x)
    assert unchanged(net, lambda _: None, x)


def test_a_smooth_activation_is_not_scaled_and_an_untraceable_network_is_left_alone() -> None:
    smooth = nn.Sequential(nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 2)).eval()
    x = torch.randn(20, 9)
    before = [p.detach().clone() for p in smooth.parameters()]
    assert rescale(smooth, divide(smooth), x) == 0
    assert all(torch.equal(a, b) for a, b in zip(before, smooth.parameters(), strict=True))

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(9, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) * (2.0 if float(x.sum()) > 0 else 1.0)

    odd = Odd().eval()
    assert (
        empty_units(odd, divide(odd), x)
        == rescale(odd, divide(odd), x)
        == reorder(odd, divide(odd), x)[0]
        == 0
    )
