"""What a caller has set for torch does not change what is trained and measured, and is as it was afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd


@contextmanager
def in_double() -> Any:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "other number types": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "double by default": in_double,
}
X = torch.randn(90, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] + X[:, 1] > 0).long()


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
    return nn.Sequential(*layers)


def fitted(net: nn.Module, **settings: Any) -> nd.Family:
    return nd.fit(net, (X, Y), epochs=2, batch_size=30, **settings)


def shrunk(net: nn.Module) -> nn.Module:
    return nd.shrink(net, (X, Y), size="50 params", epochs=2, batch_size=30).fold()[0]


def compressed(net: nn.Module) -> nn.Module:
    given: Any = {"max_loss": 1.0, "epochs": 1, "batch_size": 30}
    return nd.compress(net, (X, Y), (X, Y), **given).net


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "fit": lambda net: fitted(net).export(1.0),
    "lowrank": lambda net: fitted(net, map="lowrank").export(1.0),
    "finetune": lambda net: nd.finetune(
        fitted(net, objective="ard"), 1.0, (X, Y), epochs=1, batch_size=30
    ).export(1.0),
    "cross_validate": lambda net: nd.cross_validate(
        net, (X, Y), folds=2, lams=3, epochs=1, batch_size=30
    ).family.export(1.0),
    "shrink": shrunk,
    "slim": lambda net: nd.slim(net, share=0.4, data=(X, Y), criterion="taylor").net,
    "compress": compressed,
}

SLOW = ("cross_validate", "finetune", "compress")


@pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")
@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.slow] if way in SLOW else []) for way in WAYS]
)
def test_the_modes_of_a_caller_change_nothing(way: str) -> None:
    def outcome() -> Tensor:
        with torch.autocast("cpu", enabled=False), torch.no_grad():
            return made(X)

    made = WAYS[way](network())
    wanted = outcome()
    for name, mode in MODES.items():
        net = network()
        with mode():
            before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
            cast = torch.is_autocast_enabled("cpu")
            made = WAYS[way](net)
            assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
            assert torch.is_autocast_enabled("cpu") == cast
        assert torch.equal(outcome(), wanted), name
