"""What a caller has set for torch does not change what is trained and measured, and is as it was afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.measure.noise import intervals


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


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> tuple[nd.Splits, nd.Family, Any, Any]:
    data, path = nd.load_data("diabetes"), tmp_path_factory.mktemp("modes") / "one.safetensors"
    net = nd.build("mlp:4", input_shape=(10,), n_outputs=1)
    family = nd.fit(net, data.train, data.valid, epochs=20, objective="ard")
    nd.save(family, path, data=data)
    choice = nd.choose(family, data.valid, lams=[0.1], shares=[0.0])
    return data, family, nd.load_model(path), choice


READ: dict[str, Callable[[nd.Splits, nd.Family, Any, Any], Any]] = {
    "intervals": lambda data, family, loaded, choice: intervals(family, data.test.x, 0.1).upper,
    "predict": lambda data, family, loaded, choice: (
        loaded.predict(data.test.x, lam=0.1).to_numpy().copy()
    ),
    "drawn": lambda data, family, loaded, choice: (
        loaded.predict(data.test.x, lam=0.1, n_samples=2).to_numpy().copy()
    ),
    "tested": lambda data, family, loaded, choice: list(choice.tested(data.test).test.values()),
    "divergence": lambda data, family, loaded, choice: family.kl([0.1]).detach(),
    "effective": lambda data, family, loaded, choice: family.effective_parameters([0.1]).detach(),
}


@pytest.mark.parametrize("what", READ)
def test_the_modes_of_a_caller_change_nothing_that_is_read_off(
    what: str, numbers: tuple[nd.Splits, nd.Family, Any, Any]
) -> None:
    pytest.importorskip("pandas")
    wanted = torch.as_tensor(READ[what](*numbers)).double()
    for name, mode in MODES.items():
        with mode():
            found = torch.as_tensor(READ[what](*numbers)).double()
        assert torch.allclose(found, wanted, rtol=1e-5), name


def test_draws_of_a_family_that_is_in_training_mode_are_without_dropout(
    tmp_path: Path,
) -> None:
    pytest.importorskip("pandas")
    data, net = nd.load_data("wine"), nn.Sequential(nn.Linear(13, 3), nn.Dropout(0.9))
    nd.save(
        nd.fit(net, data.train, epochs=1, objective="ard"), tmp_path / "f.safetensors", data=data
    )
    loaded = nd.load_model(tmp_path / "f.safetensors", net)
    wanted, training = (
        family.predict(data.test.x, lam=1.0, n_samples=2).iloc[:, 1:].to_numpy().copy()
        for family in (loaded, loaded.train())
    )
    assert (wanted == training).all() and loaded.net.training
