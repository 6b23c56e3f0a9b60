"""Situations: things of another kind given to public functions, and settings made by hand."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.choice.budget import Budget
from netdial.core.errors import ConfigError, MemberWarning, TraceError
from netdial.curvature import diagonal
from netdial.data.tables.options import TableOptions
from netdial.jobs.analyses.chosen import ChoiceOptions
from netdial.jobs.analyses.pruned import SurfaceOptions
from netdial.jobs.analyses.slimming import Slimming
from netdial.jobs.analyses.tuned import RoundOptions, TuningOptions
from netdial.jobs.analyses.weighed import EvidenceOptions
from netdial.measure import calibrate, intervals, recalibrate
from netdial.models.ready import ready
from netdial.models.use import Use
from netdial.pruning.channels import Limits, Options
from netdial.pruning.channels.latency import Rounding
from netdial.pruning.weights.pruned import Rule
from netdial.task import Classification, Regression
from netdial.train.config import Evaluation

from .situations import refused, right

X, Y = torch.randn(24, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
NET = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
FAMILY = nd.Family(NET)
DATA = nd.Dataset(X, Y)

WRONG: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "a network for a family": (
        lambda: nd.evaluate(NET, (X, Y)),
        ("family", "Sequential", "Family"),
    ),
    "data for a family": (lambda: nd.choose((X, Y), FAMILY), ("family", "tuple", "Family")),
    "a path for a family": (
        lambda: nd.choose("a.safetensors", (X, Y)),
        ("a.safetensors", "Family"),
    ),
    "a class for a network": (lambda: nd.fit(nn.Linear, (X, Y)), ("net", "class Linear", "Module")),
    "a family for a network": (lambda: nd.fit(FAMILY, (X, Y)), ("Family",)),
    "a family for a network, shrink": (
        lambda: nd.shrink(FAMILY, (X, Y), epochs=1),
        ("net is a Family", "nd.slim"),
    ),
    "rows for a member's outputs": (lambda: FAMILY.predict(X, lam=1.0), ("family(x, lam=…)",)),
    "a network without parameters": (
        lambda: nd.slim(nn.Sequential(nn.ReLU()), share=0.5, example=X),
        ("Sequential", "no parameters"),
    ),
    "a number for a path, save": (lambda: nd.save(FAMILY, 3), ("path=3",)),
    "a number for a path, load": (lambda: nd.load_model(3), ("path=3",)),
    "a number for a path, inspect": (lambda: nd.inspect(3), ("path=3",)),
    "a number for the data": (lambda: nd.load_data(3), ("name=3", "text")),
    "a network for a pruning": (lambda: nd.prune(NET, 1.0, 0.5), ("family", "Sequential")),
    "text for a share": (lambda: nd.prune(FAMILY, 1.0, "half"), ("share='half'", "number")),
    "text for λ": (lambda: FAMILY.export("a"), ("lam='a'", "number")),
    "nothing for λ": (lambda: FAMILY.at(None), ("lam=None", "number")),
    "text for several λ": (lambda: nd.evaluate(FAMILY, DATA, lams="all"), ("lams='all'",)),
    "text among λ": (lambda: nd.evaluate(FAMILY, DATA, lams=["a"]), ("lams", "numbers")),
    "no batches": (lambda: nd.evaluate(FAMILY, DATA, batch_size=0), ("batch_size=0", "1")),
    "a half draw": (lambda: nd.evaluate(FAMILY, DATA, n_samples=1.5), ("n_samples=1.5",)),
    "a network for a surface": (lambda: nd.surface(NET, DATA), ("family", "Sequential")),
    "a network for evidence": (lambda: nd.assess(NET, DATA), ("family", "Sequential")),
    "a network for checks": (lambda: nd.health(NET, DATA), ("family", "Sequential")),
    "a network for fine-tuning": (lambda: nd.finetune(NET, 1.0, DATA), ("family", "Sequential")),
    "a network for retraining": (
        lambda: nd.retrain(NET, 1.0, DATA, share=0.5),
        ("family", "Sequential"),
    ),
    "data for a network, slim": (lambda: nd.slim(DATA, share=0.5), ("net", "Dataset")),
    "data for a network, shrink": (lambda: nd.shrink((X, Y), NET), ("net", "tuple", "Module")),
    "a dictionary for settings": (
        lambda: nd.fit(NET, DATA, config={"epochs": 1}),
        ("config", "dict", "FitConfig"),
    ),
    "settings of another kind": (
        lambda: nd.fit(NET, DATA, config=nd.ShrinkConfig()),
        ("config", "ShrinkConfig", "FitConfig"),
    ),
    "a member and its family swapped": (
        lambda: recalibrate(NET, FAMILY, DATA),
        ("family", "Sequential", "Family"),
    ),
    "a report that is no function": (lambda: nd.fit(NET, DATA, report=1), ("report=1",)),
    "a range of text": (lambda: nd.Domain("a", 1), ("lo='a'", "number")),
    "lists in a part of data": (lambda: nd.Dataset([[1.0]], [0]), ("x", "Tensor")),
    "a number for a network's name": (
        lambda: nd.build(5, input_shape=(4,), n_outputs=3),
        ("spec=5",),
    ),
    "one end of a range": (lambda: nd.fit(NET, DATA, lam=1.0), ("lam=1.0",)),
    "three ends of a range": (lambda: nd.fit(NET, DATA, lam=(1, 2, 3)), ("lam",)),
    "no epochs": (lambda: nd.FitConfig(epochs=0), ("epochs=0", "1")),
    "a negative penalty": (lambda: nd.ShrinkConfig(lam=-1.0), ("lam=-1", "0")),
    "a setting that there is not": (lambda: nd.FitConfig(epoch=3), ("epoch", "epochs")),
    "a map where it is set": (
        lambda: nd.fit_direct(NET, DATA, lams=[1.0], map="linear"),
        ("map", "fit_direct"),
    ),
    "a range where it is set": (lambda: nd.finetune(FAMILY, 1.0, DATA, lo=0.1), ("lo",)),
    "no λ beside settings": (
        lambda: nd.fit_direct(NET, DATA, lams=[], config=nd.FitConfig(epochs=1)),
        ("lams",),
    ),
}


@pytest.mark.parametrize("name", WRONG)
@refused()
def test_what_is_given_and_what_is_wanted_are_said_in_one_line(name: str) -> None:
    call, facts = WRONG[name]
    with pytest.raises(ConfigError) as found:
        call()
    said = str(found.value)
    assert "\n" not in said
    assert not [fact for fact in facts if fact not in said], said
    raise found.value


NUMBERS = nd.Family(nn.Linear(4, 1), nd.FamilyConfig(task=Regression()))
DRAWN: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "evaluate": (0, lambda n: nd.evaluate(FAMILY, DATA, lams=[1.0], n_samples=n)),
    "surface": (0, lambda n: nd.surface(FAMILY, DATA, lams=[1.0], shares=[0.0], n_samples=n)),
    "choose": (0, lambda n: nd.choose(FAMILY, DATA, lams=[1.0], shares=[0.0], n_samples=n)),
    "choose and predict": (
        1,
        lambda n: chosen().predict(X, n_samples=n),
    ),
    "predictive": (1, lambda n: nd.predictive(FAMILY, 1.0, DATA, n_samples=n)),
    "calibrate": (1, lambda n: calibrate(NUMBERS, (X, X[:, :1]), n_samples=n)),
    "intervals": (1, lambda n: intervals(known_noise(), X, 1.0, n_samples=n)),
    "rows": (0, lambda n: rows_of(FAMILY).predict(X, lam=1.0, n_samples=n)),
    "assess": (2, lambda n: nd.assess(FAMILY, DATA, lams=[1.0], n_samples=n)),
    "health": (2, lambda n: nd.health(FAMILY, DATA, lams=[1.0], n_samples=n)),
    "signs": (1, lambda n: diagonal(NET, DATA, how="hutchinson", n_samples=n)),
    "estimator": (0, lambda n: nd.FamilyClassifier(epochs=1, n_samples=n).fit(X.numpy(), Y.numpy())),
}  # fmt: skip
"""Function -> fewest draws that it takes, and itself."""


def known_noise() -> nd.Family:
    calibrate(NUMBERS, (X, X[:, :1]), lams=[1.0])
    return NUMBERS


def chosen() -> nd.Choice:
    with warnings.catch_warnings():  # an untrained network does worse than a constant
        warnings.simplefilter("ignore", MemberWarning)
        return nd.choose(FAMILY, DATA, lams=[1.0], shares=[0.0])


def rows_of(family: nd.Family) -> Any:
    return ready(
        copy.deepcopy(family), Use(task=Classification().settings(), classes=("a", "b", "c"))
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [-1, 1.5, "fewer"])
@pytest.mark.parametrize("name", DRAWN)
@refused("n_samples=")
def test_draws_that_cannot_be_counted_are_refused_with_their_number(name: str, count: Any) -> None:
    fewest, call = DRAWN[name]
    count = fewest - 1 if count == "fewer" else count
    with pytest.raises(ConfigError) as found:
        call(count)
    assert f"n_samples={count!r}" in str(found.value) and str(fewest) in str(found.value)
    raise found.value


@pytest.mark.slow
@right
def test_a_posterior_has_an_objective_without_a_word_about_draws() -> None:
    """By default 8 draws measure the predictive and the objective; a family of points draws nothing."""
    (by_default,) = nd.evaluate(FAMILY, DATA, lams=[1.0]).members
    (by_eight,) = nd.evaluate(FAMILY, DATA, lams=[1.0], n_samples=8).members
    assert math.isfinite(by_default.objective) and by_default.predictive
    assert by_default == by_eight
    points = nd.Family(NET, nd.FamilyConfig(posterior="point"))
    (point,) = nd.evaluate(points, DATA, lams=[1.0], objective="l2").members
    assert math.isfinite(point.objective) and not point.predictive


SETTINGS: dict[str, Callable[[], Any]] = {
    "separator=sep": lambda: TableOptions(separator=";"),
    "sep=3": lambda: TableOptions(sep=3),
    "decimal='x'": lambda: TableOptions(decimal="x"),
    "rounds=0": lambda: Slimming(rounds=0),
    "share='half'": lambda: Slimming(share="half"),
    "samples=1": lambda: EvidenceOptions(samples=1),
    "samples=-1": lambda: SurfaceOptions(samples=-1),
    "finetune=1.5": lambda: ChoiceOptions(finetune=1.5),
    "'criteria'='density'": lambda: Options(criteria="density"),
    "'scop'='layer'": lambda: nd.Policy(scop="layer"),
    "epochs=0": lambda: TuningOptions(epochs=0),
    "rounds=-1": lambda: RoundOptions(rounds=-1),
    "grid=1.5": lambda: Rounding(grid=1.5),
    "per='time'": lambda: Options(per="time"),
    "minimum=0": lambda: Limits(minimum=0),
    "scope='all'": lambda: nd.Policy(scope="all"),
    "seed=1.5": lambda: Rule(seed=1.5),
    "max_params='few'": lambda: Budget(max_params="few"),
    "points=0": lambda: Evaluation(points=0),
    "prior_var='a'": lambda: nd.FamilyConfig(prior_var="a"),
}


@pytest.mark.parametrize("given", SETTINGS)
@refused()
def test_settings_made_by_hand_are_checked_like_those_of_commands(given: str) -> None:
    with pytest.raises(ConfigError) as found:
        SETTINGS[given]()
    said = str(found.value)
    name, value = given.split("=")
    assert "\n" not in said and name in said and (value in said or name.startswith("'"))
    raise found.value


@pytest.mark.parametrize("run", [
    lambda x: FAMILY(x, lam=1.0),
    lambda x: FAMILY(x, lam=[0.1, 1.0]),
    lambda x: FAMILY.predict(FAMILY.at(1.0), x, 1.0),
    lambda x: nd.predictive(FAMILY, 1.0, (x, Y)),
    lambda x: nd.evaluate(FAMILY, (x, Y)),
])  # fmt: skip
@refused()
def test_inputs_of_another_width_are_refused_with_their_shape(run: Callable[[Tensor], Any]) -> None:
    with pytest.raises(TraceError, match=r"\[\d+, 7\]") as found:
        run(torch.randn(24, 7))
    raise found.value


@pytest.mark.parametrize("lam", [np.float32(1.0), torch.tensor(1.0), np.int64(1), 1])
@right
def test_numbers_of_numpy_and_torch_are_numbers(lam: Any) -> None:
    assert torch.equal(FAMILY(X, lam=lam), FAMILY(X, lam=1.0))
    assert torch.equal(FAMILY.export(lam)(X), FAMILY.export(1.0)(X))


@right
def test_complexity_values_come_in_any_sequence() -> None:
    for lams in ([0.1, 1], (0.1, 1.0), np.array([0.1, 1.0]), torch.tensor([0.1, 1.0])):
        members = nd.evaluate(FAMILY, DATA, lams=lams, n_samples=0).members
        assert [round(member.lam, 6) for member in members] == [0.1, 1.0]


MADE_BY_USERS = ("Domain", "Dataset", "Family")
"""Public classes that need arguments; values of the others are made by functions, or have defaults alone."""
CALLED = [
    name for name in nd.__all__ if name in MADE_BY_USERS or not isinstance(getattr(nd, name), type)
]


@pytest.mark.parametrize("name", CALLED)
@refused()
def test_no_public_function_fails_on_a_foreign_thing_with_a_foreign_exception(
    name: str, tmp_path: Path
) -> None:
    """Every argument that has no default is a thing that nobody knows."""
    import inspect

    function = getattr(nd, name)
    needed = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind.name in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")
    ]
    function(**dict.fromkeys(needed, object()))
