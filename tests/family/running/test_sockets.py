"""Sockets: tensors put into a network for a while, held against ``functional_call``."""

import pytest
import torch
from torch import nn

from netdial.family.running.sockets import Sockets


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()


def test_the_network_runs_with_the_tensors_it_holds_and_gets_its_own_back() -> None:
    layers = net()
    before = dict(layers.named_parameters()) | dict(layers.named_buffers())
    tree = {name: torch.rand_like(leaf) for name, leaf in layers.named_parameters()}
    x = torch.randn(5, 3, dtype=torch.float64)
    expected = torch.func.functional_call(layers.eval(), tree, (x,))
    sockets = Sockets(layers)
    with sockets.holding(tree):
        assert torch.equal(layers(x), expected)
    after = dict(layers.named_parameters()) | dict(layers.named_buffers())
    assert all(after[name] is tensor for name, tensor in before.items())


def test_statistics_are_updated_in_the_tensors_put_in() -> None:
    layers = net()
    statistics = {"1.running_mean": torch.zeros(4, dtype=torch.float64)}
    with Sockets(layers).holding(statistics):
        layers(torch.randn(5, 3, dtype=torch.float64))
    assert bool(statistics["1.running_mean"].any())
    assert not bool(layers[1].running_mean.any())


def test_tied_weights_change_together() -> None:
    layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    layers[1].weight = layers[0].weight
    with Sockets(layers).holding({"0.weight": torch.zeros(3, 3)}):
        assert not bool(layers[0].weight.any()) and not bool(layers[1].weight.any())
    assert layers[0].weight is layers[1].weight and bool(layers[0].weight.any())


def test_an_error_inside_leaves_the_network_as_it_was() -> None:
    layers = net()
    weight = layers[0].weight
    with (
        pytest.raises(RuntimeError),
        Sockets(layers).holding({"0.weight": torch.zeros(4, 3, dtype=torch.float64)}),
    ):
        layers(torch.randn(5, 7, dtype=torch.float64))
    assert layers[0].weight is weight
