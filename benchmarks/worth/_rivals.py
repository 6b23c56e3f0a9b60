"""Plain networks as rivals of a family, in a given processor time: grids trained in one loop, one network, Optuna's TPE.

All have the family's layers, start, optimizer, learning-rate schedule and batch size. Networks of a grid are stacked into one
batched product, the quickest way to train many small ones; each goes back to its own best of 25 checks on validation data.

Shapes: K networks, n examples, D inputs, H hidden units, O outputs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common.problems import Problem
from benchmarks.worth._penalties import PENALTIES
from netdial.choice.averaging import pseudo_bma
from netdial.data.dataset import Dataset
from netdial.task import named
from netdial.train.schedules import onecycle

CHECKS = 25
_TIMED = 12


@dataclass(frozen=True)
class Chosen:
    """The network of a rival that has the least validation loss.

    Attributes:
        valid, test: its loss: log loss, or RMSE.
        lam: its penalty's weight.
        steps: steps of each network.
        seconds: processor time spent in all.
    """

    valid: float
    test: float
    lam: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Stack:
    """K perceptrons with one hidden layer, trained side by side.

    Attributes:
        weights: weights and biases of the layers, ``[K, ...]`` each.
    """

    weights: list[Tensor]

    @classmethod
    def of(cls, nets: Sequence[nn.Module]) -> Stack:
        """Returns copies of networks, ready to train."""
        leaves = zip(*(net.parameters() for net in nets), strict=True)
        return cls([torch.stack([p.detach() for p in leaf]).requires_grad_() for leaf in leaves])

    def outputs(self, x: Tensor) -> Tensor:
        """Returns ``[K, n, O]`` for inputs ``[n, D]``."""
        first, bias, second, shift = self.weights
        hidden = torch.baddbmm(bias[:, None], x.expand(len(first), *x.shape), first.mT).relu()
        return torch.baddbmm(shift[:, None], hidden, second.mT)


@dataclass(frozen=True)
class Trained:
    """A grid of networks.

    Attributes:
        stack: the networks.
        valid: least validation loss of each ``[K]``.
        steps: steps of each.
        seconds: processor time spent in all.
    """

    stack: Stack
    valid: Tensor
    steps: int
    seconds: float


def grid(
    problem: Problem,
    net: nn.Module,
    seconds: float,
    *,
    lams: Sequence[float],
    **how: Any,
) -> Chosen:
    """Returns the network of least validation loss of a grid that is trained in a given processor time; see ``trained``."""
    return best_of(problem, trained(problem, net, seconds, lams=lams, **how), lams)


def best_of(problem: Problem, made: Trained, lams: Sequence[float]) -> Chosen:
    """Returns the network of least validation loss of a trained grid."""
    winner = int(made.valid.argmin())
    with torch.no_grad():
        outputs, y = _of(made.stack, problem.test)
        tested = losses(problem, outputs, y)
    return Chosen(
        float(made.valid[winner]), float(tested[winner]), lams[winner], made.steps, made.seconds
    )


def average_of(problem: Problem, made: Trained) -> float:
    """Returns the test loss of a grid averaged as ``netdial.average`` does members of a family."""
    task = named(problem.kind)
    with torch.no_grad():
        outputs, y = _of(made.stack, problem.valid)
        nats = task.loss(outputs, y).double()
        if problem.kind == "regression":
            nats = outputs.shape[2] * nats / (2 * nats.mean(1).min())
        tested, y = _of(made.stack, problem.test)
        weights = pseudo_bma(nats).to(tested)[:, None, None]
        mean = (weights * task.to_mean(tested)).sum(0)
        return float(losses(problem, task.of_mean(mean)[None], y)[0])


def _of(stack: Stack, part: Dataset) -> tuple[Tensor, Tensor]:
    """Returns outputs ``[K, n, O]`` on all rows of a part, and its targets."""
    return stack.outputs(part.inputs(torch.arange(len(part))).flatten(1)), part.y


def trained(
    problem: Problem,
    net: nn.Module,
    seconds: float,
    *,
    norm: str,
    lams: Sequence[float],
    lr: float,
    seed: int,
    batch_size: int = 32,
    stops: bool = True,
    centred: bool = False,
    starts: Sequence[nn.Module] | None = None,
) -> Trained:
    """Trains plain networks with a penalty of ``PENALTIES``, λ times and divided by N, in a given processor time.

    Args:
        problem: the data.
        net: the start: linear, ReLU, linear.
        seconds: processor time for everything: timing of a step, training and checks.
        norm: which penalty.
        lams: λ of each network.
        lr: peak learning rate.
        seed: order of the examples.
        batch_size: examples in a batch.
        stops: whether each goes back to its best check.
        centred: whether the penalty counts from the start, w - w₀, in place of zero.
        starts: a start for each of the networks; by default ``net`` for all.
    """
    began = time.process_time()
    weight = torch.tensor(lams)
    train, valid = problem.train, problem.valid
    x, y = train.inputs(torch.arange(len(train))).flatten(1), train.y
    checked = valid.inputs(torch.arange(len(valid))).flatten(1), valid.y
    nets = [net] * len(lams) if starts is None else starts
    stack, source = Stack.of(nets), torch.Generator().manual_seed(seed)
    centre = [p.detach().clone() if centred else torch.zeros_like(p) for p in stack.weights]
    order = torch.zeros(0, dtype=torch.long)
    size = min(batch_size, len(x))

    def step(one: Stack, optimizer: torch.optim.Optimizer) -> None:
        nonlocal order
        if len(order) < size:
            order = torch.cat([order, torch.randperm(len(x), generator=source)])
        rows, order = order[:size], order[size:]
        fit = _nats(problem, one.outputs(x[rows]), y[rows])
        moved = (
            [p - c for p, c in zip(one.weights, centre, strict=True)] if centred else one.weights
        )
        penalty = sum(PENALTIES[norm](p).flatten(1).sum(1) for p in moved)
        optimizer.zero_grad()
        (fit + weight * penalty / len(x)).sum().backward()
        optimizer.step()

    trial = Stack.of(nets)
    spare = torch.optim.Adam(trial.weights, lr=1e-5, fused=True)
    step(trial, spare)
    check = _timed(lambda: losses(problem, trial.outputs(checked[0]), checked[1]), 3)
    each = _timed(lambda: step(trial, spare), _TIMED)
    left = seconds - (time.process_time() - began) - CHECKS * check
    steps = max(CHECKS, round(left / each))
    optimizer = torch.optim.Adam(stack.weights, lr=lr, fused=True)
    best = torch.full((len(lams),), math.inf)
    kept = [p.detach().clone() for p in stack.weights]
    factor = onecycle(steps)
    at = {round(steps * (i + 1) / CHECKS) for i in range(CHECKS)}
    for done in range(steps):
        optimizer.param_groups[0]["lr"] = lr * factor(done)
        step(stack, optimizer)
        if done + 1 in at:
            with torch.no_grad():
                now = losses(problem, stack.outputs(checked[0]), checked[1])
                better = now < best
                best = torch.where(better, now, best)
                for old, new in zip(kept, stack.weights, strict=True):
                    old[better] = new[better]
    last = kept if stops else [p.detach() for p in stack.weights]
    return Trained(Stack(last), best, steps, time.process_time() - began)


def losses(problem: Problem, outputs: Tensor, y: Tensor) -> Tensor:
    """Returns log loss, or RMSE, ``[K]`` for outputs ``[K, n, O]``."""
    if problem.kind == "regression":
        return (outputs - y).square().mean((1, 2)).sqrt()
    return _nats(problem, outputs, y)


def _nats(problem: Problem, outputs: Tensor, y: Tensor) -> Tensor:
    if problem.kind == "regression":
        return 0.5 * (outputs - y).square().sum(2).mean(1)
    count = len(outputs)
    each = F.cross_entropy(outputs.flatten(0, 1), y.repeat(count), reduction="none")
    return each.view(count, -1).mean(1)


def _timed(work: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times
