"""Optimisers by name, with a rate of its own for the spread of the posterior."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from netdial.core.errors import ConfigError, unknown
from netdial.family.family import Family
from netdial.family.maps import StackedMap, TableMap
from netdial.train import schedules
from netdial.train.config import FitConfig, TrainConfig
from netdial.train.schedules import Schedule


def optimizer_names() -> list[str]:
    """Returns the optimisers of ``torch.optim`` that need no closure."""
    found = vars(torch.optim).items()
    return sorted(
        name
        for name, kind in found
        if inspect.isclass(kind)
        and issubclass(kind, torch.optim.Optimizer)
        and name not in ("Optimizer", "LBFGS", "SparseAdam")
    )


_WHOLE_TENSORS = ("Adafactor", "Muon")
"""Optimisers whose step of a number looks at other numbers of its tensor."""


def moves_numbers_apart(config: TrainConfig) -> bool:
    """Returns whether the optimiser moves every number by its own gradients alone."""
    return config.optimizer not in _WHOLE_TENSORS


def make_optimizer(family: Family, config: FitConfig, n_rows: int = 0) -> torch.optim.Optimizer:
    """Returns the optimiser of a family: spreads (log_std) at ``std_rate`` times ``lr``, everything else at ``lr``.

    What is frozen is not given to it, so that no rule of an optimiser (weight decay) can move it.

    Args:
        family: the family.
        config: settings.
        n_rows: training examples; 0 where they are not known.
    """
    rate = _peak_rate(family, config, n_rows)
    spread: list[nn.Parameter] = [p for made in family.spreads for p in made.parameters()]
    held = {id(parameter) for parameter in spread}
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in family.parameters() if id(p) not in held and p.requires_grad],
            "lr": rate,
        }
    ]
    if spread:
        groups.append({"params": spread, "lr": rate * config.std_rate})
    return build_optimizer(groups, config)


def _peak_rate(family: Family, config: FitConfig, n_rows: int) -> float:
    """Returns the peak learning rate of a family: given, or the usual one, which a family of perceptrons adapts to its data.

    A posterior was not measured and keeps the usual rate, as other optimisers and trainings that start from a network do.
    """
    if config.lr is not None or not n_rows or config.optimizer != "Adam":
        return config.known_lr
    if family.chain is None or family.is_random or family.anchor is not None:
        return config.known_lr
    return schedules.usual_rate(n_rows, family.chain.links[0].shape[1])


def build_optimizer(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    """Returns the optimiser that the settings name.

    Args:
        groups: parameters and their rates.
        config: settings.

    Raises:
        ConfigError: the name is unknown, or the optimiser does not take these parameters.
    """
    names = optimizer_names()
    if config.optimizer not in names:
        raise unknown("optimizer", config.optimizer, names)
    kind: Any = getattr(torch.optim, config.optimizer)
    accepted = inspect.signature(kind).parameters
    extra: dict[str, Any] = {}
    if config.momentum:
        if "momentum" not in accepted:
            raise ConfigError(
                f"optimizer {config.optimizer} takes no momentum; leave it out, or choose SGD"
            )
        extra["momentum"] = config.momentum
    if "fused" in accepted:
        extra["fused"] = not any(p.is_complex() for group in groups for p in group["params"])
    try:
        optimizer: torch.optim.Optimizer = kind(groups, **extra)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"optimizer {config.optimizer} cannot train these parameters ({error}); choose another, for example Adam"
        ) from None
    return optimizer


def drop_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Forgets gradients: ``zero_grad`` without its hooks, which cost a small step more than its products."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def clip_gradients(family: Family, limit: float) -> None:
    """Clips the norm of the gradient; rows of a table, and families in a row, are apart, so each by itself."""
    mean = family.mean
    if not isinstance(mean, TableMap | StackedMap):
        torch.nn.utils.clip_grad_norm_(family.parameters(), limit)
        return
    count = len(mean.rows) if isinstance(mean, TableMap) else mean.count
    maps: list[TableMap | StackedMap] = list(family.maps.values())
    grads = [one.pivots.grad.view(count, -1) for one in maps if one.pivots.grad is not None]
    norms = torch.stack([grad.square().sum(dim=1) for grad in grads]).sum(dim=0).sqrt()
    for grad in grads:
        grad.mul_((limit / (norms + 1e-6)).clamp_max(1)[:, None])
    if len(family.shared):
        torch.nn.utils.clip_grad_norm_(family.shared, limit)


class Rates:
    """Sets the rates of an optimiser step by step: those it came with, times a schedule.

    What ``LambdaLR`` does, without the time that its hooks take of a small step.

    Attributes:
        steps: optimiser steps so far.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        self._optimizer = optimizer
        self._schedule = schedule
        self._full = [group["lr"] for group in optimizer.param_groups]
        self.steps = 0
        self._set()

    @property
    def now(self) -> list[float]:
        """The rates of the coming step."""
        return [float(group["lr"]) for group in self._optimizer.param_groups]

    def step(self) -> None:
        """Goes on to the next optimiser step."""
        self.steps += 1
        self._set()

    def _set(self) -> None:
        factor = self._schedule(self.steps)
        for group, full in zip(self._optimizer.param_groups, self._full, strict=True):
            group["lr"] = full * factor


def make_rates(optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int) -> Rates:
    """Returns the learning-rate schedule over ``steps`` optimiser steps."""
    made = {
        "onecycle": lambda: schedules.onecycle(steps),
        "cosine": lambda: schedules.cosine(steps),
        "constant": schedules.constant,
    }
    return Rates(optimizer, made[config.schedule]())
