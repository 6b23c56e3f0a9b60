"""One member: pruned to a share, and measured as it would be exported, or averaged over its posterior.

Shapes: N validation examples.
"""

from __future__ import annotations

import math

from netdial.choice.search import ChoiceProblem
from netdial.choice.table import Candidate, Scored, score, unscored
from netdial.core.best import MEAN, PREDICTIVE
from netdial.family.family import Family
from netdial.measure.cost import cost
from netdial.measure.forward import outputs, predictive
from netdial.measure.latency import measure_latency
from netdial.pruning.weights.pruned import prune_by
from netdial.train.fit import learn_noise


def restricted(family: Family, lam: float, share: float, problem: ChoiceProblem) -> Family:
    """Returns the member at λ without a share of its numbers, as a family of one, whose noise is that of its own errors."""
    member = prune_by(problem.pruning, family, lam, share, problem.train)
    if problem.valid is not None:
        learn_noise(member, problem.valid)
    return member


def measured(
    family: Family, lam: float, share: float, problem: ChoiceProblem, *, timed: bool = False
) -> tuple[Candidate, Scored]:
    """Returns a member's costs and value, and what validation examples add to it."""
    net, x = family.export(lam), problem.example(family)
    found, scored = cost(net, x), unscored(1)
    if problem.valid is not None:
        out = outputs(net, problem.valid)[None]
        task = problem.task.along([lam]).plugged_in()
        scored = score(out, problem.valid.y.cpu(), task, problem.metric)
    metrics = scored.row(0)
    cell = Candidate(
        lam=lam,
        share=share,
        value=metrics.get(problem.decides, math.nan),
        params=found.nonzero,
        bytes=found.bytes,
        macs=found.effective_macs,
        latency_ms=measure_latency(net, x).median_ms if timed else math.nan,
        metrics=metrics,
    )
    return cell, scored


def averaged(family: Family, lam: float, problem: ChoiceProblem) -> dict[str, float]:
    """Returns the metrics on validation data of a member's predictive, the average over its posterior.

    Empty where there is nothing to draw, no validation data, or no draws were asked for.
    """
    task, valid = problem.task, problem.valid
    if valid is None or problem.n_samples < 1 or family.log_std is None:
        return {}
    draws = predictive(family, lam, valid, n_samples=problem.n_samples, seed=problem.pruning.seed)
    names = dict.fromkeys([problem.decides, task.proper, *task.reported])
    return task.at(lam).predictive(draws, valid.y.cpu(), list(names))


def better_way(metrics: dict[str, float], average: dict[str, float], problem: ChoiceProblem) -> str:
    """Returns what predicts better on validation data: ``mean weights`` or ``predictive``, by the metric that decides."""
    name = problem.decides
    if name not in average or name not in metrics:
        return MEAN
    gain = (average[name] - metrics[name]) * problem.task.better(name)
    return PREDICTIVE if gain > 0 else MEAN
