"""What ``shrink`` and ``slim`` made of networks of ``nd.build`` opens without the network, unless that was changed before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import CheckpointError
from netdial.pruning.channels.reducing import Pruned
from netdial.shrinking.shrink import Shrunk

X, Y = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3
BUILT = {"spec": "mlp:12-8", "input_shape": [6], "n_outputs": 3}


def built() -> nn.Module:
    return nd.build("mlp:12-8", input_shape=(6,), n_outputs=3, seed=1)


def shrunk(net: nn.Module, **settings: Any) -> Shrunk:
    return nd.shrink(net, (X, Y), size="100 params", epochs=4, batch_size=16, **settings)


MADE: dict[str, Callable[[], Shrunk | Pruned]] = {
    "shrunk": lambda: shrunk(built()),
    "shrunk with inputs": lambda: shrunk(built(), inputs=True),
    "slimmed": lambda: nd.slim(built(), share=0.4, example=X),
    "slimmed with inputs": lambda: nd.slim(built(), share=0.4, example=X, inputs=True),
    "a member, slimmed": lambda: nd.slim(
        nd.fit(built(), (X, Y), lam=(0.01, 10), epochs=2), 1.0, share=0.4, example=X
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", list(MADE))
def test_it_opens_alone(how: str, tmp_path: Path) -> None:
    made = MADE[how]()
    told = nd.save(made, tmp_path / "one.safetensors")
    assert told.about["net"] == BUILT and "net=" not in told.opens
    with torch.no_grad():
        due = made.net.eval()(X)
        for net in (None, built()):
            again = nd.load_model(tmp_path / "one.safetensors", net)
            assert torch.allclose(again(X), due, atol=1e-6)


def _with_tanh() -> nn.Module:
    net = built()
    for name, layer in list(net.named_children()):
        if isinstance(layer, nn.ReLU):
            net.set_submodule(name, nn.Tanh())
    return net


@pytest.mark.parametrize(
    "begin", [_with_tanh, lambda: nd.slim(built(), share=0.4, example=X).net], ids=["other", "cut"]
)
@pytest.mark.parametrize("make", [shrunk, lambda net: nd.slim(net, share=0.4, example=X)])
def test_a_network_that_is_another_since_it_was_built_is_asked_for(
    begin: Callable[[], nn.Module], make: Callable[[nn.Module], Shrunk], tmp_path: Path
) -> None:
    net = begin()
    told = nd.save(make(net), tmp_path / "one.safetensors")
    assert "net" not in told.about and "net=" in told.opens
    with pytest.raises(CheckpointError, match="does not say which network"):
        nd.load_model(tmp_path / "one.safetensors")
