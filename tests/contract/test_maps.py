"""What every registered map must keep to: its start, its cut, its shapes. A new map is enrolled by its name."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.layout import Layout
from netdial.family.maps import MAPS, Map, MapOptions

LAYOUT = Layout(
    ("conv", "bias", "dense", "scale", "scalar"), ((4, 3, 2, 2), (4,), (2, 4), (1,), ())
)
ROWS = (0.0, 0.25, 0.25, 0.5, 1.0)
units = st.lists(st.sampled_from(ROWS), min_size=1, max_size=4)
flags = st.booleans()
names = pytest.mark.parametrize("name", list(MAPS))


def started(name: str, additive: bool = False) -> tuple[Any, Tensor]:
    source = torch.Generator().manual_seed(0)
    initial = torch.randn(LAYOUT.size, dtype=torch.float64, generator=source)
    options = MapOptions(regions=3, hidden=6, rows=ROWS, additive=additive, seed=1)
    return MAPS[name].start(LAYOUT, initial, options), initial


def perturbed(name: str, seed: int, additive: bool) -> Any:
    """A map with all parameters moved at random, as after training."""
    made, _ = started(name, additive)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, dtype=torch.float64, generator=source))
    return made


def coordinates(unit: list[float]) -> Tensor:
    return torch.tensor(unit, dtype=torch.float64)


@pytest.mark.slow
@names
@given(unit=units, additive=flags)
def test_start_is_the_initial_value_everywhere(
    name: str, unit: list[float], additive: bool
) -> None:
    made, initial = started(name, additive)
    found = made(coordinates(unit))
    assert found.dtype == torch.float64
    assert torch.allclose(found, initial.expand(len(unit), -1), rtol=0, atol=1e-12)


@names
@given(unit=units, seed=st.integers(0, 20), additive=flags, data=st.data())
def test_cut_commutes_with_evaluation(
    name: str, unit: list[float], seed: int, additive: bool, data: st.DataObject
) -> None:
    made = perturbed(name, seed, additive)
    leaf = data.draw(
        st.sampled_from([n for n, shape in zip(LAYOUT.names, LAYOUT.shapes, strict=True) if shape])
    )
    shape = dict(zip(LAYOUT.names, LAYOUT.shapes, strict=True))[leaf]
    dim = data.draw(st.integers(0, len(shape) - 1))
    order = data.draw(st.permutations(range(shape[dim])))
    keep = torch.tensor(order[: data.draw(st.integers(1, shape[dim]))])

    cut = made.cut(leaf, dim, keep)
    before, after = LAYOUT.split(made(coordinates(unit))), cut.layout.split(cut(coordinates(unit)))
    for other in LAYOUT.names:
        expected = before[other].index_select(dim + 1, keep) if other == leaf else before[other]
        assert torch.allclose(after[other], expected, rtol=0, atol=1e-12)


@names
def test_cuts_can_follow_one_another_and_leave_the_original(name: str) -> None:
    made = perturbed(name, 0, additive=False)
    unit = coordinates([0.25, 1.0])
    before = made(unit).clone()
    twice = (
        made.cut("conv", 0, torch.tensor([3, 1]))
        .cut("conv", 1, torch.tensor([2, 0]))
        .cut("bias", 0, torch.tensor([1]))
    )
    found = twice.layout.split(twice(unit))
    expected = LAYOUT.split(before)
    assert torch.allclose(found["conv"], expected["conv"][:, [3, 1]][:, :, [2, 0]])
    assert torch.allclose(found["bias"], expected["bias"][:, [1]])
    with torch.no_grad():
        for parameter in twice.parameters():
            parameter.zero_()
    assert torch.equal(made(unit), before)


@names
def test_values_do_not_depend_on_the_company_they_are_asked_in(name: str) -> None:
    made = perturbed(name, 3, additive=False)
    unit = coordinates([1.0, 0.0, 0.5])
    together = made(unit)
    for row, alone in zip(together, unit, strict=True):
        assert torch.allclose(made(alone[None])[0], row, rtol=0, atol=1e-12)


@names
def test_training_can_reach_every_parameter(name: str) -> None:
    made = perturbed(name, 1, additive=False)
    assert isinstance(made, nn.Module)
    made(coordinates(list(ROWS))).square().sum().backward()
    for parameter_name, parameter in made.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(parameter.grad.isfinite().all())
        assert bool((parameter.grad != 0).any()), parameter_name


@names
def test_state_can_be_loaded_into_a_fresh_map(name: str) -> None:
    made, fresh = perturbed(name, 4, additive=True), started(name, additive=True)[0]
    fresh.load_state_dict(made.state_dict())
    unit = coordinates([0.0, 0.5])
    assert torch.equal(fresh(unit), made(unit))


@names
def test_start_is_the_same_each_time(name: str) -> None:
    first, second = (started(name)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@names
def test_map_has_the_members_of_the_seam_and_says_where_it_comes_from(name: str) -> None:
    kind = MAPS[name]
    assert all(hasattr(kind, member) for member in ("start", "cut", "forward"))
    assert inspect.getdoc(kind)
    assert "20" in (inspect.getdoc(sys.modules[kind.__module__]) or ""), (
        "the module names its source and year"
    )
    made: Map = started(name)[0]
    assert made.layout == LAYOUT
