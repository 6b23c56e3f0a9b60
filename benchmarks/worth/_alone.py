"""A plain network that is trained in a given processor time: the rival of a family where networks cannot be stacked."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.worth._penalties import PENALTIES
from netdial.data.dataset import Dataset
from netdial.train.schedules import onecycle

_CHECKS, _WARM, _TIMED = 10, 5, 20


class Alone(NamedTuple):
    """A plain network, its loss on validation data, and the processor time of all."""

    net: nn.Module
    valid: float
    seconds: float


def trained_alone(
    net: nn.Module,
    train: Dataset,
    valid: Dataset,
    seconds: float,
    *,
    norm: str,
    lam: float,
    lr: float,
    seed: int,
    batch_size: int,
    stops: bool = True,
) -> Alone:
    """Trains a copy of a network under a penalty of ``PENALTIES``, λ times and divided by N, by fused Adam and one cycle.

    Args:
        net: the start.
        train: classes to learn.
        valid: data for the checks.
        seconds: processor time for everything: timing of a step, training and checks.
        norm: which penalty.
        lam: its weight; 0 for none.
        lr: peak learning rate.
        seed: order of the examples.
        batch_size: examples in a batch.
        stops: whether the network of the best of ten checks is returned, or that of the last step.
    """
    began = time.process_time()
    net = copy.deepcopy(net).train()
    source, order = torch.Generator().manual_seed(seed), torch.zeros(0, dtype=torch.long)
    x, y = train.inputs(torch.arange(len(train))), train.y
    weight = lam / len(x)

    def step(one: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        nonlocal order
        if len(order) < batch_size:
            order = torch.randperm(len(x), generator=source)
        rows, order = order[:batch_size], order[batch_size:]
        loss = F.cross_entropy(one(x[rows]), y[rows])
        if lam:
            loss = loss + weight * sum(PENALTIES[norm](p).sum() for p in one.parameters())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    trial = copy.deepcopy(net)
    spare = torch.optim.Adam(trial.parameters(), lr=1e-5, fused=True)
    for _ in range(_WARM):
        step(trial, spare)
    checks = _CHECKS if stops else 1
    check = _timed(lambda: log_loss(trial, valid), 1)
    each = _timed(lambda: step(trial, spare), _TIMED)
    steps = max(checks, round((seconds - (time.process_time() - began) - checks * check) / each))
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    factor, at = onecycle(steps), {round(steps * (i + 1) / checks) for i in range(checks)}
    best, kept = math.inf, net
    for done in range(steps):
        optimizer.param_groups[0]["lr"] = lr * factor(done)
        step(net, optimizer)
        if done + 1 in at and (now := log_loss(net, valid)) < best:
            best, kept = now, copy.deepcopy(net)
    return Alone(kept, best, time.process_time() - began)


def log_loss(net: nn.Module, part: Dataset) -> float:
    """Returns the log loss in evaluation mode."""
    training = net.training
    net.eval()
    with torch.no_grad():
        x = part.inputs(torch.arange(len(part)))
        outputs = torch.cat([net(piece) for piece in x.split(500)])
    net.train(training)
    return float(F.cross_entropy(outputs, part.y))


def _timed(work: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times
