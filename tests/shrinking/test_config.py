"""Settings of shrinking: defaults that go together, and a message for everything that does not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from netdial.core.errors import ConfigError
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.killing import KILLING
from netdial.train.config import make


def made(**settings: Any) -> ShrinkConfig:
    return make(ShrinkConfig, settings)


def test_the_rule_of_death_follows_the_penalty() -> None:
    assert made().rule == "zero"
    assert made(penalty="subgradient").rule == "sign-change"
    assert made(kill="hysteresis").rule == "hysteresis"
    assert made(size="50k params").rule == "zero"


@pytest.mark.parametrize("kill", sorted(KILLING))
@pytest.mark.parametrize("penalty", ["proximal", "subgradient"])
def test_every_rule_goes_with_every_penalty_but_for_zeros_of_a_gradient(
    kill: str, penalty: str
) -> None:
    if (kill, penalty) == ("zero", "subgradient"):
        with pytest.raises(ConfigError, match="a gradient never makes a switch exactly 0; choose"):
            made(kill=kill, penalty=penalty)
    else:
        assert made(kill=kill, penalty=penalty).rule == kill


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lambda": 1}, "unknown setting 'lambda'; did you mean 'lam'"),
        ({"target": "5 params"}, "unknown setting 'target'"),
        ({"lam": -1e-3}, "lam=-0.001: input should be greater than or equal to 0"),
        ({"lam2": -1}, "lam2=-1"),
        ({"weight_decay": 0.1}, "did you mean 'lam2'"),
        ({"switch_rate": -1}, "switch_rate=-1: input should be greater than or equal to 0"),
        ({"deadline": 0}, "deadline=0: input should be greater than 0"),
        ({"deadline": 1.5}, "deadline=1.5: input should be less than or equal to 1"),
        ({"minimum": 0}, "minimum=0: input should be greater than or equal to 1"),
        ({"collect_every": -1}, "collect_every=-1"),
        ({"power": 3}, "power=3: input should be 1 or 2"),
        ({"penalty": "l0"}, "penalty='l0': input should be 'proximal' or 'subgradient'"),
        ({"weigh": "bytes"}, "weigh='bytes': input should be 'channel', 'params' or 'macs'"),
        ({"start": "half"}, "start='half': input should be 'auto', 'unit' or 'sampled'"),
        ({"lam_schedule": "step"}, "lam_schedule='step'"),
        ({"kill": "treshold"}, "unknown killing rule 'treshold'; did you mean 'threshold'"),
        ({"size": "50k"}, "target '50k'.*unknown unit 'k'"),
        ({"size": "50000"}, r"target '50000': the unit is missing; write for example '50k params'"),
        ({"size": 50_000}, r"size=50000: the unit is missing; write for example '50k params'"),
        ({"size": 0.5}, r"size=0\.5: the unit is missing"),
        ({"size": "50%"}, r"target '50%': a size is counted, not a share"),
        ({"size": "small"}, "target 'small': expected a number and a unit"),
        ({"size": "5 params", "penalty": "subgradient"}, "leave out penalty and kill"),
        ({"size": "5 params", "kill": "zero"}, "fade by proximal steps and die by their worth"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**settings)


@pytest.mark.parametrize(
    ("settings", "n_rows", "lam2"),
    [
        ({}, 30_000, 0.01),
        ({"optimizer": "AdamW"}, 3000, 0.1),
        ({}, 150, 0.3),
        ({"lr": 0.5}, 150, 0.2),
        ({"optimizer": "SGD"}, 150, 1e-4),
        ({"power": 1}, 150, 1e-4),
        ({"lam2": 0.0}, 150, 0.0),
        ({"lam2": 0.7}, 150, 0.7),
    ],
)
def test_few_examples_decay_weights_more(
    settings: dict[str, Any], n_rows: int, lam2: float
) -> None:
    config = made(**settings).for_rows(n_rows)
    assert config.lam2 == config.known_lam2 == pytest.approx(lam2)
    assert config.epochs and config.batch_size
    assert config.for_rows(7).lam2 == config.lam2, "what is set stays"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        made().lam = 1.0


def test_the_settings_can_be_shown_without_torch() -> None:
    code = "import sys, netdial.shrinking.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
