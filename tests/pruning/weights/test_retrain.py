"""Rounds of pruning and training: schedules, what stays zero, where training goes on from, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.family import Family
from netdial.measure import evaluate
from netdial.pruning.weights import Policy
from netdial.pruning.weights.rounds import RISES, retrain, shares
from netdial.train.fit import fit

SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 20, "lr": 1e-2}


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def part(blobs: tuple[Tensor, Tensor]) -> Dataset:
    return Dataset(*blobs)


@pytest.fixture
def family(part: Dataset) -> Family:
    """Normal posteriors, which become points where an objective takes points alone."""
    settings = {"objective": "scaled-kl", "lam": (1e-2, 1e1)}
    return fit(mlp(), part, epochs=20, batch_size=20, lr=2e-2, **settings)  # type: ignore[arg-type]


@given(st.sampled_from(list(RISES)), st.floats(0, 0.99), st.integers(1, 8))
def test_shares_rise_to_what_was_asked(schedule: str, share: float, rounds: int) -> None:
    found = shares(share, rounds, schedule)
    assert len(found) == rounds
    assert found == sorted(found)
    assert found[-1] == share
    assert all(0 <= value <= share for value in found)


def test_schedules_are_those_of_the_papers() -> None:
    assert shares(0.9, 3, "one-shot") == [0.9, 0.9, 0.9]
    assert shares(0.8, 4, "linear") == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert shares(0.8, 2, "cubic") == pytest.approx([0.8 * (1 - 0.5**3), 0.8])


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("start", ["previous", "random"])
def test_every_round_keeps_fewer_of_the_same_numbers(
    start: str, scope: str, family: Family, part: Dataset
) -> None:
    rounds = retrain(
        family, 0.1, part, share=0.75, rounds=3, start=start, policy=Policy(scope), **SETTINGS  # type: ignore[arg-type]
    )  # fmt: skip
    weights = 5 * 8 + 8 * 3
    previous = torch.ones(family.layout.size, dtype=torch.bool)
    for stage, share in zip(rounds, shares(0.75, 3), strict=True):
        kept = stage.family.kept
        assert kept is not None
        assert stage.kept == int(kept.sum()) == family.n_params - round(share * weights)
        if start == "previous":
            assert not bool((kept & ~previous).any())
        previous = kept
        flat = stage.family.layout.join(stage.family.at(0.1))
        assert torch.equal(flat != 0, kept)
    assert family.kept is None


def test_training_after_pruning_helps(family: Family, part: Dataset) -> None:
    settings = {**SETTINGS, "epochs": 30}
    kept = retrain(family, 0.01, part, share=0.7, rounds=1, **{**settings, "lr": 1e-9})[-1].family
    trained = retrain(family, 0.01, part, share=0.7, rounds=1, **settings)[-1].family
    before, after = (evaluate(m, part, lams=[0.01]).column("nll")[0] for m in (kept, trained))
    assert after < before


@pytest.mark.parametrize("objective", ["l2", "l1"])
def test_a_point_is_trained_on_under_a_norm(objective: str, family: Family, part: Dataset) -> None:
    assert family.log_std is not None
    (only,) = retrain(family, 0.1, part, share=0.5, rounds=1, objective=objective, **SETTINGS)
    assert only.family.log_std is None
    assert only.family.kept is not None


def test_fresh_weights_depend_on_the_seed_alone(family: Family, part: Dataset) -> None:
    def result(seed: int) -> Tensor:
        done = retrain(
            family, 0.1, part, share=0.5, rounds=1, start="random", seed=seed, **SETTINGS
        )
        return done[-1].family.layout.join(done[-1].family.at(0.1))

    torch.manual_seed(1)
    first = result(0)
    torch.manual_seed(2)
    assert torch.equal(first, result(0))
    assert not torch.equal(first, result(1))


class Own(nn.Module):
    """A network with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        """Returns outputs."""
        return x @ self.weight.T


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds=0; expected at least 1"),
        ({"schedule": "cubical"}, "cubic"),
        ({"start": "prevous"}, "previous"),
        ({"share": 1.0}, r"share"),
        ({"criterion": "densty"}, "density"),
        ({"epoch": 3}, "epochs"),
    ],
)
def test_what_is_refused(
    options: dict[str, Any], message: str, family: Family, part: Dataset
) -> None:
    with pytest.raises(ConfigError, match=message):
        retrain(family, 0.1, part, **{"share": 0.5, **SETTINGS, **options})


def test_fresh_weights_need_a_layer_that_can_draw_them(part: Dataset) -> None:
    family = fit(Own(), part, epochs=1, batch_size=20, lam=(1e-2, 1e1))
    with pytest.raises(ConfigError, match=r"Own '' has no reset_parameters\(\)"):
        retrain(family, 0.1, part, share=0.5, rounds=1, start="random", **SETTINGS)
