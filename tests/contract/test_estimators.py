"""What every registered estimator of evidence must keep to: readings, seeds, legality. A new one is enrolled by its name."""

from __future__ import annotations

import functools
import inspect
import math

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.evidence import ESTIMATORS, Estimate, assess
from netdial.evidence.estimators.laplace import STRUCTURES
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.objective import BOUNDS, LAPLACE, OBJECTIVES

LAMS = [0.1, 1.0, 10.0]
DRAWS = 25
KNOWN = {name for objective in OBJECTIVES for name in OBJECTIVES[objective].estimators}
names = pytest.mark.parametrize("name", list(ESTIMATORS))


def objectives_of(name: str) -> list[str]:
    """Returns the objectives that an estimator applies to; one that no objective lists applies to all of normal posteriors."""
    listed = [known for known in OBJECTIVES if name in OBJECTIVES[known].estimators]
    return listed or OBJECTIVES.of("normal")


def family_of(objective: str) -> Family:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    posterior = OBJECTIVES[objective].posterior
    family = Family(net, FamilyConfig(map="linear", posterior=posterior, objective=objective))
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=source))
    return family.eval()


@functools.cache
def said(name: str, objective: str) -> tuple[Estimate, ...]:
    """What an estimator says of a small family."""
    source = torch.Generator().manual_seed(7)
    y = torch.arange(36) % 3
    x = torch.randn(3, 5, generator=source)[y] + torch.randn(36, 5, generator=source)
    family = family_of(objective)
    found = assess(family, (x, y), lams=LAMS, by=[name], n_samples=DRAWS)
    return tuple(found)


def plain(estimates: tuple[Estimate, ...]) -> str:
    """Estimates as text, in which nan is nan."""
    return repr([(e.name, e.lam, e.value, e.error, e.parts) for e in estimates])


@pytest.mark.slow
@names
def test_a_finite_value_with_its_error_for_each_member_or_one_for_the_family(name: str) -> None:
    for objective in objectives_of(name):
        found = said(name, objective)
        assert len(found) == 1 or [e.lam for e in found] == LAMS
        for estimate in found:
            assert estimate.name == name and estimate.why and estimate.unit
            assert math.isfinite(estimate.value), estimate
            assert estimate.error >= 0
            assert all(isinstance(part, float) for part in estimate.parts.values())


@pytest.mark.slow
@names
def test_the_same_seed_has_the_same_answer_and_torchs_generator_rests(name: str) -> None:
    objective = objectives_of(name)[0]
    first, state = said(name, objective), torch.get_rng_state()
    said.cache_clear()
    assert plain(said(name, objective)) == plain(first)
    assert torch.equal(torch.get_rng_state(), state)


@names
def test_it_is_refused_where_it_says_nothing_with_what_is_legal(
    name: str, blobs: tuple[Tensor, Tensor]
) -> None:
    refusing = [] if name not in KNOWN else [o for o in OBJECTIVES if o not in objectives_of(name)]
    for objective in refusing:
        legal = ", ".join(OBJECTIVES[objective].estimators) or "none"
        with pytest.raises(ConfigError) as refused:
            assess(family_of(objective), blobs, by=[name])
        assert repr(name) in str(refused.value) and legal in str(refused.value)


@pytest.mark.slow
@names
def test_what_it_says_depends_on_the_data(name: str) -> None:
    source = torch.Generator().manual_seed(5)
    x, objective = torch.randn(36, 5, generator=source), objectives_of(name)[0]
    y = torch.arange(36) % 3
    options = {"lams": LAMS, "by": [name], "n_samples": DRAWS}
    one, other = (
        assess(family_of(objective), (x, labels), **options)  # type: ignore[arg-type]
        for labels in (y, y.flip(0))
    )
    assert plain(tuple(one)) != plain(tuple(other))


@names
def test_its_docstring_says_what_it_returns_and_names_a_source(name: str) -> None:
    function = ESTIMATORS[name]
    if isinstance(function, functools.partial):
        function = function.func
    text = (inspect.getdoc(function) or "") + (inspect.getdoc(inspect.getmodule(function)) or "")
    assert (inspect.getdoc(function) or "").startswith("Returns")
    assert any(str(year) in text for year in range(1950, 2030)), name


@names
def test_an_unknown_neighbour_is_corrected(name: str, blobs: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match=rf"unknown estimator '{name}x'; did you mean"):
        assess(family_of("scaled-kl"), blobs, by=[name + "x"])


def test_groups_of_estimators_hold_registered_names() -> None:
    assert {*BOUNDS, *LAPLACE} <= set(ESTIMATORS)


def test_every_structure_of_curvature_is_an_estimator() -> None:
    assert {f"laplace-{structure}" for structure in STRUCTURES} == set(LAPLACE)
