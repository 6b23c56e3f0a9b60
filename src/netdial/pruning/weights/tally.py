"""Metrics of many members at once, from outputs that arrive batch by batch.

Definitions are those of ``measure.metrics`` (accuracy, NLL in nats per example, Brier score; RMSE and NLL for
regression); here they are sums over examples, kept for M members together.

Shapes: M members, b examples of a batch, C classes, T regression targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from netdial.core.errors import unknown

DEFAULT = {"classification": ("accuracy", "nll"), "regression": ("rmse", "nll")}
"""What is measured unless it is said otherwise; the first of each kind is what members are compared by."""
HIGHER_IS_BETTER = frozenset({"accuracy"})


class Tally:
    """Running sums of the metrics of M members.

    Args:
        metrics: names; those of ``DEFAULT`` if None.
        kind: ``classification`` or ``regression``.

    Raises:
        ConfigError: a metric is unknown.
    """

    def __init__(self, metrics: Sequence[str] | None, kind: str) -> None:
        names = DEFAULT[kind] if metrics is None else tuple(metrics)
        for name in names:
            if name not in _SUMS[kind]:
                raise unknown("metric", name, _SUMS[kind])
        self._sums = {name: _SUMS[kind][name] for name in names}
        self._totals: dict[str, list[Tensor]] = {name: [] for name in names}
        self._count = 0

    def add(self, outputs: Tensor, targets: Tensor, nll: Tensor | None = None) -> None:
        """Takes a batch into account.

        Args:
            outputs: ``[M, b, ...]``: logits or log probabilities, or means.
            targets: ``[b]`` class indices, or ``[b, T]``.
            nll: ``[M, b]`` in nats, where it does not follow from the outputs.
        """
        self._count += len(targets)
        for name, sums in self._sums.items():
            if name == "nll" and nll is not None:
                self._totals[name].append(nll.sum(dim=1))
            else:
                self._totals[name].append(sums(outputs, targets))

    def means(self) -> dict[str, Tensor]:
        """Returns the metrics ``[M]``, float64 on the processor."""
        found = {
            name: torch.stack(totals).double().sum(dim=0).cpu() / self._count
            for name, totals in self._totals.items()
        }
        return {name: value.sqrt() if name == "rmse" else value for name, value in found.items()}


class Mixture:
    """Predictive distributions of M members, averaged over draws of their weights.

    Classification averages probabilities, regression averages densities (and means, for the RMSE).

    Args:
        kind: ``classification`` or ``regression``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._parts: dict[int, list[Tensor]] = {}
        self._draws: dict[int, int] = {}

    def add(self, batch: int, outputs: Tensor, targets: Tensor) -> None:
        """Takes the outputs ``[M, b, ...]`` of one more draw on a batch, known by its number, into account."""
        if self._kind == "classification":
            parts = [outputs.log_softmax(dim=-1)]
        else:
            parts = [-_unit_normal_nll(outputs, targets), outputs]
        old = self._parts.get(batch)
        if old is not None:
            parts = [
                torch.logaddexp(old[0], parts[0]),
                *(a + b for a, b in zip(old[1:], parts[1:], strict=True)),
            ]
        self._parts[batch] = parts
        self._draws[batch] = self._draws.get(batch, 0) + 1

    def score(self, tally: Tally, targets: Sequence[Tensor]) -> None:
        """Adds all batches, whose targets are given in order, to a tally."""
        for batch, parts in self._parts.items():
            draws = self._draws[batch]
            log_mean = parts[0] - math.log(draws)
            if self._kind == "classification":
                nll = -log_mean.gather(-1, targets[batch].expand(len(log_mean), -1)[..., None])
                tally.add(log_mean, targets[batch], nll[..., 0])
            else:
                tally.add(parts[1] / draws, targets[batch], -log_mean)


def _accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns how many examples have their class on top ``[M]``; of equal classes the first counts."""
    return (outputs.max(dim=-1).indices == targets).sum(dim=1)


def _categorical_nll(outputs: Tensor, targets: Tensor) -> Tensor:
    of_target = outputs.gather(-1, targets.expand(len(outputs), -1)[..., None])[..., 0]
    return (outputs.logsumexp(dim=-1) - of_target).sum(dim=1)


def _brier(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the sum over examples of |p - e_y|² = |p|² - 2 p_y + 1 ``[M]``."""
    probs = outputs.softmax(dim=-1)
    of_target = probs.gather(-1, targets.expand(len(outputs), -1)[..., None]).sum(dim=(1, 2))
    return probs.square().sum(dim=(1, 2)) - 2 * of_target + len(targets)


def _square_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns the sum over examples of squared errors, averaged over the targets ``[M]``."""
    return (outputs - targets).square().flatten(2).mean(dim=2).sum(dim=1)


def _unit_normal_nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns ``objective.gaussian_nll`` for M members ``[M, b]``."""
    return (0.5 * (outputs - targets).square() + 0.5 * math.log(2 * math.pi)).flatten(2).sum(dim=2)


_SUMS: dict[str, dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "classification": {"accuracy": _accuracy, "nll": _categorical_nll, "brier": _brier},
    "regression": {
        "rmse": _square_error,
        "nll": lambda outputs, targets: _unit_normal_nll(outputs, targets).sum(dim=1),
    },
}
