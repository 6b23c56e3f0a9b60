"""Columns of frames: whatever works on a family, or on what became of it, meets those of the training part in their order."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import netdial as nd
from netdial.core.errors import DataError
from netdial.measure import calibrate, intervals
from netdial.pruning.channels import prune_family, retrain_structured
from netdial.pruning.weights import importance
from netdial.pruning.weights.rounds import retrain
from netdial.structure import SearchSpace

pandas = pytest.importorskip("pandas")

pytestmark = pytest.mark.filterwarnings("ignore")

X = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % 3
FRAME = pandas.DataFrame(X.numpy(), columns=["a", "b", "c"])
TURNED = FRAME[["c", "b", "a"]]
ONCE: dict[str, Any] = {"epochs": 1, "batch_size": 12}

Works = Callable[[nd.Family, Any], object]
WORKS: dict[str, Works] = {
    "finetune": lambda family, data: nd.finetune(family, 1.0, data, **ONCE),
    "finetune, validation": lambda family, data: nd.finetune(
        family, 1.0, (FRAME, Y), valid=data, **ONCE
    ),
    "predictive": lambda family, data: nd.predictive(family, 1.0, data, n_samples=1),
    "prune": lambda family, data: nd.prune(family, 1.0, 0.5, data=data),
    "importance": lambda family, data: importance(family, [1.0], "taylor", data=data),
    "retrain": lambda family, data: retrain(family, 1.0, data, share=0.5, rounds=1, **ONCE),
    "surface": lambda family, data: nd.surface(
        family, (FRAME, Y), train=data, lams=2, shares=[0.5]
    ),
    "assess": lambda family, data: nd.assess(family, data, lams=2, n_samples=2),
    "health": lambda family, data: nd.health(family, data, lams=2, n_samples=2),
    "slim": lambda family, data: nd.slim(family, 1.0, share=0.5, data=data),
    "prune_family": lambda family, data: prune_family(family, 1.0, share=0.5, data=data),
    "retrain_structured": lambda family, data: retrain_structured(
        family, 1.0, data, share=0.5, rounds=1, **ONCE
    ),
    "compress": lambda family, data: nd.compress(
        family, data, (FRAME, Y), lam=1.0, max_loss=10.0, epochs=1, steps=1
    ),
}
MADE: dict[str, Callable[[nd.Family], nd.Family]] = {
    "finetune": lambda family: nd.finetune(family, 1.0, (FRAME, Y), **ONCE),
    "prune": lambda family: nd.prune(family, 1.0, 0.5),
    "retrain": lambda family: (
        retrain(family, 1.0, (FRAME, Y), share=0.5, rounds=1, start="random", **ONCE)[-1].family
    ),
    "slim": lambda family: nd.slim(family, 1.0, share=0.5, data=(FRAME, Y)).family,
    "prune_family": lambda family: prune_family(family, 1.0, share=0.5, data=(FRAME, Y))[0],
    "fit_direct": lambda _: nd.fit_direct(network(), (FRAME, Y), lams=[1.0], **ONCE)[0],
    "fit_starts": lambda _: nd.fit_starts([network(), network()], (FRAME, Y), **ONCE)[1],
    "cross_validate": lambda _: (
        nd.cross_validate(network(), (FRAME, Y), folds=2, lams=[1.0], **ONCE).family
    ),
}


def network() -> torch.nn.Module:
    return nd.build("mlp:4", input_shape=(3,), n_outputs=3)


@pytest.fixture(scope="module")
def family() -> nd.Family:
    return nd.fit(network(), (FRAME, Y), objective="ard", **ONCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WORKS))
def test_whatever_works_on_a_family_refuses_columns_in_another_order(
    name: str, family: nd.Family
) -> None:
    with pytest.raises(DataError, match="in another order"):
        WORKS[name](family, (TURNED, Y))
    WORKS[name](family, (FRAME, Y))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MADE))
def test_what_became_of_a_family_knows_its_columns(name: str, family: nd.Family) -> None:
    made = MADE[name](family)
    with pytest.raises(DataError, match="in another order"):
        nd.evaluate(made, (TURNED, Y), lams=[1.0])
    nd.evaluate(made, (FRAME, Y), lams=[1.0])


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["arrays", "table", "images", "images from 0 to 1"])
def test_inputs_that_are_scaled_otherwise_are_told_of(form: str) -> None:
    """As the numbers of a table are that its network never met: those of the parts are standardised."""
    raw, net = X * torch.tensor([1.0, 30.0, 0.1]) + torch.tensor([13.0, 750.0, 2.0]), network()
    if form == "table":
        given = pandas.DataFrame(raw.numpy(), columns=["a", "b", "c"]).assign(kind=Y.numpy())
        train = nd.load_data(given, target="kind").train
    elif form.startswith("images"):
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
        pixels, scale = (
            torch.randint(0, 256, (24, 1, 4, 4), dtype=torch.uint8),
            torch.tensor(1 / 70),
        )
        train = nd.Dataset(pixels, Y, shift=torch.full((1, 1, 1), 128.0), scale=scale.view(1, 1, 1))
        raw = pixels / 255 if form.endswith("1") else pixels.float()
    else:
        train = nd.Dataset(X, Y)
    made = nd.fit(net, train, train, **ONCE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nd.evaluate(made, train, lams=[1.0])
        nd.evaluate(made, (train.inputs()[:5], train.y[:5]), lams=[1.0])
    with pytest.warns(UserWarning, match="scaled otherwise than in training: (input 1|they) ha"):
        nd.evaluate(made, (raw, Y), lams=[1.0])
    with pytest.warns(UserWarning, match="validation part: the inputs are scaled otherwise"):
        nd.fit(net, train, (raw, Y), **ONCE)


@pytest.mark.filterwarnings("default")
def test_rare_columns_and_single_rows_are_no_other_scale() -> None:
    x = (torch.rand(2000, 50, generator=torch.Generator().manual_seed(0)) < 0.002).float()
    net, y = torch.nn.Linear(50, 3), torch.arange(2000) % 3
    family = nd.fit(net, (x, y), epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nd.evaluate(family, (x[x.sum(1) > 0][:20], y[:20]), lams=[1.0])
        nd.evaluate(family, (torch.ones(1, 50), y[:1]), lams=[1.0])


def test_noise_and_intervals_of_a_regression() -> None:
    net, y = nd.build("mlp:4", input_shape=(3,), n_outputs=1), FRAME[["a"]]
    family = nd.fit(net, (FRAME, y), (FRAME, y), **ONCE)
    for work in (
        lambda data: calibrate(family, data),
        lambda data: intervals(family, data, 1.0),
    ):
        with pytest.raises(DataError, match="in another order"):
            work((TURNED, y))
        work((FRAME, y))
    with pytest.raises(DataError, match="in another order"):
        nd.fit_starts([net], (FRAME, y), (TURNED, y), **ONCE)


def test_a_search_meets_the_columns_of_its_training_part() -> None:
    space = SearchSpace("columns")
    x, y = space.input("x", (3,)), space.node("y")
    space.edge(x, y, {name: lambda: torch.nn.Linear(3, 3) for name in ("one", "other")})
    space.output(y)
    settings: dict[str, Any] = {"epochs": 1, "candidates": 1, "starts": 1, "compare": False}
    nd.search(space, (FRAME, Y), (FRAME, Y), test=(FRAME, Y), **settings)
    with pytest.raises(DataError, match=r"validation part.*another order"):
        nd.search(space, (FRAME, Y), (TURNED, Y), **settings)
    with pytest.raises(DataError, match=r"test part.*another order"):
        nd.search(space, (FRAME, Y), (FRAME, Y), test=(TURNED, Y), **settings)
