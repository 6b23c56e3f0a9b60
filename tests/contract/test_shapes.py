"""Shapes that seams declare in their signatures, held against every registered part by jaxtyping."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from netdial.core.layout import Layout
from netdial.core.noise import Noise
from netdial.family.fields import Fields
from netdial.family.maps import MAPS, Map, MapOptions
from netdial.family.posteriors import POSTERIORS
from netdial.family.posteriors.seam import Posterior
from netdial.objective import OBJECTIVES, Objective
from netdial.shrinking.killing import KILLING, KillingRule, make_rule
from netdial.task import TASKS, Task

LAYOUT = Layout(("a", "b"), ((2, 3), (3,)))
K = 4


def held(declared: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function whose tensors are held against a declaration; names of sizes agree within a call."""
    module = vars(sys.modules[declared.__module__])
    hints = typing.get_type_hints(declared, globalns={**vars(jaxtyping), **module})
    names = [n for n in inspect.signature(declared).parameters if n != "self"]

    def checked(*given: Any) -> Any:
        with jaxtyping.jaxtyped("context"):
            for name, value in zip(names, given, strict=False):
                if isinstance(value, Tensor):
                    assert isinstance(value, hints[name]), f"{name}: {tuple(value.shape)}"
            found = call(*given)
            if isinstance(found, Tensor):
                assert isinstance(found, hints["return"]), f"return: {tuple(found.shape)}"
        return found

    return checked


def test_a_part_that_breaks_its_declaration_is_found() -> None:
    unit = torch.rand(5)
    for wrong in (lambda u: u, lambda u: torch.zeros(4, 9), lambda u: torch.zeros(5, 9).long()):
        with pytest.raises(AssertionError, match="return"):
            held(Map.__call__, wrong)(unit)
    with pytest.raises(AssertionError, match="unit"):
        held(Map.__call__, lambda u: u)(unit[None])
    assert held(Map.__call__, lambda u: torch.zeros(5, 9))(unit).shape == (5, 9)


@pytest.mark.parametrize("name", list(MAPS))
def test_maps(name: str) -> None:
    options = MapOptions(regions=2, hidden=3, rows=(0.0, 0.5, 1.0))
    made = held(Map.start, MAPS[name].start)(LAYOUT, torch.randn(9), options)
    held(Map.__call__, made)(torch.tensor([0.0, 0.5, 1.0, 0.5]))
    smaller = held(Map.cut, made.cut)("b", 0, torch.tensor([0, 2]))
    held(Map.__call__, smaller)(torch.tensor([0.5]))


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_objectives(name: str) -> None:
    objective = OBJECTIVES[name]
    spread = None if objective.is_point else torch.full((K, 9), -2.0)
    fields = Fields(LAYOUT, torch.randn(K, 9), spread)
    held(Objective.__call__, objective)(fields, torch.linspace(0.1, 1, K), 1.0)


@pytest.mark.parametrize("name", list(POSTERIORS))
def test_posteriors(name: str) -> None:
    posterior, noise = POSTERIORS[name], Noise(0, 0, range(K))
    leaf = torch.rand(2, 3)
    fields = {n: f.start(leaf, -2.0).expand(K, 2, 3) for n, f in posterior.fields.items()}
    held(Posterior.mean, posterior.mean)(fields)
    held(Posterior.sample, posterior.sample)(fields, noise, posterior.temperature)
    if posterior.random:
        lam = torch.linspace(0.1, 1, K)
        nats = held(Posterior.kl, posterior.kl)(fields, lam, torch.ones(K), noise).nats
        assert nats.shape == (K,)


@pytest.mark.parametrize("name", list(TASKS))
def test_tasks(name: str) -> None:
    task = TASKS[name]()
    classes = task.targets in ("classes", "class maps")
    targets = torch.tensor([0, 1, 1, 0, 1]) if classes else torch.randn(5, 2)
    for outputs in (torch.randn(5, 2), torch.randn(3, 5, 2)):
        held(Task.loss, task.loss)(outputs, targets)
    held(Task.nll, task.nll)(torch.randn(5, 2), targets)


@pytest.mark.parametrize("name", list(KILLING))
def test_killing_rules(name: str) -> None:
    rule = make_rule(name)
    for theta in torch.linspace(1, -1, 6)[:, None].expand(6, 3):
        held(KillingRule.update, rule.update)(theta)
