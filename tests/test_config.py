"""Settings: checked when made; a wrong name or value gets one clear line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.objective import OBJECTIVES
from netdial.structure.search.config import SpaceSearchConfig
from netdial.train.config import FitConfig, make_config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'?"),
        ({"map": "PIECEWISE"}, "unknown map 'PIECEWISE'; did you mean 'piecewise'?"),
        ({"map": "liner"}, "unknown map 'liner'; did you mean 'linear'?"),
        ({"objective": "scaled-lk"}, "unknown objective 'scaled-lk'; did you mean 'scaled-kl'?"),
        ({"weighting": "balance"}, "unknown weighting 'balance'; did you mean 'balanced'?"),
        ({"epochs": 0}, "epochs=0: input should be greater than or equal to 1"),
        ({"epochs": True}, "epochs=True: give a number; true and false .* are none"),
        ({"lams": (0.1, True)}, "give a number; true and false"),
        ({"lr": -1}, "lr=-1: input should be greater than 0"),
        ({"lr": "fast"}, "lr='fast': input should be a valid number"),
        (
            {"sampling": "random"},
            "sampling='random': input should be 'stratified', 'whole' or 'independent'",
        ),
        ({"precision": "16"}, "precision='16': input should be"),
        ({"lo": 2, "hi": 1}, r"Domain\(lo=2, hi=1\): expected 0 < lo < hi"),
        (
            {"map": "table"},
            "map table trains networks directly at given values: give lams, for example 0.01,1,100",
        ),
        (
            {"groups": 5, "devices": 2},
            "groups=5 does not divide among devices=2; choose a multiple of 2",
        ),
        (
            {"lams": (0.1, 1)},
            r"map piecewise is trained on a whole range: give its ends, lam=\(lo, hi\)",
        ),
        ({"lo": 1e-40}, "lo=1e-40: input should be greater than or equal to 1e-30"),
        ({"momentum": 1.0}, "momentum=1.0: input should be less than 1"),
        ({"class_weight": ""}, "class_weight=''; allowed: balanced"),
        ({"class_weight": "0=1, 0 =24"}, "class_weight: 0 stands there twice; leave one out"),
        ({"posterior": "gate=point,gate=normal"}, "posterior: gate stands there twice"),
    ],
)
def test_what_is_wrong_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lamda": (0.1, 1)}, "unknown setting 'lamda'; did you mean 'lam'"),
        (
            {"lam": 1.0},
            r"lam=1.0; expected a list of numbers: the two ends of the range, lam=\(lo, hi\)",
        ),
    ],
)
def test_the_range_is_asked_for_by_its_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        nd.fit(nn.Linear(2, 2), (torch.eye(2), torch.arange(2)), **settings)


def test_settings_cannot_be_changed_and_describe_the_family() -> None:
    config = make_config(objective="l2", lo=0.1, hi=10, regions=3, shared=("LayerNorm",), seed=4)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]
    family = config.family()
    assert family.posterior == "point"
    assert (family.lo, family.hi, family.regions, family.shared, family.seed) == (
        0.1,
        10,
        3,
        ("LayerNorm",),
        4,
    )
    assert make_config(objective="scaled-kl").family().posterior == "normal"


def test_the_default_is_a_network_that_predicts() -> None:
    config = make_config()
    assert (config.objective, config.lo, config.hi, config.regions) == ("l1", 1e-2, 10, 3)
    family = config.family()
    assert (family.posterior, family.objective) == ("point", "l1")
    assert (family.lo, family.hi, family.regions) == (1e-2, 10, 3)


@pytest.mark.parametrize(
    ("rows", "given", "epochs", "batch_size"),
    [
        (97, {}, 250, 32),
        (750, {}, 167, 32),
        (54_000, {}, 19, 256),
        (10**6, {}, 10, 256),
        (97, {"batch_size": 97}, 250, 97),
        (54_000, {"batch_size": 32}, 10, 32),
        (97, {"epochs": 3}, 3, 32),
        (1, {}, 250, 32),
    ],
)
def test_training_is_as_long_as_the_rows_need(
    rows: int, given: dict[str, Any], epochs: int, batch_size: int
) -> None:
    config = make_config(**given).for_rows(rows)
    assert (config.known_epochs, config.known_batch_size) == (epochs, batch_size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "as_loader"), [(nd.fit, False), (nd.shrink, True)], ids=["fit rows", "shrink loader"]
)
def test_a_small_table_is_trained_for_some_thousand_steps(train: Any, as_loader: bool) -> None:
    """Not 25 passes over it, which are 25 steps."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    data: Any = TensorDataset(x, (x[:, 0] > 0).long())
    data = DataLoader(data, batch_size=10) if as_loader else data.tensors
    last: list[Any] = []
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    train(net, data, report=lambda epoch, *_: last.append(epoch))
    assert (last[-1].number, last[-1].step) == ((250, 500) if as_loader else (250, 250))


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_the_range_is_that_of_the_objective_and_wide_enough_for_lams(objective: str) -> None:
    config, (lo, hi) = make_config(objective=objective), OBJECTIVES[objective].range
    assert (config.lo, config.hi) == (lo, hi)
    lams = (lo / 2, 1.0, 2 * hi)
    config = make_config(objective=objective, map="table", lams=lams)
    assert (config.lo, config.hi) == (lo / 2, 2 * hi)
    config = make_config(objective=objective, map="table", lams=lams, hi=0.5, lo=0.25)
    assert (config.lo, config.hi) == (0.25, 0.5)


@pytest.mark.parametrize("kind", [list, iter, np.float32, np.array, torch.tensor])
def test_lams_of_every_kind_are_inside_the_range(kind: Any) -> None:
    config = make_config(map="table", lams=kind([0.5, 50.0]))
    assert config.lams == (0.5, 50.0) and (config.lo, config.hi) == (1e-2, 50)


@pytest.mark.parametrize("lams", [None, 3, 0.5, "12", "0.1,1", {0.1: 1}, ["a"], [[1.0]], [10**400]])
def test_lams_that_are_no_numbers_are_refused(lams: Any) -> None:
    with pytest.raises(ConfigError, match="lams"):
        make_config(lams=lams)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in FitConfig.model_fields.values())


@pytest.mark.parametrize("name", ["options", "space_options"])
def test_an_option_given_twice_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: depth stands there twice; leave one out"):
        SpaceSearchConfig(**{name: "depth=2,width=4,depth=3"})
