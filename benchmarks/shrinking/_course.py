"""What the figures of shrinking share: a task cut to a size, a network by name, one run of ``shrink`` and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from netdial.data import Dataset, Splits, load_data
from netdial.measure import outputs
from netdial.nets import build
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.shrink import Shrunk, shrink
from netdial.train.config import make


@dataclass(frozen=True)
class Course:
    """A network, data and a recipe.

    Attributes:
        data: name of the data set.
        model: network to start from.
        examples: training examples that are used.
        settings: of the training.
    """

    data: str
    model: str
    examples: int
    settings: Mapping[str, Any]

    def task(self) -> Splits:
        """Returns the data."""
        task = load_data(self.data, flat=self.model.startswith("mlp"))
        return replace(
            task, train=task.train.select(torch.arange(min(self.examples, len(task.train))))
        )

    def net(self, task: Splits, seed: int) -> nn.Module:
        """Returns the network at the start."""
        return build(self.model, input_shape=task.input_shape, n_outputs=task.n_outputs, seed=seed)

    def shrink(self, task: Splits, seed: int, **settings: object) -> Shrunk:
        """Returns the shrunken network."""
        config = self.config(seed, **settings)
        return shrink(self.net(task, seed), task.train, kind=task.kind, config=config)

    def config(self, seed: int, **settings: object) -> ShrinkConfig:
        """Returns the settings of a run."""
        return make(ShrinkConfig, {**self.settings, "seed": seed, **settings})


def accuracy(net: nn.Module, part: Dataset) -> float:
    """Returns the share of examples that a network gets right."""
    return float((outputs(net, part).argmax(1) == part.y.cpu()).float().mean())
