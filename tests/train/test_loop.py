"""The loop: interrupted and resumed is the same as never interrupted, bit by bit; early stopping; what is reported."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import CheckpointError, NonFiniteError
from netdial.core.storage.container import load_tree, save_tree
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.task import Classification
from netdial.train.config import FitConfig, make_config
from netdial.train.feed import Batch, TensorFeed
from netdial.train.loop import Epoch, Progress, resume, train
from netdial.train.method import FamilyMethod, FamilyState
from netdial.train.session import Interrupted

IDENTITY = {"seed": 0, "lams": (), "map": "piecewise"}


class Run:
    """Everything of a small training run, made afresh."""

    def __init__(self, data: tuple[Tensor, Tensor], config: FitConfig, net: nn.Module) -> None:
        torch.manual_seed(3)
        for module in net.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        part = Dataset(*data)
        self.feed = TensorFeed(part, batch_size=config.batch_size, seed=config.seed)
        self.config = config
        self.method = FamilyMethod(
            config, task=Classification(), n_data=len(part), steps=self.feed.steps
        )
        self.state = self.method.init(Family(net, config.family()))
        self.epochs: list[Epoch] = []
        self.progress = Progress()

    def train(self, **options: Any) -> Progress:
        return train(
            self.method,
            self.state,
            self.feed,
            epochs=self.config.epochs,
            report=self.epochs.append,
            progress=self.progress,
            **options,
        )

    def resume(self, checkpoint: Path) -> None:
        self.progress = resume(self.state, checkpoint, IDENTITY)

    def interrupted_at(self, step: int, checkpoint: Path, **options: Any) -> None:
        def advance(now: int, total: int) -> None:
            if now == step:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Interrupted, match=f"stopped at step {step}"):
            self.train(checkpoint=checkpoint, identity=IDENTITY, advance=advance, **options)


def numbers(tree: Any) -> Iterator[Any]:
    """All leaves of a state, in order."""
    if isinstance(tree, dict):
        for value in tree.values():
            yield from numbers(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from numbers(value)
    else:
        yield tree


def assert_same(first: FamilyState, second: FamilyState) -> None:
    a, b = list(numbers(first.tree())), list(numbers(second.tree()))
    assert len(a) == len(b)
    for one, two in zip(a, b, strict=True):
        assert torch.equal(one, two) if isinstance(one, Tensor) else one == two


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 3))


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "cosine-adamw": {"optimizer": "AdamW", "schedule": "cosine", "warmup": 1.5, "clip": 0.5},
    "nadam-independent": {"optimizer": "NAdam", "sampling": "independent", "groups": 3},
    "l2-momentum": {
        "objective": "l2",
        "optimizer": "SGD",
        "momentum": 0.9,
        "map": "lowrank",
        "lr": 1e-2,
    },
    "gated": {"map": "gated", "objective": "scaled-prior"},
    "joint": {"joint": 1 / 3},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETTINGS))
@pytest.mark.parametrize("stop", [2, 5, 8])
def test_resumed_run_is_bit_equal(
    name: str, stop: int, blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Five steps an epoch: the stops lie inside the first epoch, at its end, and inside the second."""
    config = make_config(**{"epochs": 3, "batch_size": 12, "groups": 4, **SETTINGS[name]})
    path = tmp_path / "state"
    whole = Run(blobs, config, mlp())
    whole.train()

    Run(blobs, config, mlp()).interrupted_at(stop, path)
    torch.manual_seed(99)  # a new process has other global random numbers
    rest = Run(blobs, config, mlp())
    rest.resume(path)
    assert rest.state.step == stop
    rest.train(checkpoint=path, identity=IDENTITY)
    assert_same(rest.state, whole.state)


