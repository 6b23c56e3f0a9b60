"""Plain networks as people train them: one with early stopping, a grid of penalties, Optuna's search of the settings.

All have the same layers, start, batch size, Adam and one-cycle learning rate as netdial's. Each goes back to its best of 25
checks on validation data, and has a share of the time: how long a step takes is measured first.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from netdial.contest.match import CONTENDERS, Guess, Match, best
from netdial.core.errors import missing_extra
from netdial.core.noise import seeded
from netdial.measure.forward import outputs
from netdial.train.config import TrainConfig
from netdial.train.session import make_feed

_CHECKS, _TIMED = 25, 12
_GRID = 8
_GRID_ENDS = (1e-3, 1e2)
_RATES = (1e-3, 3e-2)
_SUM = {"l1": Tensor.abs, "l2": Tensor.square}


@CONTENDERS.add("one network")
def one_network(match: Match) -> Guess:
    """Trains one network without a penalty, with early stopping."""
    return trained(match, match.seconds)


@CONTENDERS.add("grid of 8")
def grid(match: Match) -> Guess:
    """Trains eight networks with λ ‖w‖² / N, λ from 1e-3 to 100, one after another."""
    low, high = _GRID_ENDS
    lams = [low * (high / low) ** (at / (_GRID - 1)) for at in range(_GRID)]
    return best(trained(match, match.seconds / _GRID, norm="l2", lam=lam) for lam in lams)


@CONTENDERS.add("Optuna")
def tuned(match: Match) -> Guess:
    """Trains eight networks whose norm, λ and learning rate Optuna's TPE proposes.

    Raises:
        MissingExtra: Optuna is not installed.
    """
    try:
        optuna: Any = import_module("optuna")
    except ImportError:
        raise missing_extra("Optuna", "sweep") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=match.seed))

    def trials() -> Iterator[Guess]:
        for _ in range(_GRID):
            trial = study.ask()
            guess = trained(
                match,
                match.seconds / _GRID,
                norm=trial.suggest_categorical("norm", list(_SUM)),
                lam=trial.suggest_float("lam", *_GRID_ENDS, log=True),
                lr=trial.suggest_float("lr", *_RATES, log=True),
            )
            study.tell(trial, guess.valid)
            yield guess

    return best(trials())


def trained(
    match: Match, seconds: float, *, norm: str = "l2", lam: float = 0.0, lr: float | None = None
) -> Guess:
    """Trains one network in a processor time."""
    began = time.process_time()
    net = match.net(match.seed)
    config = TrainConfig(**match.settings, seed=match.seed)
    rate = lr or config.known_lr
    parameters = [p for p in net.parameters() if p.requires_grad]
    feed = make_feed(match.train, config, augment=match.augment)
    task = match.task.in_training()

    def step(one: nn.Module, optimizer: torch.optim.Optimizer, batch: Any) -> None:
        loss = task.nll(one(batch.x), batch.y)
        if batch.weight is not None:
            loss = loss * batch.weight.to(loss)
        loss = batch.share * loss.mean()
        if lam:
            sums = torch.stack([_SUM[norm](p).sum() for p in one.parameters() if p.requires_grad])
            loss = loss + lam * sums.sum() / len(match.train)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    trial = copy.deepcopy(net).train()
    spare = torch.optim.Adam(trial.parameters(), lr=1e-4)
    batches = _batches(feed)
    start = time.process_time()
    for _ in range(_TIMED):
        step(trial, spare, next(batches))
    each = (time.process_time() - start) / _TIMED
    start = time.process_time()
    outputs(trial, match.valid)
    check = time.process_time() - start
    left = seconds - (time.process_time() - began) - _CHECKS * check
    steps = max(_TIMED, int(left / max(each, 1e-9)))

    optimizer = torch.optim.Adam(parameters, lr=rate, fused=parameters[0].device.type == "cpu")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    every, loss, kept = max(1, steps // _CHECKS), float("inf"), copy.deepcopy(net.state_dict())
    with seeded(match.seed, "plain network"):
        for now in range(1, steps + 1):
            net.train()
            step(net, optimizer, next(batches))
            schedule.step()
            if now % every == 0 or now == steps:
                found = match.loss(outputs(net, match.valid), match.valid)
                if found < loss:
                    loss, kept = found, copy.deepcopy(net.state_dict())
    net.load_state_dict(kept)
    settings = {"norm": norm, "lam": lam} if lam else {}
    return match.of_network(net.eval(), **settings, lr=rate, steps=steps)


def _batches(feed: Any) -> Iterator[Any]:
    """Yields batches without end."""
    epoch = 0
    while True:
        yield from feed.epoch(epoch)
        epoch += 1
