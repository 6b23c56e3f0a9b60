"""What there is to choose from: members over complexity λ × share removed, what each costs and how it does, example by example.

Members are compared by the task's proper loss (log loss, squared error) unless another metric is asked for. What examples add
to it is kept, because a difference between two members is judged on the same examples; see ``measure.compare``.

Shapes: C members, N examples, G terms of a metric (N, or groups of examples).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from netdial.core.best import Row
from netdial.measure.compare import excess, paired, terms_of, values_of
from netdial.task import Classification, Task


@dataclass(frozen=True)
class Candidate:
    """One member: λ, the share of its removable numbers that is gone, its costs and its worth.

    Attributes:
        lam: complexity value.
        share: share removed, in [0, 1).
        value: the metric that members are compared by; nan if there were no data to measure it on.
        params: numbers that are left, of all parameters.
        bytes: size of the stored tensors (see ``measure.cost``).
        macs: multiply-accumulates for one example whose weight is left.
        latency_ms: median time of one call for one example; nan if it was not asked for.
        epochs: epochs of fine-tuning after every step of pruning.
        metrics: all metrics that were measured, by name.
    """

    lam: float
    share: float
    value: float
    params: int
    bytes: int
    macs: int
    latency_ms: float = math.nan
    epochs: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Accuracy, if it was measured; nan otherwise."""
        return self.metrics.get("accuracy", math.nan)


@dataclass(frozen=True)
class CandidateTable:
    """Members to choose from.

    Attributes:
        cells: the members, C of them.
        losses: what examples add to the metric, lower is better, float64 ``[C, G]``; G is 0 if there were no data.
        task: what the members predict.
        asked: metric that was asked for; None for that of the task's proper loss.
        proper: what examples add to the proper loss ``[C, N]``, if another metric was asked for.
    """

    cells: tuple[Candidate, ...]
    losses: Tensor
    task: Task = field(default_factory=Classification)
    asked: str | None = None
    proper: Tensor | None = None

    @property
    def metric(self) -> str:
        """Metric that members are compared by."""
        return self.asked or self.task.proper

    @property
    def is_whole(self) -> bool:
        """Whether the metric is no mean over examples."""
        return self.task.known(self.metric).each is None

    def rows(self, among: Iterable[int] | None = None) -> list[Row]:
        """Returns the members as the rules see them, their standard errors relative to the best of ``among``."""
        sign = -self.task.better(self.metric)
        return paired(
            self.losses,
            [cell.lam for cell in self.cells],
            losses=[sign * cell.value for cell in self.cells] if self.is_whole else None,
            sizes=[cell.params for cell in self.cells],
            proper=self.proper,
            among=among,
        )

    def lost(self, cell: int, other: int) -> float:
        """Returns how much worse a member does than another, in units of the metric; negative if it does better."""
        first, second = self.cells[cell].value, self.cells[other].value
        return (second - first) * self.task.better(self.metric)

    def excess(self, among: Sequence[int], reference: int) -> tuple[Tensor, Tensor]:
        """Returns the mean excess loss ``[A]`` of members over a reference, and its paired standard error ``[A]``."""
        mean, error = excess(self.losses, reference)
        return mean[list(among)], error[list(among)]

    def with_more(self, cells: Sequence[Candidate], scored: Sequence[Scored]) -> CandidateTable:
        """Returns the table with members added."""
        proper = self.proper
        if proper is not None:
            proper = torch.cat([proper, *(one.proper for one in scored)])
        return CandidateTable(
            (*self.cells, *cells),
            torch.cat([self.losses, *(one.losses for one in scored)]),
            self.task,
            self.asked,
            proper,
        )


class Scored(NamedTuple):
    """What M members are worth.

    Attributes:
        metrics: metric -> values ``[M]``.
        losses: what examples add to the metric that decides ``[M, G]``, lower is better.
        proper: what they add to the proper loss ``[M, N]``.
    """

    metrics: dict[str, Tensor]
    losses: Tensor
    proper: Tensor

    def row(self, index: int) -> dict[str, float]:
        """Returns the metrics of one member."""
        return {name: float(values[index]) for name, values in self.metrics.items()}


def score(outputs: Tensor, targets: Tensor, task: Task, asked: str | None = None) -> Scored:
    """Returns what members' outputs ``[M, N, O]`` are worth: the metric that decides, and all that are means over examples.

    Raises:
        ConfigError: the task has no such metric.
    """
    metric = asked or task.proper
    means = [name for name in task.reported if task.known(name).each is not None]
    names = dict.fromkeys([metric, task.proper, *means])
    proper = terms_of(outputs, targets, task)
    return Scored(
        {name: values_of(outputs, targets, task, name) for name in names},
        proper if metric == task.proper else terms_of(outputs, targets, task, metric),
        proper,
    )


def unscored(count: int) -> Scored:
    """Returns what stands for members that there were no data to measure on."""
    none = torch.zeros(count, 0, dtype=torch.float64)
    return Scored({}, none, none)
