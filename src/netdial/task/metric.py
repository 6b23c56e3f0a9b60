"""Metrics of tasks: what examples add to one, or one of them all.

Shapes: M members scored at once, B examples, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


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


NLL = Metric(
    each=lambda task, outputs, targets: (
        task.nll(outputs, targets)
        if task.is_single(outputs, targets)
        else task.member_nll(outputs, targets)
    ),
    unit="nats per example",
)
"""The negative log-likelihood, a metric of every task."""