@pytest.mark.parametrize("joint", [0.0, 1 / 3, 0.5])
def test_statistics_of_normalisation_are_resumed_too(
    joint: float, blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    config = make_config(epochs=2, batch_size=20, groups=4, joint=joint)
    whole, first, rest = (Run(blobs, config, normalised()) for _ in range(3))
    whole.train()
    first.interrupted_at(2, tmp_path / "state")
    rest.resume(tmp_path / "state")
    rest.train()
    assert_same(rest.state, whole.state)


def test_buffers_that_members_share_are_resumed_too(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Spectral normalisation moves its singular vectors in training; they are buffers of the network."""

    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.utils.parametrizations.spectral_norm(nn.Linear(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x)
            return out

    config = make_config(epochs=2, batch_size=20, groups=4)
    whole, first, rest = (Run(blobs, config, Spectral()) for _ in range(3))
    whole.train()
    first.interrupted_at(2, tmp_path / "state")
    rest.resume(tmp_path / "state")
    rest.train()
    assert_same(rest.state, whole.state)


def test_buffers_that_grow_in_training_are_resumed_too(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(5, 3)
            self.register_buffer("cache", torch.zeros(1, 3))
            self.register_buffer("last", None)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x)
            if self.training:
                self.last = out.detach().mean(0)
                self.cache = torch.cat([self.cache, self.last[None]])
            return out + self.cache.mean(0)

    config = make_config(epochs=2, batch_size=20, groups=4)
    whole, first, rest = (Run(blobs, config, Remembers()) for _ in range(3))
    whole.train()
    first.interrupted_at(2, tmp_path / "state")
    rest.resume(tmp_path / "state")
    assert len(rest.state.family.net.cache) > 1
    rest.train()
    assert_same(rest.state, whole.state)
    assert torch.equal(rest.state.family.net.last, whole.state.family.net.last)


def test_interrupt_at_the_end_of_an_epoch_still_measures_it(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Otherwise the validation of that epoch would be lost, and early stopping would not resume as it was."""
    config = make_config(epochs=4, batch_size=12, groups=4)
    validate = iter([3.0, 2.0, 1.0, 0.5])
    first = Run(blobs, config, mlp())
    first.interrupted_at(5, tmp_path / "state", validate=lambda family: next(validate), patience=2)
    assert [epoch.valid for epoch in first.epochs] == [3.0]
    rest = Run(blobs, config, mlp())
    rest.resume(tmp_path / "state")
    assert (rest.progress.step, rest.state.step, rest.progress.best) == (5, 5, 3.0)
    rest.train(validate=lambda family: next(validate), patience=2)
    assert [epoch.number for epoch in rest.epochs] == [2, 3, 4]


def test_signal_in_the_last_epoch_lets_it_end(blobs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    config = make_config(epochs=1, batch_size=12, groups=4)
    run = Run(blobs, config, mlp())

    def advance(now: int, total: int) -> None:
        if now == total:
            os.kill(os.getpid(), signal.SIGTERM)

    run.train(checkpoint=tmp_path / "state", advance=advance)
    assert [epoch.number for epoch in run.epochs] == [1]


def test_handlers_of_signals_are_put_back(blobs: tuple[Tensor, Tensor]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    Run(blobs, make_config(epochs=1, batch_size=30, groups=2), mlp()).train()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_finished_run_has_nothing_left_to_do(blobs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    config = make_config(epochs=2, batch_size=12, groups=4)
    whole = Run(blobs, config, mlp())
    whole.train(checkpoint=tmp_path / "state", identity=IDENTITY)
    again = Run(blobs, config, mlp())
    again.resume(tmp_path / "state")
    again.train()
    assert again.epochs == []
    assert_same(again.state, whole.state)


def test_epochs_are_reported(blobs: tuple[Tensor, Tensor]) -> None:
    config = make_config(epochs=3, batch_size=12, groups=4, ends=False, joint=0)
    run, told = Run(blobs, config, mlp()), []
    run.train(advance=lambda step, total: told.append((step, total)))
    assert told == [(step, 15) for step in range(1, 16)]
    assert [epoch.number for epoch in run.epochs] == [1, 2, 3]
    assert [epoch.step for epoch in run.epochs] == [5, 10, 15]
    for epoch in run.epochs:
        assert {n: tuple(part.shape) for n, part in epoch.measured.items()} == dict.fromkeys(
            ("unit", "fit", "complexity"), (20,)
        )
        assert epoch.seconds > 0 and epoch.valid is None
        assert sorted((epoch.measured["unit"] * 4).floor().tolist()) == sorted([0, 1, 2, 3] * 5)
    assert run.epochs[-1].lr == pytest.approx(0, abs=1e-9)


class Still:
    """A method that moves nothing."""

    def step(self, state: FamilyState, batch: Batch) -> dict[str, Tensor]:
        return {"loss": torch.zeros(1)}


@pytest.mark.parametrize(
    ("values", "patience", "epochs"),
    [
        ([3.0, 2.0, 1.0, 0.5, 0.4], 1, 5),
        ([3.0, 3.0, 3.0, 3.0, 3.0], 1, 2),
        ([3.0, 4.0, 2.0, 5.0, 6.0], 2, 5),
        ([3.0, 4.0, 5.0, 1.0, 1.0], 2, 3),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0, 5),
    ],
)
def test_early_stopping(
    values: list[float], patience: int, epochs: int, blobs: tuple[Tensor, Tensor]
) -> None:
    run = Run(blobs, make_config(epochs=5, batch_size=60, groups=2), mlp())
    given, modes = iter(values), []

    def validate(family: Family) -> float:
        modes.append(family.training)
        return next(given)

    seen: list[Epoch] = []
    progress = train(
        Still(),
        run.state,
        run.feed,
        epochs=5,
        report=seen.append,
        validate=validate,
        patience=patience,
    )
    assert len(seen) == epochs
    assert [e.valid for e in seen] == values[:epochs]
    assert modes == [False] * epochs and run.state.family.training
    assert progress.best == min(values[:epochs])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("patience", [0, 2])
def test_a_validation_objective_that_is_no_number_is_an_error(
    value: float, patience: int, blobs: tuple[Tensor, Tensor]
) -> None:
    run = Run(blobs, make_config(epochs=5, batch_size=60, groups=2), mlp())
    given = iter([3.0, value])
    with pytest.raises(NonFiniteError, match=f"step 2: the validation objective is {value}"):
        train(
            Still(),
            run.state,
            run.feed,
            epochs=5,
            progress=run.progress,
            report=lambda epoch: None,
            validate=lambda family: next(given),
            patience=patience,
        )
    assert run.progress.best == 3.0


def test_resume_with_other_settings_names_them(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    config = make_config(epochs=1, batch_size=30, groups=2)
    run = Run(blobs, config, mlp())
    run.train(checkpoint=tmp_path / "state", identity=IDENTITY)
    run.resume(tmp_path / "state")
    with pytest.raises(
        CheckpointError, match=r"other settings \(seed: 0 -> 1, map: 'piecewise' -> 'linear'\)"
    ):
        resume(run.state, tmp_path / "state", {**IDENTITY, "seed": 1, "map": "linear"})


def test_resume_of_another_network_says_so(blobs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    config = make_config(epochs=1, batch_size=30, groups=2)
    Run(blobs, config, mlp()).train(checkpoint=tmp_path / "state")
    other = Run(blobs, config, nn.Linear(5, 3))
    with pytest.raises(CheckpointError, match="does not fit this network"):
        resume(other.state, tmp_path / "state", {})


def test_resume_from_a_damaged_file_says_so(blobs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    run = Run(blobs, make_config(epochs=1, batch_size=30, groups=2), mlp())
    (tmp_path / "state").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="not a netdial file, or damaged"):
        resume(run.state, tmp_path / "state", {})


def test_processes_that_train_together_stop_together(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Another process was interrupted, not this one: it stops at the same step all the same."""
    run = Run(blobs, make_config(epochs=2, batch_size=12, groups=4), mlp())
    asked: list[bool] = []

    def agree(answer: bool) -> bool:
        asked.append(answer)
        return len(asked) == 3

    with pytest.raises(Interrupted, match="stopped at step 3"):
        run.train(checkpoint=tmp_path / "state", agree=agree)
    assert asked == [False] * 3
    assert (tmp_path / "state").exists()


def test_checkpoints_of_an_earlier_netdial_are_read(
    blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """They kept what is the loop's own in the state of the method, and what was measured as three tensors."""
    config = make_config(epochs=2, batch_size=12, groups=4)
    whole, first, rest = (Run(blobs, config, mlp()) for _ in range(3))

    def falling(run: Run) -> Callable[[Family], float]:
        return lambda family: 1.0 / (1 + run.state.step)

    whole.train(patience=3, validate=falling(whole))
    first.interrupted_at(7, tmp_path / "new", patience=3, validate=falling(first))
    new = load_tree(tmp_path / "new", "checkpoint")
    loop = new.pop("loop")
    new["state"] |= {**loop, "seen": [loop["seen"][n] for n in ("unit", "fit", "complexity")]}
    save_tree(tmp_path / "old", new, "checkpoint")
    rest.resume(tmp_path / "old")
    assert (rest.progress.step, rest.progress.best) == (7, 1 / 6)
    rest.train(patience=3, validate=falling(rest))
    assert_same(rest.state, whole.state)
    for name, part in whole.epochs[-1].measured.items():
        assert torch.equal(part, rest.epochs[-1].measured[name])
