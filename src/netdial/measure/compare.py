"""Comparisons: what members add to a metric example by example, the rows that rules choose from, and a constant's worth.

A difference between two members is judged on the same examples, so a metric is kept as the terms that it is a mean of, lower
being better. Metrics that are no mean over examples (balanced accuracy, F1, AUC, R²) have the pseudo-values of the jackknife
over groups of examples instead (Tukey 1958), whose spread is their standard error, moved so that their mean is the metric.

Shapes: M members, N examples, O outputs, G terms (N, or the groups of the jackknife).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netdial.core.best import SQUARED_ERROR, Row, best
from netdial.core.outputs import doubled
from netdial.task import Task

_GROUPS = 20
"""Groups of examples that the jackknife leaves out in turn."""


def terms_of(outputs: Tensor, targets: Tensor, task: Task, metric: str | None = None) -> Tensor:
    """Returns what examples add to a metric ``[M, G]``, float64, lower is better; nan where outputs are.

    Args:
        outputs: of the members ``[M, N, O]``.
        targets: ``[N, ...]``.
        task: what they predict.
        metric: a metric of the task; by default the one of its proper loss.

    Raises:
        ConfigError: the task has no such metric.
    """
    name = metric or task.proper
    found, outputs = task.known(name), doubled(outputs)
    targets = targets.double() if targets.is_floating_point() else targets
    if found.each is None:
        return _pseudo_values(outputs, targets, task, name)
    if name == task.proper:
        terms = task.loss(outputs, targets).double()
    else:
        terms = found.each(task, outputs, targets).double()
        terms = 1 - terms if found.higher else terms
    return terms.masked_fill(outputs.flatten(2).isnan().any(dim=-1), torch.nan)


def loss_words(task: Task, metric: str | None = None) -> str:
    """Returns what means of ``terms_of`` are, with their unit: ``log loss``, ``squared error in variances of the target``.

    Raises:
        ConfigError: the task has no such metric.
    """
    name = metric or task.proper
    found = task.known(name)
    if name == task.proper:
        is_standardised = getattr(task, "scale", None) is not None
        return SQUARED_ERROR if is_standardised else task.loss_name
    return f"shortfall in {name}" if found.higher else name


def values_of(outputs: Tensor, targets: Tensor, task: Task, metric: str | None = None) -> Tensor:
    """Returns the values ``[M]`` of a metric of members' outputs ``[M, N, O]``, float64; nan where outputs are.

    Raises:
        ConfigError: the task has no such metric.
    """
    name = metric or task.proper
    found, outputs = task.known(name), doubled(outputs)
    targets = targets.double() if targets.is_floating_point() else targets
    if found.each is None:
        values = [task.metrics(one, targets, [name])[name] for one in outputs]
        return torch.tensor(values, dtype=torch.float64)
    means = found.finish(found.each(task, outputs, targets).double().mean(dim=1))
    return means.masked_fill(outputs.flatten(1).isnan().any(dim=1), torch.nan)


def spread_of(
    terms: Tensor, task: Task, metric: str | None = None, value: float | None = None
) -> float:
    """Returns the standard error of the metric of one member's terms ``[G]``; nan with fewer than two (delta method).

    Args:
        terms: what examples add to the metric, as `terms_of` gives them.
        task: what the member predicts.
        metric: the metric; by default the one of the task's proper loss.
        value: the value that the metric is shown with, whose units the error takes: terms of the proper loss are those of
            standardised targets.
    """
    if len(terms) < 2:
        return math.nan
    found, mean = task.known(metric or task.proper), terms.mean().detach()
    error = float(terms.std()) / math.sqrt(len(terms))
    if found.each is None or found.higher or not error:
        return error
    with torch.enable_grad():
        at = mean.requires_grad_()
        measured = found.finish(at)
        (slope,) = torch.autograd.grad(measured, at)
    units = 1.0 if value is None else value / float(measured.detach())
    return abs(float(slope)) * error * units


def paired(
    terms: Tensor,
    lams: Sequence[float],
    *,
    losses: Sequence[float] | None = None,
    sizes: Sequence[float] | None = None,
    proper: Tensor | None = None,
    among: Iterable[int] | None = None,
) -> list[Row]:
    """Returns members as the rules see them, with the paired standard errors of their differences to the best.

    Args:
        terms: what examples add to the metric ``[M, G]``, lower is better.
        lams: complexity values, M of them.
        losses: values to compare, lower is better; by default the means of the terms.
        sizes: numbers left; by default all alike.
        proper: terms of the proper loss ``[M, N]``, if the metric is another one.
        among: indices of those that may be chosen, among which the best is looked for; all of them by default.
    """
    means = terms.mean(dim=1).tolist() if losses is None else list(losses)
    count = len(means)
    decisive = [math.nan] * count if proper is None else proper.mean(dim=1).tolist()
    rows = [
        Row(lams[i], means[i], size=0.0 if sizes is None else sizes[i], proper=decisive[i])
        for i in range(count)
    ]
    allowed = [i for i in (range(count) if among is None else among) if rows[i].is_measured]
    if not allowed:
        return rows
    top = best(rows, allowed)
    errors = excess(terms, top)[1].tolist()
    others = [math.nan] * count if proper is None else excess(proper, top)[1].tolist()
    return [
        replace(row, error=error, proper_error=other)
        for row, error, other in zip(rows, errors, others, strict=True)
    ]


@dataclass(frozen=True)
class Scores:
    """What M members are compared by.

    Attributes:
        losses: means of the terms ``[M]``.
        terms: what examples add to it ``[M, G]``, lower is better.
        proper: what they add to the proper loss ``[M, N]``; None if that is the metric.
        is_mean: whether the metric is a mean over examples, of which each has its term.
    """

    losses: Tensor
    terms: Tensor
    proper: Tensor | None = None
    is_mean: bool = True

    @classmethod
    def of(cls, outputs: Tensor, targets: Tensor, task: Task, metric: str | None = None) -> Scores:
        """Returns the scores of members' outputs ``[M, N, O]``.

        Raises:
            ConfigError: the task has no such metric.
        """
        name = metric or task.proper
        terms = terms_of(outputs, targets, task, name)
        proper = None if name == task.proper else terms_of(outputs, targets, task)
        return cls(terms.mean(dim=1), terms, proper, task.known(name).each is not None)

    @classmethod
    def of_draws(
        cls, draws: Tensor, targets: Tensor, task: Task, metric: str | None = None
    ) -> Scores:
        """Returns the scores of one predictive distribution, the average over outputs ``[S, N, ...]``; errors as of ``of``."""
        mean = task.of_mean(task.to_mean(draws).mean(dim=0))[None]
        found = cls.of(mean, targets, task, metric)
        if metric != "nll" or metric == task.proper or not task.mixes:
            return found
        targets = targets.double() if targets.is_floating_point() else targets
        terms = task.mixture_nll(doubled(draws), targets)[None]
        return replace(found, losses=terms.mean(dim=1), terms=terms)

    def weighted(self, weight: Tensor) -> Scores:
        """Returns the scores with a weight ``[N]`` for each example; a metric that is no mean over examples stays as it is."""
        scale = weight.double() / weight.double().mean().clamp_min(1e-300)
        proper = None if self.proper is None else self.proper * scale
        if not self.is_mean:
            return replace(self, proper=proper)
        terms = self.terms * scale
        return Scores(terms.mean(dim=1), terms, proper)

    @classmethod
    def join(cls, scores: Sequence[Scores]) -> Scores:
        """Returns the scores of several groups of members, one after the other."""
        proper = [one.proper for one in scores if one.proper is not None]
        return cls(
            torch.cat([one.losses for one in scores]),
            torch.cat([one.terms for one in scores]),
            torch.cat(proper) if proper else None,
            all(one.is_mean for one in scores),
        )

    def rows(self, lams: Sequence[float]) -> list[Row]:
        """Returns the members at these complexity values as the rules see them."""
        return paired(self.terms, lams, losses=self.losses.tolist(), proper=self.proper)


def excess(terms: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Returns how much worse members are than one of them ``[M]``, and the paired standard errors ``[M]``.

    The standard error is that of the mean of G paired differences: what both have in common cancels, so it is smaller than
    that of either value. With a single term it is not known (nan), but that to itself is 0.
    """
    gaps = terms - terms[top]
    count = gaps.shape[1]
    spread = gaps.std(dim=1) if count > 1 else gaps.new_full((len(gaps),), torch.nan)
    errors = spread / math.sqrt(max(count, 1))
    errors[top] = 0.0
    return gaps.mean(dim=1), errors


