"""What every contender owes: a choice made on validation data, outputs as of a network, and the time that it was given."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from netdial.contest import contenders
from netdial.contest.match import CONTENDERS, Guess, Match, best, lengths
from netdial.contest.smaller import SMALLER
from netdial.core.errors import NonFiniteError
from netdial.data import load_data
from netdial.data.dataset import Dataset
from netdial.nets import build
from netdial.runs.curves import WHOLE
from netdial.task import Task, named
from netdial.train.schedules import usual_rate

assert contenders.__all__


def _part(kind: str, rows: int, seed: int) -> Dataset:
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=source)
    signal = x @ torch.tensor([2.0, -1.0, 0.0])
    if kind == "classification":
        return Dataset(x, (signal > 0).long())
    return Dataset(x, torch.stack([signal, -signal], 1) + 0.1)


def _match(kind: str, seconds: float = 0.3) -> Match:
    task: Task = named(kind)
    return Match(
        _part(kind, 64, 0),
        _part(kind, 32, 1),
        task,
        2,
        lambda seed: build("mlp:4", input_shape=(3,), n_outputs=2, seed=seed),
        seconds,
        0,
        {"batch_size": 16, "lr": 1e-2},
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("name", list(CONTENDERS))
def test_it_gives_outputs_and_the_loss_it_chose_by(name: str, kind: str) -> None:
    if name.startswith("Optuna"):
        pytest.importorskip("optuna")
    match = _match(kind, 0.05 if name.startswith("netdial") else 0.3)
    guess = CONTENDERS[name](match)
    found = guess.outputs(match.valid)
    assert found.shape == (32, 2)
    assert guess.valid == pytest.approx(match.loss(found, match.valid), rel=1e-5)
    other = guess.outputs(_part(kind, 5, 2))
    assert other.shape == (5, 2) and bool(other.isfinite().all())


def test_all_networks_of_a_table_have_the_rate_that_a_family_has() -> None:
    splits = replace(load_data("diabetes"), name="own")
    match = Match.of(splits, lambda seed: build("mlp:4", input_shape=(10,), n_outputs=1), 1.0, 0)
    assert match.settings["lr"] == usual_rate(len(splits.train), 10) > 0.01
    assert Match.of(load_data("diabetes"), match.net, 1.0, 0).settings["lr"] == 0.01  # its preset


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALLER))
def test_a_rival_of_a_small_network_is_about_as_small(name: str) -> None:
    match = replace(
        _match("classification"),
        net=lambda seed: build("mlp:24", input_shape=(3,), n_outputs=2, seed=seed),
    )
    whole = sum(p.numel() for p in match.net(0).parameters())
    guess = SMALLER[name](match, 60)
    found = guess.outputs(match.valid)
    assert guess.valid == pytest.approx(match.loss(found, match.valid), rel=1e-5)
    one_channel = 3 + 1 + 2
    assert abs(guess.params - (whole if name == WHOLE else 60)) < one_channel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one network", "grid of 8", "boosted trees", "linear model"])
def test_it_learns_what_there_is_to_learn(name: str) -> None:
    match = _match("classification", 1.0)
    assert CONTENDERS[name](match).valid < 0.6 * match.loss(
        torch.zeros(32, 2), match.valid
    )  # of a coin


def test_a_class_that_training_never_saw_has_a_probability() -> None:
    match = _match("classification")
    one = match.train.y == 1
    match = Match(**{**vars(match), "train": match.train.select(one.nonzero()[:40, 0])})
    for name in ("boosted trees", "linear model", "constant"):
        assert math.isfinite(CONTENDERS[name](match).valid)


class Clock:
    """A processor clock that training moves: an epoch takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("netdial.contest.match.time.process_time", lambda: self.now)

    def train(self, epochs: int) -> int:
        self.now += epochs
        return epochs


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, [1]), (2, [1]), (13, [1, 3, 9]), (30, [1, 3, 9, 17]), (20, [1, 3, 9])],
)
def test_lengths_fill_the_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float, expected: list[int]
) -> None:
    clock = Clock(monkeypatch)
    assert list(lengths(clock.train, seconds)) == expected
    assert clock.now <= max(seconds, 1)


def test_a_length_that_diverges_ends_the_search_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def train(epochs: int) -> int:
        if epochs > limit:
            raise NonFiniteError("the loss is nan")
        return clock.train(epochs)

    limit = 3
    assert list(lengths(train, 100)) == [1, 3]
    limit = 0
    with pytest.raises(NonFiniteError):
        list(lengths(train, 100))


def test_the_best_is_that_of_least_validation_loss() -> None:
    guesses = [Guess(lambda part: part.x, valid) for valid in (2.0, 1.0, 1.0, math.inf)]
    assert best(iter(guesses)) is guesses[1]
