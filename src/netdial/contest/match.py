"""Match: one data set, one seed and a processor time, the same for every contender; and what a contender gives back.

A contender is one function ``Match -> Guess`` in ``CONTENDERS``. It trains on ``train``, makes every choice on ``valid``, and
never sees ``test``. To add one, write the function in a file of ``contenders/`` and name that file there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, NonFiniteError
from netdial.core.registry import Registry
from netdial.data.dataset import Dataset, Splits
from netdial.data.memory.weights import weighted
from netdial.jobs.presets import PRESETS
from netdial.measure.forward import outputs
from netdial.task import Task, task_of
from netdial.train.schedules import usual_batch_size, usual_rate

T = TypeVar("T")

_SETTINGS = ("batch_size", "lr")
"""Settings of a data set's preset that all networks are trained with."""

_FEW = 64
"""Rows that a contender is warmed up on."""

_LONGER = 3
"""How many times longer each training is than the one before, while lengths are tried."""


@dataclass(frozen=True)
class Guess:
    """What a contender chose.

    Attributes:
        outputs: outputs ``[N, O]`` for the inputs of a part, as a network gives them: logits, or means of the targets.
        valid: its loss on the validation part, which it was chosen by.
        params: parameters of a network; nan for anything else.
        chosen: settings that it chose, plain values.
    """

    outputs: Callable[[Dataset], Tensor]
    valid: float
    params: float = math.nan
    chosen: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """What every contender is given.

    Attributes:
        train: training part.
        valid: validation part.
        task: what is predicted, in the units of the data.
        n_outputs: outputs that a network needs.
        net: makes the network from a seed.
        seconds: processor time for everything a contender does before it is tested.
        seed: seed of everything random.
        settings: batch size and learning rate of networks, by name.
        augment: how training images are varied.
    """

    train: Dataset
    valid: Dataset
    task: Task
    n_outputs: int
    net: Callable[[int], nn.Module]
    seconds: float
    seed: int
    settings: Mapping[str, Any]
    augment: str | None = None

    @classmethod
    def of(
        cls, splits: Splits, net: Callable[[int], nn.Module], seconds: float, seed: int
    ) -> Match:
        """Returns the match on a data set, with the batch size and learning rate that ``netdial fit`` has there.

        Raises:
            ConfigError: there is more than a class, or a row of numbers, for an example.
        """
        rows, shape = len(splits.train), splits.input_shape
        known: dict[str, Any] = {"batch_size": usual_batch_size(rows)}
        if len(shape) == 1:
            known["lr"] = usual_rate(rows, shape[0])
        known |= PRESETS.get(splits.name, {})
        task = task_of(splits)
        if task.targets not in ("classes", "numbers"):
            raise ConfigError(
                f"data {splits.name!r}: contenders predict a class, or numbers, for each example; the task is {task.name}"
            )
        train = weighted(splits.train, None, task.targets)
        return cls(
            train,
            splits.valid,
            task,
            splits.n_outputs,
            net,
            seconds,
            seed,
            {name: known[name] for name in _SETTINGS if name in known},
            splits.augment,
        )

    def small(self) -> Match:
        """Returns a match on a few rows that ends as soon as it can: what loads at a first call is then loaded."""
        few = self.train.select(torch.arange(min(_FEW, len(self.train))))
        return replace(self, train=few, seconds=0.0)

    def loss(self, found: Tensor, part: Dataset) -> float:
        """Returns the loss that choices are made by; infinite where it is no number."""
        value = self.task.metrics(found, part.y, [self.task.proper])[self.task.proper]
        return value if math.isfinite(value) else math.inf

    def of_network(self, net: nn.Module, **chosen: Any) -> Guess:
        """Returns the guess of a trained network."""
        count = sum(p.numel() for p in net.parameters())
        return Guess(
            lambda part: outputs(net, part),
            self.loss(outputs(net, self.valid), self.valid),
            float(count),
            chosen,
        )


CONTENDERS: Registry[Callable[[Match], Guess]] = Registry("contender")
"""Contenders by name."""


def lengths(train: Callable[[int], T], seconds: float, most: int = 100_000) -> Iterator[T]:
    """Yields what training for 1, 3, 9 … epochs gives, each anew, then for as long as there is time left.

    How long an epoch takes is seen on the way, and a length that is too long is noticed on validation data.

    Args:
        train: trains for so many epochs.
        seconds: processor time in all.
        most: most epochs.

    Raises:
        NonFiniteError: one epoch diverges; where more epochs do, what was trained before counts.
    """
    began, epochs = time.process_time(), 1
    while True:
        start = time.process_time()
        try:
            yield train(epochs)
        except NonFiniteError:
            if epochs == 1:
                raise
            return
        now = time.process_time()
        taken, left = now - start, seconds - (now - began)
        more = int(min(_LONGER, left / max(taken, 1e-9)) * epochs)
        if more <= epochs or epochs >= most:
            return
        epochs = min(more, most)


def best(guesses: Iterator[Guess]) -> Guess:
    """Returns the guess of least validation loss; of equals the first."""
    return min(guesses, key=lambda guess: guess.valid)