def constant_of(
    task: Task, train: Tensor, targets: Tensor, n_outputs: int, metrics: Sequence[str] | None = None
) -> dict[str, float]:
    """Returns what a prediction that looks at no input is worth: class frequencies, or the mean of the targets.

    Args:
        task: what is predicted.
        train: targets that the constant is fitted to ``[N, ...]``.
        targets: targets that it is measured on.
        n_outputs: O, outputs of the network.
        metrics: which metrics of the task; by default those that are always reported.
    """
    if not task.has_constant:
        return {}
    constant = task.constant(train.cpu(), n_outputs).double()
    scored = targets.cpu().double() if targets.is_floating_point() else targets.cpu()
    found = task.of_constant(train.cpu(), constant).metrics(
        constant.expand(len(targets), *constant.shape), scored, metrics
    )
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _pseudo_values(outputs: Tensor, targets: Tensor, task: Task, metric: str) -> Tensor:
    """Returns G θ - (G - 1) θ₍₋g₎ of each member ``[M, G]``, moved so that their mean is θ; 1 - θ where higher is better."""
    count = len(targets)
    groups = min(_GROUPS, count)
    place = torch.arange(count) % groups
    whole = values_of(outputs, targets, task, metric)
    left_out = torch.stack(
        [
            values_of(outputs[:, place != g], targets[place != g], task, metric)
            if groups > 1
            else whole
            for g in range(groups)
        ],
        dim=1,
    )
    spread = (groups - 1) * (left_out.mean(dim=1, keepdim=True) - left_out)
    found = whole[:, None] + spread
    return 1 - found if task.known(metric).higher else found
