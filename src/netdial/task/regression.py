"""Regression: columns of numbers under independent normals.

Shapes: B examples, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from netdial.core.errors import DataError, ShapeError
from netdial.task.base import NLL, TASKS, Metric, Task


def gaussian_nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns -log p(y|x) in nats ``[B]`` of targets ``[B, T]`` under unit-variance normals around ``[B, T]``."""
    if outputs.shape != targets.shape:
        raise ShapeError(
            f"gaussian_nll: outputs are {list(outputs.shape)}, targets {list(targets.shape)}; "
            "give targets [N, T] with one column for each output of the network"
        )
    return (0.5 * (outputs - targets).square() + 0.5 * math.log(2 * math.pi)).flatten(1).sum(dim=1)


def _square_error(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(dim=-1)


def _r2(task: Task, outputs: Tensor, targets: Tensor) -> float:
    from torchmetrics.functional.regression import r2_score

    return float(r2_score(outputs, targets)) if len(targets) > 1 else math.nan


@TASKS.add("regression")
@dataclass(frozen=True)
class Regression(Task):
    """T numbers: targets float ``[N, T]``, outputs their means ``[N, T]``; choices are made by squared error."""

    name: ClassVar[str] = "regression"
    targets: ClassVar[Literal["classes", "numbers"]] = "numbers"
    reported: ClassVar[tuple[str, ...]] = ("rmse", "r2", "nll")
    loss_name: ClassVar[str] = "squared error"
    proper: ClassVar[str] = "rmse"
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "rmse": Metric(each=_square_error, finish=torch.sqrt),
        "r2": Metric(whole=_r2, higher=True),
        "nll": NLL,
    }

    def nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) in nats ``[B]`` of targets ``[B, T]`` around means ``[B, T]``."""
        return gaussian_nll(outputs, targets)

    def member_nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) in nats ``[M, B]`` of targets ``[B, T]`` around means ``[M, B, T]``."""
        half = 0.5 * (outputs - targets).square() + 0.5 * math.log(2 * math.pi)
        return half.flatten(2).sum(dim=2)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the squared error ``[..., B]``, averaged over the targets."""
        return (outputs - targets).square().mean(dim=-1)

    def count(self, targets: Tensor) -> int:
        """Returns the number of targets T.

        Raises:
            DataError: the targets are not columns of numbers ``[N, T]``.
        """
        if targets.ndim != 2 or not targets.is_floating_point():
            raise DataError(
                f"targets {list(targets.shape)} of {targets.dtype} are no columns of numbers; give floating point [N, T], "
                "for example y[:, None], or kind='classification'"
            )
        return targets.shape[1]

    def constant(self, targets: Tensor, n_outputs: int) -> Tensor:
        """Returns the mean of the targets ``[T]``."""
        return targets.double().mean(dim=0)

    def root(self, outputs: Tensor) -> Tensor:
        """Returns the unit vectors ``[B, T, T]``: the Fisher information of unit-variance normals is 1."""
        unit = torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
        return unit.expand(*outputs.shape, -1)
