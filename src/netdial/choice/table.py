"""What there is to choose from: members over complexity λ × share removed, what each costs and how it does, example by example.

Losses are kept for every example because a difference between two members is judged on the same examples. The loss is 0 or 1
(right or wrong) for classification and the squared error, averaged over targets, for regression.

Shapes: C members, N examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netdial.task import Classification, Task


@dataclass(frozen=True)
class Cell:
    """One member: λ, the share of its removable numbers that is gone, and its costs.

    Attributes:
        lam: complexity value.
        share: share removed, in [0, 1).
        value: accuracy, or RMSE for regression; nan if there were no data to measure it on.
        params: numbers that are left, of all parameters.
        bytes: size of the stored tensors (see ``measure.cost``).
        macs: multiply-accumulates for one example whose weight is left.
        latency_ms: median time of one call for one example; nan if it was not asked for.
        epochs: epochs of fine-tuning after every step of pruning.
    """

    lam: float
    share: float
    value: float
    params: int
    bytes: int
    macs: int
    latency_ms: float = math.nan
    epochs: int = 0


@dataclass(frozen=True)
class Table:
    """Members to choose from.

    Attributes:
        cells: the members, C of them.
        losses: loss of every member on every example, float64 ``[C, N]``; N is 0 if there were no data.
        task: what the members predict.
    """

    cells: tuple[Cell, ...]
    losses: Tensor
    task: Task = field(default_factory=Classification)

    @property
    def metric(self) -> str:
        """Metric that members are compared by: ``accuracy`` or ``rmse``."""
        return self.task.metric

    def lost(self, cell: int, other: int) -> float:
        """Returns how much worse a member does than another, in units of the metric; negative if it does better."""
        first, second = self.cells[cell].value, self.cells[other].value
        return (second - first) * self.task.better(self.metric)

    def excess(self, among: Sequence[int], reference: int) -> tuple[Tensor, Tensor]:
        """Returns the mean excess loss ``[A]`` of members over a reference, and its standard error ``[A]``.

        The standard error is that of the mean of N paired differences: what both get right or wrong alike cancels, so it
        is smaller than that of either accuracy.
        """
        gaps = self.losses[list(among)] - self.losses[reference]
        count = gaps.shape[1]
        spread = gaps.std(dim=1) if count > 1 else torch.zeros(len(gaps), dtype=gaps.dtype)
        return gaps.mean(dim=1), spread / math.sqrt(max(count, 1))


def value_of(losses: Tensor, task: Task) -> float:
    """Returns the metric of one member's losses ``[N]``; nan without examples."""
    metric = task.known(task.metric)
    return 1 - float(losses.mean()) if metric.higher else float(metric.finish(losses.mean()))


def error_of(losses: Tensor, task: Task) -> float:
    """Returns the standard error of the metric of one member's losses ``[N]``; nan with fewer than two examples.

    For RMSE it is that of the mean squared error over twice the RMSE (delta method).
    """
    if len(losses) < 2:
        return math.nan
    error = float(losses.std()) / math.sqrt(len(losses))
    metric, mean = task.known(task.metric), losses.mean().detach().requires_grad_()
    (slope,) = torch.autograd.grad(metric.finish(mean), mean)
    return abs(float(slope)) * error if error else 0.0


def losses_of(outputs: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Returns what each example adds to the metric ``[..., N]``, float64, lower is better; 0 or 1 for classes."""
    metric = task.known(task.metric)
    assert metric.each is not None
    if not outputs.is_floating_point() or not metric.higher:
        outputs = outputs.double()
    each = metric.each(task, outputs, targets if task.targets == "classes" else targets.double())
    return 1 - each.double() if metric.higher else each
