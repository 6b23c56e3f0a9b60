"""Metrics of tasks: what examples add to one, or one of them all.

Shapes: M members scored at once, B examples, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_GROUPS = 20
"""Groups of examples that are left out in turn for the standard error of a metric that is no mean over examples."""


@dataclass(frozen=True)
class Metric:
    """How a metric is computed.

    Attributes:
        each: (task, outputs ``[..., B, O]``, targets) -> what each example adds ``[..., B]``, if the metric is a function of
            the mean over examples.
        finish: turns that mean into the metric, elementwise.
        whole: (task, outputs ``[B, O]``, targets) -> the metric, if it is no such function.
        higher: whether higher is better.
        unit: unit of the metric, for tables and figures.
    """

    each: Callable[[Any, Tensor, Tensor], Tensor] | None = None
    finish: Callable[[Tensor], Tensor] = lambda mean: mean
    whole: Callable[[Any, Tensor, Tensor], float] | None = None
    higher: bool = False
    unit: str = ""

    def value(self, task: Any, outputs: Tensor, targets: Tensor) -> float:
        """Returns the metric of outputs ``[B, O]``; nan where an output is nan."""
        if bool(outputs.isnan().any()):
            return math.nan
        if self.each is not None:
            return float(self.finish(self.each(task, outputs, targets).double().mean()))
        assert self.whole is not None
        return float(self.whole(task, outputs, targets))

    def standard_error(self, task: Any, outputs: Tensor, targets: Tensor) -> float:
        """Returns the standard error over examples; nan with fewer than two.

        By the delta method for a function of a mean over examples, else by the jackknife over groups of examples.
        """
        count = len(targets)
        if count < 2:
            return math.nan
        if self.each is None:
            return self._jackknife(task, outputs, targets)
        terms = self.each(task, outputs, targets).double()
        mean = terms.mean().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.finish(mean), mean)
        spread = float(terms.std()) / math.sqrt(count)
        return abs(float(slope)) * spread if spread else 0.0

    def _jackknife(self, task: Any, outputs: Tensor, targets: Tensor) -> float:
        """Returns the standard error by leaving out one of ``_GROUPS`` groups of examples in turn."""
        group = torch.arange(len(targets)) % min(_GROUPS, len(targets))
        left_out = torch.tensor(
            [
                self.value(task, outputs[group != g], targets[group != g])
                for g in range(int(group.max()) + 1)
            ]
        )
        return math.sqrt((len(left_out) - 1) * float(left_out.var(correction=0)))


NLL = Metric(
    each=lambda task, outputs, targets: (
        task.nll(outputs, targets)
        if task.is_single(outputs, targets)
        else task.member_nll(outputs, targets)
    ),
    unit="nats per example",
)
"""The negative log-likelihood, a metric of every task."""
