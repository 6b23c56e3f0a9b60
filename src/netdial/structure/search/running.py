"""Runs of strategies: those by gradient through the training loop, those by trials one structure after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from netdial.core.errors import ConfigError
from netdial.core.noise import seeded
from netdial.data.dataset import Dataset
from netdial.data.memory.loader import Loader
from netdial.structure.graph.space import SearchSpace
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.state import SearchState, StructuredSupernet
from netdial.structure.search.strategy import (
    Asked,
    GradientStrategy,
    Scope,
    StepContext,
    TrialStrategy,
    Tried,
)
from netdial.train.config import TrainConfig
from netdial.train.feed import Batch, Feeds
from netdial.train.loop import Measured
from netdial.train.optimiser import build_optimizer, make_rates
from netdial.train.session import make_feed


@dataclass(frozen=True)
class GradientMethod:
    """A strategy by gradient as a method of the training loop; batches are named ``train`` and ``valid``.

    Attributes:
        strategy: what it does in a step.
        context: what a step is made for.
        config: settings of training.
    """

    strategy: GradientStrategy
    context: StepContext
    config: TrainConfig

    def init(self, space: SearchSpace, device: torch.device | str = "cpu") -> SearchState:
        """Returns the state before the first step."""
        supernet = self.strategy.supernet(space, self.config.seed)
        if self.config.precision == "64-true":
            supernet = supernet.double()
        if not space.choices:
            raise ConfigError(
                f"space {space.name}: leaves nothing to choose; give edges several operations"
            )
        module = StructuredSupernet(supernet, self.strategy.structure(space)).to(device)
        groups = [{"params": list(supernet.parameters()), "lr": self.config.known_lr}]
        weights = build_optimizer(groups, self.config)
        architect = self.strategy.optimizer(list(module.structure))
        return SearchState(
            module, weights, architect, make_rates(weights, self.config, self.context.steps)
        )

    def step(self, state: SearchState, batch: Mapping[str, Batch]) -> Measured:
        """Makes one step of the strategy; what layers draw (dropout) depends on the seed and the step alone."""
        with seeded(self.config.seed, "search", state.step):
            measured = self.strategy.step(state, batch, self.context)
        if self.context.constraint is not None:
            with torch.no_grad():
                self.context.constraint.ascend(state, self.strategy.probabilities(state))
        return measured


def gradient_feeds(
    data: Dataset | Loader, judged: Dataset, config: SearchConfig, device: Any = "cpu"
) -> Feeds:
    """Returns batches of the training part for the weights, with batches of the validation part for the structure.

    Args:
        data: the training part, its weights with mean 1.
        judged: the validation part, its weights with mean 1.
        config: settings.
        device: where batches are put.
    """
    dtype = precision_of(config)
    epochs, batch_size = config.known_epochs, config.known_batch_size
    least = 2 if min(batch_size, len(judged)) > 1 else 1  # BatchNorm has no variance of one
    training = config.training(epochs)
    return Feeds(
        train=make_feed(data, training, device=device, dtype=dtype, least=least),
        valid=make_feed(
            judged, training.changed(seed=config.seed + 1), device=device, dtype=dtype, least=least
        ),
    )


def run_trials(
    strategy: TrialStrategy,
    scope: Scope,
    make: Callable[[Asked], Tried],
    done: list[Tried],
    told: Callable[[Tried], None] = lambda tried: None,
) -> list[Tried]:
    """Returns all results of a search by trials.

    Args:
        strategy: proposes structures.
        scope: what is searched in.
        make: trains a structure.
        done: results of an earlier run of the same search, in order; these are not made again.
        told: told of every new result.

    Raises:
        ConfigError: the strategy proposes nothing at all, since no structure is within the limits; or earlier results are of
            another search.
    """
    results: list[Tried] = []
    waiting = list(done)
    while asked := strategy.propose(scope, results):
        for one in asked:
            if waiting:
                found = waiting.pop(0)
                if (found.genotype, found.epochs) != (one.genotype, one.epochs):
                    raise ConfigError(
                        f"trial {len(results)}: {found.genotype} was tried before, {one.genotype} is asked for; the results "
                        "are of another search"
                    )
            else:
                found = make(one)
                told(found)
            results.append(found)
    if not results:
        raise ConfigError(
            f"space {scope.space.name}: no structure within the limits was found to try"
        )
    return results


def precision_of(config: SearchConfig) -> torch.dtype:
    """Returns the precision of the networks of a search."""
    return torch.float64 if config.precision == "64-true" else torch.float32
