"""What every registered criterion must keep to: shape, order, determinism, sources. A new one is enrolled by its name."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.pruning.weights import CRITERIA, importance, prune
from netdial.pruning.weights.criteria import OF_A_NORMAL, WITHOUT_DATA

LAMS = [0.01, 1.0, 50.0]
names = pytest.mark.parametrize("name", list(CRITERIA))


def family_of(**options: object) -> Family:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    family = Family(net, FamilyConfig(map="linear", **options))  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=source))
    return family.eval()


@names
def test_importances_are_numbers_for_every_member(name: str, blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    found = importance(family, LAMS, name, data=blobs)
    assert found.shape == (3, family.layout.size)
    assert not found.requires_grad
    assert bool(found.isfinite().all())
    assert found.float().unique().numel() > family.layout.size / 2


@names
def test_the_same_question_has_the_same_answer(name: str, blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    state = torch.get_rng_state()
    first, second = (importance(family, LAMS, name, data=blobs, seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state()), "nothing draws from torch's own generator"


@names
def test_a_member_is_judged_by_itself(name: str, blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    whole = importance(family, LAMS, name, data=blobs)
    for row, lam in zip(whole, LAMS, strict=True):
        alone = importance(family, [lam], name, data=blobs)[0]
        assert torch.allclose(row, alone, rtol=1e-4, atol=1e-6)


@names
def test_double_precision_gives_the_same_order(name: str, blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    single = importance(family, [1.0], name, data=blobs)[0].double()
    double = importance(family.double(), [1.0], name, data=blobs)[0].double()
    assert torch.allclose(single, double, rtol=1e-2, atol=1e-4 * float(double.abs().max()))


@names
def test_a_family_of_points_is_judged_or_refused_with_the_names_that_work(
    name: str, blobs: tuple[Tensor, Tensor]
) -> None:
    family = family_of(posterior="point")
    if name in OF_A_NORMAL:
        with pytest.raises(
            ConfigError, match=r"point posterior has none; choose magnitude, .*random"
        ):
            importance(family, LAMS, name, data=blobs)
    else:
        assert importance(family, LAMS, name, data=blobs).shape == (3, family.layout.size)


@names
def test_data_are_asked_for_where_they_are_needed(name: str) -> None:
    family = family_of()
    if name in WITHOUT_DATA:
        assert importance(family, LAMS, name).shape == (3, family.layout.size)
    else:
        with pytest.raises(
            ConfigError, match=rf"'{name}' measures the loss on training data.*density"
        ):
            importance(family, LAMS, name)


@names
def test_what_was_pruned_before_is_pruned_again(name: str, blobs: tuple[Tensor, Tensor]) -> None:
    once = prune(family_of(), 1.0, 0.4, data=blobs)
    assert once.kept is not None
    twice = prune(once, 1.0, 0.6, criterion=name, data=blobs)
    assert twice.kept is not None
    assert bool((twice.kept <= once.kept).all())
    n = 5 * 7 + 7 * 3
    assert int((~twice.kept).sum()) == round(0.6 * n)


@names
def test_its_docstring_says_what_it_returns_and_names_a_source(name: str) -> None:
    said = inspect.getdoc(CRITERIA[name]) or ""
    assert said.startswith("Returns")
    assert name == "random" or "(" in said


@names
def test_an_unknown_neighbour_is_corrected(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown criterion '{name}x'; did you mean"):
        importance(family_of(), LAMS, name + "x")
