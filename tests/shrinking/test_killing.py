"""Killing rules: what every rule keeps to, and the numbers of each."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.core.errors import CheckpointError, ConfigError, ShapeError
from netdial.shrinking.killing import KILLING, make_rule

CASES: list[tuple[str, dict[str, float]]] = [
    ("zero", {}),
    ("threshold", {"threshold": 0.3}),
    ("sign-change", {}),
    ("sign-variance", {"gamma": 0.0}),
    ("sign-variance", {"gamma": 0.9}),
    ("hysteresis", {"low": 0.3, "high": 0.9, "patience": 2}),
]
cases = pytest.mark.parametrize(("name", "parameters"), CASES)
levels = st.sampled_from([-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0])


@st.composite
def histories(draw: st.DrawFn) -> Tensor:
    """θ of C channels over some updates ``[updates, C]``."""
    channels, updates = draw(st.integers(1, 5)), draw(st.integers(2, 12))
    flat = draw(st.lists(levels, min_size=channels * updates, max_size=channels * updates))
    return torch.tensor(flat).reshape(updates, channels)


def updates_to_death(name: str, thetas: list[float], **parameters: float) -> int:
    """Number of the first update, the start not counted, at which a channel is dead; -1 for never."""
    rule = make_rule(name, **parameters)
    for count, theta in enumerate(thetas):
        if bool(rule.update(torch.tensor([theta]))):
            return count
    return -1


def test_every_rule_is_held_to_the_contract() -> None:
    assert {name for name, _ in CASES} == set(KILLING)


@cases
@given(history=histories())
def test_death_is_told_for_each_channel(
    name: str, parameters: dict[str, float], history: Tensor
) -> None:
    rule = make_rule(name, **parameters)
    alone = [make_rule(name, **parameters) for _ in history[0]]
    for theta in history:
        before = theta.clone()
        dead = rule.update(theta.requires_grad_())
        assert dead.dtype == torch.bool
        assert dead.shape == theta.shape
        assert torch.equal(theta, before)
        singles = [r.update(t[None]) for r, t in zip(alone, theta, strict=True)]
        assert torch.equal(dead, torch.cat(singles))


@cases
@given(history=histories(), data=st.data())
def test_cut_commutes_with_update(
    name: str, parameters: dict[str, float], history: Tensor, data: st.DataObject
) -> None:
    channels = history.shape[1]
    chosen = data.draw(st.lists(st.integers(0, channels - 1), min_size=1, unique=True))
    keep = torch.tensor(sorted(chosen))
    when = data.draw(st.integers(0, len(history) - 1))
    whole, cut = make_rule(name, **parameters), make_rule(name, **parameters)
    for count, theta in enumerate(history):
        if count == when:
            cut.cut(keep)
        dead = whole.update(theta)
        found = cut.update(theta if count < when else theta[keep])
        assert torch.equal(found, dead if count < when else dead[keep])
    assert set(cut.state()) == set(whole.state())
    for key, held in whole.state().items():
        assert torch.equal(cut.state()[key], held[keep])


@cases
@given(history=histories(), data=st.data())
def test_a_restored_rule_goes_on_as_before(
    name: str, parameters: dict[str, float], history: Tensor, data: st.DataObject
) -> None:
    when = data.draw(st.integers(0, len(history) - 1))
    rule, other = make_rule(name, **parameters), make_rule(name, **parameters)
    for theta in history[:when]:
        rule.update(theta)
    saved = rule.state()
    other.restore(saved)
    kept = {key: held.clone() for key, held in saved.items()}
    for theta in history[when:]:
        assert torch.equal(rule.update(theta), other.update(theta))
    assert all(torch.equal(saved[key], kept[key]) for key in kept)


@cases
@given(history=histories())
def test_what_is_set_to_zero_stays_dead(
    name: str, parameters: dict[str, float], history: Tensor
) -> None:
    rule = make_rule(name, **parameters)
    dead = torch.zeros(history.shape[1], dtype=torch.bool)
    for theta in history:
        now = rule.update(theta.masked_fill(dead, 0))
        assert bool((now | ~dead).all())
        dead = now


@cases
def test_a_rule_says_what_it_does(name: str, parameters: dict[str, float]) -> None:
    assert (inspect.getdoc(KILLING[name]) or "").startswith("Dead ")
    rule = make_rule(name, **parameters)
    for key, value in parameters.items():
        assert f"{key}={value}" in repr(rule)


LASTING = [1.0] + [-1.0] * 60
ALTERNATING = [1.0, -1.0] * 30


@pytest.mark.parametrize(
    ("gamma", "lasting", "alternating"), [(0, 1, 1), (0.9, 2, 3), (0.99, 16, 33)]
)
def test_sign_variance_is_a_delayed_test_of_the_first_crossing(
    gamma: float, lasting: int, alternating: int
) -> None:
    """Numbers of the original code, threshold 0.5."""
    assert updates_to_death("sign-variance", LASTING, gamma=gamma) == lasting
    assert updates_to_death("sign-variance", ALTERNATING, gamma=gamma) == alternating


@given(
    signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=2, max_size=30), gamma=st.floats(0, 0.99)
)
def test_sign_variance_is_the_recursion_of_the_original(signs: list[float], gamma: float) -> None:
    average, variance, expected = signs[0], 0.0, -1
    for count, sign in enumerate(signs):
        away = sign - average
        variance = gamma * variance + (1 - gamma) * away**2
        average = gamma * average + (1 - gamma) * sign
        if variance > 0.5 and expected < 0:
            expected = count
    rule = make_rule("sign-variance", gamma=gamma)
    found = [bool(rule.update(torch.tensor([s * 3], dtype=torch.float64))) for s in signs]
    assert found == [0 <= expected <= count for count in range(len(signs))]


def test_sign_variance_lets_a_switch_rest_on_zero() -> None:
    assert updates_to_death("sign-variance", [1.0] + [0.0] * 100, gamma=0.9) == -1
    assert updates_to_death("sign-variance", [1.0] + [0.0] * 100, gamma=0.0) == 1


def test_sign_change_kills_at_the_first_change_and_at_zero_for_good() -> None:
    rule = make_rule("sign-change")
    history = [[1.0, -1, 1, 0], [0.1, 0.1, 0, 1], [1, -1, 1, 1]]
    found = [rule.update(torch.tensor(theta)).tolist() for theta in history]
    assert found[0] == [False, False, False, True]
    assert found[1] == found[2] == [False, True, True, True]


def test_threshold_and_zero_look_at_the_moment() -> None:
    theta = torch.tensor([0.5, -0.1, 0.1001, 0.0, -0.0, 1e-30])
    assert make_rule("threshold", threshold=0.1001).update(theta).tolist() == [
        *(False, True, False, True, True, True),
    ]
    assert make_rule("zero").update(theta).tolist() == [False, False, False, True, True, False]


@pytest.mark.parametrize(
    ("thetas", "expected"),
    [
        ([1, 0.1, 0.1, 0.1], 3),
        ([0.1, -0.1, 0.1], 2),
        ([1, 0.1, 0.1, 0.5, 0.5, 0.1], 5),  # between the bounds: the count waits
        ([1, 0.1, 0.1, 0.9, 0.1, 0.1, -0.1], 6),  # at the upper bound it starts again
        ([1, 0.1, 0.1, -0.9, 0.1, 0.1], -1),
        ([0.2, 0.2, 0.2], 2),  # the lower bound counts
        ([0.3] * 9, -1),
    ],
)
def test_hysteresis_counts_and_forgets_only_at_the_upper_bound(
    thetas: list[float], expected: int
) -> None:
    found = updates_to_death("hysteresis", thetas, low=0.2, high=0.9, patience=3)
    assert found == expected


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("threshold", {"threshold": 0}, r"Threshold\(threshold=0\): expected a number above 0"),
        ("sign-variance", {"gamma": 1}, r"gamma=1\): expected a number in \[0, 1\)"),
        ("sign-variance", {"threshold": 4}, r"threshold=4\): expected a number in \(0, 4\)"),
        ("hysteresis", {"low": -1}, r"low=-1\): expected 0 or more"),
        ("hysteresis", {"low": 0.2, "high": 0.2}, r"high=0.2\): expected more than low=0.2"),
        ("hysteresis", {"patience": 0}, r"patience=0\): expected a whole number of updates"),
        ("hysteresis", {"patience": 1.5}, r"patience=1.5\): expected a whole number"),
        ("hysteresis", {"low": float("nan")}, "low=nan"),
        (
            "hysteresis",
            {"patients": 3},
            "unknown hysteresis parameter 'patients'; did you mean 'patience'",
        ),
        ("hystersis", {}, "unknown killing rule 'hystersis'; did you mean 'hysteresis'"),
    ],
)
def test_wrong_parameters_are_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_rule(name, **parameters)


def test_thetas_and_states_that_do_not_fit_are_refused() -> None:
    rule = make_rule("hysteresis")
    rule.update(torch.ones(3))
    with pytest.raises(
        ShapeError, match="theta has 2 channels, count was held for 3; cut the rule"
    ):
        rule.update(torch.ones(2))
    with pytest.raises(ShapeError, match=r"theta is \[3, 1\], expected \[C\]"):
        rule.update(torch.ones(3, 1))
    with pytest.raises(
        CheckpointError,
        match=r"SignChange: the saved state holds \['count'\], expected \['dead', 'sign'\]",
    ):
        make_rule("sign-change").restore(rule.state())
    with pytest.raises(CheckpointError, match="Zero"):
        make_rule("zero").restore(rule.state())
