"""Plans: what is cut is what is masked, plans compose, and JSON gives them back."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import ConfigError, ShapeError
from netdial.core.plan import Group, Plan, Slot

SHAPES = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (2, 8)}
GROUPS = (
    Group(
        "a",
        (
            Slot("a.weight", 0, ((0,), (1,), (2,), (3,))),
            Slot("a.bias", 0, ((0,), (1,), (2,), (3,))),
            Slot("b.weight", 1, ((0, 1), (2, 3), (4, 5), (6, 7))),
        ),
    ),
    Group("in", (Slot("a.weight", 1, ((0,), (1,), (2,))),)),
)
some = st.sets(st.integers(0, 3), max_size=3)


def plan_of(channels: set[int], columns: set[int] = frozenset()) -> Plan:  # type: ignore[assignment]
    return Plan.remove(GROUPS, {"a": channels, "in": columns}, SHAPES)


@given(channels=some, columns=st.sets(st.integers(0, 2), max_size=2))
def test_what_is_cut_is_what_is_not_masked(channels: set[int], columns: set[int]) -> None:
    plan = plan_of(channels, columns)
    assert bool(plan) == bool(channels | columns)
    for leaf, shape in SHAPES.items():
        tensor = torch.arange(1.0, 1 + torch.Size(shape).numel()).view(shape)
        assert torch.equal(plan.cut(leaf, tensor).flatten(), tensor[plan.mask(leaf, shape)])


@given(first=some, second=st.data())
def test_then_is_one_after_the_other(first: set[int], second: st.DataObject) -> None:
    one = plan_of(first)
    left = 4 - len(first)
    gone = second.draw(st.sets(st.integers(0, left - 1), max_size=left - 1))
    shapes = {
        leaf: tuple(one.cut(leaf, torch.zeros(shape)).shape) for leaf, shape in SHAPES.items()
    }
    slots = [
        Slot("a.weight", 0, tuple((p,) for p in range(left))),
        Slot("a.bias", 0, tuple((p,) for p in range(left))),
        Slot("b.weight", 1, tuple((2 * p, 2 * p + 1) for p in range(left))),
    ]
    two = Plan.remove([Group("a", tuple(slots))], {"a": gone}, shapes)
    for leaf, shape in SHAPES.items():
        tensor = torch.randn(shape)
        both = one.then(two).cut(leaf, tensor)
        assert torch.equal(both, two.cut(leaf, one.cut(leaf, tensor)))
    survivors = [channel for channel in range(4) if channel not in first]
    assert one.then(two) == plan_of(first | {survivors[channel] for channel in gone})


@given(channels=some, columns=st.sets(st.integers(0, 2), max_size=2))
def test_json_gives_the_plan_back(channels: set[int], columns: set[int]) -> None:
    plan = plan_of(channels, columns)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_asking_for_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown group 'c'"):
        Plan.remove(GROUPS, {"c": [0]}, SHAPES)
    with pytest.raises(ConfigError, match=r"group a: channels 0…4 asked for, it has 0…3"):
        plan_of({0, 4})
    with pytest.raises(ConfigError, match="group a: all 4 channels would go; keep at least one"):
        plan_of({0, 1, 2, 3})
    with pytest.raises(ShapeError, match=r"leaf a.weight of shape \[2, 3\] has no position 3"):
        plan_of({0}).cut("a.weight", torch.zeros(2, 3))


@pytest.mark.parametrize(
    "plain",
    [{}, {"cuts": {"a": {"x": [0]}}, "removed": {}}, {"cuts": [], "removed": {}}],
)
def test_what_is_not_a_plan_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="plan: not a plan"):
        Plan.from_json(plain)


@pytest.mark.parametrize("kept", [[1, 0], [0, 0], [-1, 2]])
def test_survivors_have_to_ascend(kept: list[int]) -> None:
    with pytest.raises(ConfigError, match="leaf a, dimension 0: survivors have to be ascending"):
        Plan.from_json({"cuts": {"a": {"0": kept}}, "removed": {}})
