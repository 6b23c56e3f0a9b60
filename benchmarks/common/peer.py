"""Torch-Pruning (Fang et al. 2023, DepGraph) as a user would run it well: train dense, cut, train on.

A recipe says when it cuts, by which of the library's importances, and whether the learning rate starts a second cycle after the
first cut (rewinding, Renda et al. 2020). Ranking is global, without the last layer; a layer keeps 2% of its channels, for
otherwise global ranking empties whole layers. Several cuts follow a geometric course. Cutting makes new parameters, so the
optimiser begins anew after each.

Torch-Pruning is no dependency of netdial: ``pip install torch-pruning``.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.core.noise import generator
from netdial.data import Dataset
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.penalty import decay
from netdial.train import schedules
from netdial.train.feed import TensorFeed
from netdial.train.optimiser import build_optimizer

NOT_INSTALLED = (
    "Torch-Pruning is not installed, so there is nothing to compare with: pip install torch-pruning"
)
_FINEST = 400
"""Steps in which a cut is made: each removes the same number of channels, and the size is looked at after each."""
_EXAMPLES = 1024
"""Training examples behind a gradient for Taylor importance."""


@dataclass(frozen=True)
class Recipe:
    """A way of training and cutting.

    Attributes:
        importance: ``lamp``, ``magnitude`` (L2) or ``taylor``; for the group of a channel, as the library has them.
        first: share of training before the first cut.
        last: share of training before the last cut.
        cuts: number of cuts.
        rewind: whether the learning rate runs through a second cycle after the first cut.
    """

    importance: str
    first: float
    last: float
    cuts: int
    rewind: bool

    def __str__(self) -> str:
        """Returns a short name."""
        return f"{self.importance} x{self.cuts}{' rewind' if self.rewind else ''}"

    def epochs(self, total: int) -> list[int]:
        """Returns after which epochs it cuts."""
        span = (self.last - self.first) / max(self.cuts - 1, 1)
        return [round(total * (self.first + span * number)) for number in range(self.cuts)]


def installed() -> bool:
    """Returns whether Torch-Pruning is there."""
    return importlib.util.find_spec("torch_pruning") is not None


def pruned(
    net: nn.Module, data: Dataset, recipe: Recipe, *, sizes: Sequence[int], config: ShrinkConfig
) -> list[tuple[nn.Module, float]]:
    """Returns a network for each size, and its seconds of processor time; the dense part is trained once and counted in each.

    Args:
        net: network to start from, a sequence of modules; changed.
        data: training part.
        recipe: how.
        sizes: parameters wanted, at most.
        config: optimiser, rate, batches, epochs, weight penalty and seed, as in our own run.
    """
    epochs = config.known_epochs
    at = recipe.epochs(epochs)
    begin = time.process_time()
    _train(net, data, config, (0, at[0]), (0, at[0] if recipe.rewind else epochs))
    dense = time.process_time() - begin
    cycle = (at[0] if recipe.rewind else 0, epochs)
    found = []
    for size in sizes:
        begin, small = time.process_time(), copy.deepcopy(net)
        start = count(small)
        for number, (now, until) in enumerate(zip(at, [*at[1:], epochs], strict=True), start=1):
            goal = start * (size / start) ** (number / recipe.cuts)
            cut(small, data, goal, recipe.importance, seed=config.seed)
            _train(small, data, config, (now, until), cycle)
        found.append((small, dense + time.process_time() - begin))
    return found


def count(net: nn.Module) -> int:
    """Returns the number of parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def cut(net: nn.Module, data: Dataset, goal: float, importance: str, *, seed: int) -> None:
    """Removes channels until at most ``goal`` parameters are left."""
    pruning: Any = importlib.import_module("torch_pruning")
    kinds: dict[str, Callable[[], Any]] = {
        "lamp": pruning.importance.LAMPImportance,
        "magnitude": pruning.importance.GroupMagnitudeImportance,
        "taylor": pruning.importance.GroupTaylorImportance,
    }
    net.eval()
    pruner = pruning.pruner.BasePruner(
        net,
        data.inputs(torch.arange(2)),
        importance=kinds[importance](),
        global_pruning=True,
        pruning_ratio=1.0,
        max_pruning_ratio=0.98,
        iterative_steps=_FINEST,
        ignored_layers=[list(net.children())[-1]],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    for step in range(_FINEST):
        if count(net) <= goal:
            break
        if importance == "taylor" and step % 16 == 0:
            net.zero_grad()
            x, y = _draw(data, seed, step)
            F.cross_entropy(net(x), y).backward()
        pruner.step()
    net.zero_grad(set_to_none=True)


def _draw(data: Dataset, seed: int, step: int) -> tuple[Tensor, Tensor]:
    index = torch.randperm(len(data), generator=generator(seed, "taylor", step))[:_EXAMPLES]
    return data.inputs(index), data.y[index]


def _train(
    net: nn.Module,
    data: Dataset,
    config: ShrinkConfig,
    epochs: tuple[int, int],
    cycle: tuple[int, int],
) -> None:
    """Trains from one epoch to another within a cycle of the learning rate, in the order of our own run."""
    feed = TensorFeed(data, batch_size=config.known_batch_size, seed=config.seed)
    optimizer = build_optimizer([{"params": list(net.parameters())}], config)
    wide = [weight for weight in net.parameters() if weight.ndim > 1]
    lam2 = config.for_rows(len(data)).known_lam2
    factor = schedules.onecycle((cycle[1] - cycle[0]) * feed.steps)
    net.train()
    for epoch in range(*epochs):
        for step, (x, y, *_) in enumerate(feed.epoch(epoch)):
            rate = config.known_lr * factor((epoch - cycle[0]) * feed.steps + step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            decay(wide, lam2, rate=rate)
