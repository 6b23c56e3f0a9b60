"""Optimisers by name, with a rate of its own for the spread of the posterior."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from netdial.config import FitConfig, TrainConfig
from netdial.core import schedules
from netdial.core.errors import ConfigError, unknown
from netdial.family.family import Family


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


def make_optimizer(family: Family, config: FitConfig) -> torch.optim.Optimizer:
    """Returns the optimiser of a family: means and shared parameters at ``lr``, log_std at ``std_rate`` times that."""
    spread: list[nn.Parameter] = (
        list(family.log_std.parameters()) if isinstance(family.log_std, nn.Module) else []
    )
    held = {id(parameter) for parameter in spread}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in family.parameters() if id(p) not in held], "lr": config.lr}
    ]
    if spread:
        groups.append({"params": spread, "lr": config.lr * config.std_rate})
    return build_optimizer(groups, config)


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
        extra["fused"] = True
    try:
        optimizer: torch.optim.Optimizer = kind(groups, **extra)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"optimizer {config.optimizer} cannot train these parameters ({error}); choose another, for example Adam"
        ) from None
    return optimizer


def make_scheduler(optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int) -> LambdaLR:
    """Returns the learning-rate schedule over ``steps`` optimiser steps."""
    made = {
        "onecycle": lambda: schedules.onecycle(steps),
        "cosine": lambda: schedules.cosine(steps),
        "constant": schedules.constant,
    }
    return LambdaLR(optimizer, made[config.schedule]())
