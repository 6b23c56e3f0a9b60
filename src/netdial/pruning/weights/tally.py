"""Metrics of many members at once, from outputs that arrive batch by batch.

Definitions are those of the task (``task.Task.METRICS``). A metric that is a function of a mean over examples is a running
sum; for any other the outputs are held until the end.

Shapes: M members, b examples of a batch, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from netdial.task import Task


class Tally:
    """Running sums of the metrics of M members.

    Args:
        metrics: names; by default the metric that the task compares members by, and ``nll``.
        task: what the members predict.

    Raises:
        ConfigError: a metric is unknown.
    """

    def __init__(self, metrics: Sequence[str] | None, task: Task) -> None:
        self._task = task
        names = (task.metric, "nll") if metrics is None else tuple(metrics)
        self._metrics = {name: task.known(name) for name in names}
        self._totals: dict[str, list[Tensor]] = {name: [] for name in names}
        self._held: list[tuple[Tensor, Tensor]] = []
        self._count = 0

    def add(self, outputs: Tensor, targets: Tensor, nll: Tensor | None = None) -> None:
        """Takes a batch into account.

        Args:
            outputs: ``[M, b, O]``.
            targets: ``[b, ...]``.
            nll: ``[M, b]`` in nats, where it does not follow from the outputs.
        """
        self._count += len(targets)
        if any(metric.each is None for metric in self._metrics.values()):
            self._held.append((outputs.cpu(), targets.cpu()))
        for name, metric in self._metrics.items():
            if name == "nll" and nll is not None:
                self._totals[name].append(nll.sum(dim=1))
            elif metric.each is not None:
                each = metric.each(self._task, outputs, targets)
                unknown = outputs.flatten(2).isnan().any(dim=2)
                self._totals[name].append(each.masked_fill(unknown, torch.nan).sum(dim=1))

    def means(self) -> dict[str, Tensor]:
        """Returns the metrics ``[M]``, float64 on the processor."""
        found = {}
        for name, metric in self._metrics.items():
            if metric.each is None:
                found[name] = self._of_all(name)
            else:
                mean = torch.stack(self._totals[name]).double().sum(dim=0).cpu() / self._count
                found[name] = metric.finish(mean)
        return found

    def _of_all(self, name: str) -> Tensor:
        """Returns a metric ``[M]`` that needs all examples together."""
        whole = torch.cat([outputs for outputs, _ in self._held], dim=1)
        targets = torch.cat([targets for _, targets in self._held])
        values = [self._task.metrics(out, targets, [name])[name] for out in whole]
        return torch.tensor(values, dtype=torch.float64)


class Mixture:
    """Predictive distributions of M members: means averaged over draws of their weights, and densities (``Task.mixes``).

    Args:
        task: what the members predict.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._means: dict[int, Tensor] = {}
        self._densities: dict[int, Tensor] = {}
        self._draws: dict[int, int] = {}

    def add(self, batch: int, outputs: Tensor, targets: Tensor) -> None:
        """Takes the outputs ``[M, b, O]`` of one more draw on a batch, known by its number, into account."""
        mean, first = self._task.to_mean(outputs), batch not in self._means
        self._means[batch] = mean if first else self._means[batch] + mean
        self._draws[batch] = self._draws.get(batch, 0) + 1
        if self._task.mixes:
            density = -self._task.member_nll(outputs, targets)
            if not first:
                density = torch.logaddexp(self._densities[batch], density)
            self._densities[batch] = density

    def score(self, tally: Tally, targets: Sequence[Tensor]) -> None:
        """Adds all batches, whose targets are given in order, to a tally."""
        for batch, mean in self._means.items():
            draws = self._draws[batch]
            nll = math.log(draws) - self._densities[batch] if self._task.mixes else None
            tally.add(self._task.of_mean(mean / draws), targets[batch], nll)
