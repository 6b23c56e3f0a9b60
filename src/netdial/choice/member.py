"""One member: pruned to a share, and measured as it would be exported.

Shapes: N validation examples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netdial.choice.search import Problem
from netdial.choice.table import Cell, losses_of, value_of
from netdial.family.family import Family
from netdial.measure.cost import cost
from netdial.measure.latency import measure_latency
from netdial.measure.path import outputs
from netdial.pruning.weights.prune import prune_by


def restricted(family: Family, lam: float, share: float, problem: Problem) -> Family:
    """Returns the member at λ without a share of its numbers, as a family of one."""
    return prune_by(problem.pruning, family, lam, share, problem.train)


def measured(
    family: Family, lam: float, share: float, problem: Problem, *, timed: bool = False
) -> tuple[Cell, Tensor]:
    """Returns a member's costs and value, and its losses on validation data ``[N]``, N = 0 without any."""
    net, x = family.export(lam), problem.example(family)
    found, losses = cost(net, x), torch.zeros(0, dtype=torch.float64)
    if problem.valid is not None:
        losses = losses_of(outputs(net, problem.valid), problem.valid.y.cpu(), problem.task)
    cell = Cell(
        lam=lam,
        share=share,
        value=value_of(losses, problem.task),
        params=found.nonzero,
        bytes=found.bytes,
        macs=found.effective_macs,
        latency_ms=measure_latency(net, x).median_ms if timed else math.nan,
    )
    return cell, losses
