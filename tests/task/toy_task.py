"""A task in one file: ordinal regression, by cumulative logits; for tests.

The network gives C - 1 numbers for C ordered classes: o₁ is the logit of P(y <= 1), and each further one raises the
logit before it by softplus(oₖ), so that the logits never fall (McCullagh 1980, with thresholds that depend on the inputs).

Shapes: B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from netdial.task import TASKS, Classification, Metric, Task
from netdial.task.metric import NLL


def _distance(task: Ordinal, outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns by how many classes the likeliest one is off."""
    return (task.to_mean(outputs).argmax(dim=-1) - targets).abs().to(outputs.dtype)


@dataclass(frozen=True)
class Ordinal(Task):
    """One of C classes in an order: targets int64 ``[N]`` from 0 on, outputs ``[N, C - 1]``."""

    name: ClassVar[str] = "ordinal"
    targets: ClassVar[Literal["classes", "numbers"]] = "classes"
    reported: ClassVar[tuple[str, ...]] = ("distance", "nll")
    loss_name: ClassVar[str] = "ordinal log loss"
    METRICS: ClassVar[Mapping[str, Metric]] = {"distance": Metric(each=_distance), "nll": NLL}

    def nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        index = targets.long().expand(outputs.shape[:-1])[..., None]
        chosen: Tensor = self.to_mean(outputs).gather(-1, index)[..., 0]
        return -chosen.clamp_min(torch.finfo(outputs.dtype).tiny).log()

    def to_mean(self, outputs: Tensor) -> Tensor:
        steps = torch.cat([outputs[..., :1], F.softplus(outputs[..., 1:])], dim=-1)
        below = steps.cumsum(dim=-1).sigmoid()
        return torch.diff(F.pad(F.pad(below, (1, 0)), (0, 1), value=1.0), dim=-1)

    def of_mean(self, mean: Tensor) -> Tensor:
        logits = mean.double().cumsum(dim=-1)[..., :-1].logit(eps=1e-12)
        rise = torch.diff(logits, dim=-1).clamp_min(1e-9)
        steps = rise + (-(-rise).expm1()).log()  # the inverse of softplus
        return torch.cat([logits[..., :1], steps], dim=-1).to(mean.dtype)

    def count(self, targets: Tensor) -> int:
        return self.outputs(Classification().count(targets))

    def outputs(self, count: int) -> int:
        return count - 1

    def fits(self, n_outputs: int, asked: int) -> bool:
        return n_outputs >= asked


@contextmanager
def registered() -> Iterator[None]:
    """Has the task in the registry within a block."""
    TASKS.add("ordinal")(Ordinal)
    try:
        yield
    finally:
        TASKS._parts.pop("ordinal")
