"""Training of one network of a search space from fresh weights, by the training loop; and its loss on a part of the data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import NonFiniteError
from netdial.core.noise import seeded
from netdial.core.outputs import ROWS, evaluating, keep_freed_memory
from netdial.data.dataset import Dataset
from netdial.data.memory.loader import Loader
from netdial.structure.derived import DerivedNetwork
from netdial.structure.search.strategy import Tried
from netdial.task import Task
from netdial.train.config import TrainConfig
from netdial.train.feed import Batch
from netdial.train.loop import train
from netdial.train.optimiser import Rates, build_optimizer, drop_gradients, make_rates
from netdial.train.session import least_examples, make_feed, with_lengths


@dataclass
class NetworkState:
    """What training of one network changes."""

    net: nn.Module
    optimizer: torch.optim.Optimizer | None
    rates: Rates | None
    step: int = 0

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        return self.net

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self.rates.now[0] if self.rates is not None else 0.0

    @property
    def n_updates(self) -> int:
        """Updates of single numbers so far."""
        return self.step * sum(p.numel() for p in self.net.parameters())

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values, for a checkpoint."""
        return {
            "net": dict(self.net.state_dict()),
            "optimizer": self.optimizer.state_dict() if self.optimizer is not None else {},
            "step": self.step,
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes over what ``tree`` gave."""
        self.net.load_state_dict(tree["net"])
        self.step = tree["step"]
        if self.optimizer is not None and self.rates is not None:
            self.optimizer.load_state_dict(tree["optimizer"])
            self.rates.steps = self.step


@dataclass(frozen=True)
class NetworkMethod:
    """Steps of one network along the gradient of its loss.

    Attributes:
        config: settings.
        task: what is predicted.
    """

    config: TrainConfig
    task: Task

    def init(self, net: nn.Module, steps: int) -> NetworkState:
        """Returns the state before the first of so many steps; a network without parameters has nothing to move."""
        parameters = [p for p in net.parameters() if p.requires_grad]
        if not parameters:
            return NetworkState(net, None, None)
        optimizer = build_optimizer(
            [{"params": parameters, "lr": self.config.known_lr}], self.config
        )
        return NetworkState(net, optimizer, make_rates(optimizer, self.config, steps))

    def step(self, state: NetworkState, batch: Batch) -> dict[str, Tensor]:
        """Makes one step; returns the loss before it, ``fit`` ``[1]`` in nats per example.

        Raises:
            NonFiniteError: the loss is not a finite number.
        """
        with seeded(self.config.seed, state.step):
            nll = self.task.nll(state.net(batch.x), batch.y)
        if batch.weight is not None:
            nll = nll * batch.weight.to(nll)
        loss = batch.share * nll.mean()
        if not bool(torch.isfinite(loss)):
            raise NonFiniteError(
                f"step {state.step}: the loss is {float(loss.detach()):g}; lower lr, or set clip to 1"
            )
        state.step += 1
        if state.optimizer is not None and state.rates is not None:
            drop_gradients(state.optimizer)
            loss.backward()
            if self.config.clip:
                torch.nn.utils.clip_grad_norm_(state.net.parameters(), self.config.clip)
            state.optimizer.step()
            state.rates.step()
        return {"fit": loss.detach().view(1)}


def train_network(
    net: nn.Module,
    data: Dataset | Loader,
    task: Task,
    config: TrainConfig,
    *,
    augment: str | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> int:
    """Trains a network in place, and returns how many gradients of single examples it took."""
    first, config = next(net.parameters(), torch.zeros(1)), with_lengths(config, data)
    feed = make_feed(
        data,
        config,
        augment=augment,
        dtype=first.dtype,
        device=first.device,
        least=least_examples(net),
    )
    method = NetworkMethod(config, task)
    epochs = config.known_epochs
    state = method.init(net, epochs * feed.steps)
    train(method, state, feed, epochs=epochs, report=lambda epoch: None, advance=advance)
    net.eval()
    return epochs * feed.n_data


def try_network(
    net: DerivedNetwork,
    data: Dataset | Loader,
    valid: Dataset,
    task: Task,
    config: TrainConfig,
    *,
    augment: str | None = None,
) -> Tried:
    """Trains a derived network in place and returns what came of it; one that diverges has an infinite loss."""
    begun, config = time.process_time(), with_lengths(config, data)
    try:
        examples = train_network(net, data, task, config, augment=augment)
        loss = mean_loss(net, valid, task)
    except NonFiniteError:
        examples, loss = config.known_epochs * _size(data), math.inf
    if math.isnan(loss):  # which every comparison would take for the least
        loss = math.inf
    taken = time.process_time() - begun
    return Tried(net.genotype, config.known_epochs, loss, examples, taken)


def losses(
    net: nn.Module, data: Dataset, task: Task, run: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Returns the negative log-likelihood of each example ``[N]`` in nats.

    Args:
        net: the network; examples are put into its precision.
        data: examples.
        task: what is predicted.
        run: how outputs follow from inputs, where it is not a call of the network.
    """
    keep_freed_memory()
    first, found = next(net.parameters(), torch.zeros(())), []
    for rows in torch.arange(len(data)).split(ROWS):
        x, y = (
            part.to(first.dtype) if part.is_floating_point() else part
            for part in (data.inputs(rows), data.y[rows])
        )
        found.append(task.nll((run or net)(x), y))
    return torch.cat(found)


def mean_loss(net: nn.Module, data: Dataset, task: Task) -> float:
    """Returns the weighted mean of the negative log-likelihood, in nats; of a network in evaluation mode."""
    with evaluating(net):
        return weighted_mean(losses(net, data, task), data)


def weighted_mean(values: Tensor, data: Dataset) -> float:
    """Returns the mean over the examples of a part, with its weights."""
    if data.weight is None:
        return float(values.mean())
    weight = data.weight.to(values)
    return float((weight * values).sum() / weight.sum())


def error_of_mean(values: Tensor, data: Dataset) -> float:
    """Returns the standard error of ``weighted_mean``; nan where fewer than two examples count."""
    weight = torch.ones_like(values) if data.weight is None else data.weight.to(values)
    count = int((weight > 0).sum())
    if count < 2:
        return math.nan
    share = weight / weight.sum()
    apart = values - (share * values).sum()
    return float((share * apart).square().sum().sqrt()) * math.sqrt(count / (count - 1))


def _size(data: Dataset | Loader) -> int:
    return sum(data.sizes) if isinstance(data, Loader) else len(data)
