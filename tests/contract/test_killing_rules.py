"""What every killing rule must keep to with its own settings, whatever they are. A new one is enrolled by its name."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from netdial.core.errors import CheckpointError, ConfigError, ShapeError
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.killing import KILLING, make_rule

names = pytest.mark.parametrize("name", list(KILLING))


def history(updates: int = 120, channels: int = 4) -> Tensor:
    """θ of channels that rest, shrink to 0, swing around 0 and grow."""
    time = torch.linspace(0, 1, updates)[:, None]
    paths = [
        torch.ones_like(time),
        (1 - 2 * time).clamp_min(0),
        (-1) ** torch.arange(updates)[:, None] * 0.5,
        1 + time,
    ]
    return torch.cat(paths[:channels], dim=1)


@names
def test_it_is_made_by_its_defaults_and_shows_them(name: str) -> None:
    rule = make_rule(name)
    settings = [f for f in fields(rule) if f.init]
    assert all(f"{f.name}=" in repr(rule) for f in settings)
    assert make_rule(name, **{f.name: getattr(rule, f.name) for f in settings}) == rule
    with pytest.raises(ConfigError, match=f"unknown {name} parameter 'strength'"):
        make_rule(name, strength=1.0)


@names
def test_settings_that_cannot_be_are_refused_by_value(name: str) -> None:
    for setting in (f.name for f in fields(make_rule(name)) if f.init):
        for wrong in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match=setting):
                make_rule(name, **{setting: wrong})


@names
def test_a_channel_that_rests_lives_and_one_at_0_is_dead(name: str) -> None:
    rule = make_rule(name)
    for theta in history():
        dead = rule.update(theta)
    assert dead.dtype == torch.bool and dead.shape == (4,)
    assert not dead[0] and not dead[3]
    if name != "sign-variance":  # a θ that comes to rest at exactly 0 is half a change of sign
        assert dead[1]


@names
def test_memory_is_saved_restored_and_cut_at_any_time(name: str) -> None:
    keep = torch.tensor([1, 3])
    for when in (0, 1, 40, 100):
        whole, part = make_rule(name), make_rule(name)
        for count, theta in enumerate(history()):
            if count == when:
                saved = {key: held.clone() for key, held in part.state().items()}
                part = make_rule(name)
                part.restore(saved)
                part.cut(keep)
            dead = whole.update(theta)
            found = part.update(theta if count < when else theta[keep])
            assert torch.equal(found, dead if count < when else dead[keep])


@names
def test_theta_of_another_shape_and_foreign_memory_are_refused(name: str) -> None:
    rule = make_rule(name)
    with pytest.raises(ShapeError, match=r"\[C\]"):
        rule.update(torch.ones(2, 2))
    rule.update(torch.ones(3))
    if rule.state():
        with pytest.raises(ShapeError, match="4 channels"):
            rule.update(torch.ones(4))
    with pytest.raises(CheckpointError, match="foreign"):
        make_rule(name).restore({"foreign": torch.ones(3)})


@names
def test_shrinking_takes_it_by_name_and_its_docstring_says_when_a_channel_is_dead(
    name: str,
) -> None:
    assert ShrinkConfig(kill=name).rule == name
    assert (inspect.getdoc(KILLING[name]) or "").startswith("Dead ")
