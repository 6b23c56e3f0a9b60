"""Search: every member over complexity λ × share removed, as it would be pruned and exported, on the same examples.

Shapes: K complexity values, S shares, P numbers of the leaves, N examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from netdial.choice.table import Candidate, CandidateTable, Scored, score, unscored
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.measure.cost import StoredLeaves, count_macs
from netdial.measure.latency import measure_latency
from netdial.pruning.weights.members import Levels, n_outputs, pieces, run
from netdial.pruning.weights.pruned import Rule, decide
from netdial.pruning.weights.surfaces import SHARES
from netdial.task import Task, settle

_COPIES = 3
"""How often outputs are held at once while they are scored."""


@dataclass(frozen=True)
class ChoiceProblem:
    """What a choice is made on.

    Attributes:
        valid: validation data; None where only an estimator on training data decides.
        train: training data: to fold constant inputs, for criteria and for estimators; may be None.
        pruning: how members are pruned, and the task.
        data_name: name of the data, for the card.
        metric: metric to compare members by; None for that of the task's proper loss.
        n_samples: draws of the posterior with which the chosen member's predictive is measured.
    """

    valid: Dataset | None = None
    train: Dataset | None = None
    pruning: Rule = field(default_factory=Rule)
    data_name: str = ""
    metric: str | None = None
    n_samples: int = 0

    @property
    def decides(self) -> str:
        """Metric that members are compared by."""
        return self.metric or self.task.proper

    @property
    def task(self) -> Task:
        """What the family predicts."""
        return settle(self.pruning.kind)

    def example(self, family: Family) -> Tensor:
        """Returns one input as a family's members take it, to count and to time.

        Raises:
            ConfigError: there are no data at all.
        """
        data = self.train if self.valid is None else self.valid
        if data is None:
            raise ConfigError(
                "choose: no data; give validation data (valid), or training data (train) with an estimator"
            )
        first = torch.zeros(1, dtype=torch.int64, device=data.x.device)
        return data.inputs(first, family.like)


def search(
    family: Family,
    problem: ChoiceProblem,
    *,
    lams: int | Sequence[float] = 9,
    shares: Sequence[float] = SHARES,
    timed: bool = False,
) -> CandidateTable:
    """Returns what there is to choose from.

    Args:
        family: the family.
        problem: data, and how to prune.
        lams: complexity values, or how many to space evenly over the trained range.
        shares: shares removed, each in [0, 1).
        timed: whether to measure the latency. It is measured once: scattered zeros do not change that of a dense network,
            so all members of a family have the same.

    Raises:
        ConfigError: a λ outside the trained range, a share outside [0, 1), or a criterion that this family or these data
            do not allow.
    """
    values, ranked = sorted(set(family.lams(lams))), sorted(set(shares))
    levels = decide(family, values, ranked, problem.pruning, problem.train)
    pricing = _Pricing.of(family, values[0], problem, timed=timed)
    held = 0 if problem.valid is None else len(problem.valid) * n_outputs(levels, problem.valid)
    cells, scored = [], []
    for here in levels.groups(_COPIES * held):
        group = levels.select(here)
        found = _scored(group, problem)
        scored.append(found)
        for row in range(len(group.lams) * group.count):
            k, s = divmod(row, group.count)
            weights = group.weights_of(k, s)
            cell = pricing.cell(group.lams[k], ranked[s], weights)
            metrics = found.row(row)
            value = metrics.get(problem.decides, math.nan)
            cells.append(replace(cell, value=value, metrics=metrics))
    proper = torch.cat([one.proper for one in scored])
    return CandidateTable(
        tuple(cells),
        torch.cat([one.losses for one in scored]),
        problem.task,
        problem.metric,
        None if problem.decides == problem.task.proper else proper,
    )


def _scored(levels: Levels, problem: ChoiceProblem) -> Scored:
    """Returns what members ``[K S]`` are worth on validation data."""
    data = problem.valid
    if data is None:
        return unscored(len(levels.lams) * levels.count)
    outputs = torch.cat([out.cpu() for out in run(levels, pieces(levels, data))], dim=1)
    lams = [lam for lam in levels.lams for _ in range(levels.count)]
    task = problem.task.along(lams).plugged_in()
    return score(outputs, data.y.cpu(), task, problem.metric)


@dataclass(frozen=True)
class _Pricing:
    """What a member costs, from the numbers that are left in each of its leaves.

    Attributes:
        macs: multiply-accumulates of the dense network.
        uses: how often each number of a leaf is multiplied for one example.
        stored: what is stored of members.
        latency_ms: time of the dense network, or nan.
    """

    macs: int
    uses: dict[str, float]
    stored: StoredLeaves
    latency_ms: float

    @classmethod
    def of(cls, family: Family, lam: float, problem: ChoiceProblem, *, timed: bool) -> _Pricing:
        """Returns the prices of a family's members, found on one of them."""
        net, x = family.export(lam), problem.example(family)
        macs, uses = count_macs(net, x)
        return cls(
            macs,
            uses,
            StoredLeaves.of(net, family.layout),
            measure_latency(net, x).median_ms if timed else math.nan,
        )

    def cell(self, lam: float, share: float, weights: Tensor) -> Candidate:
        """Returns the costs of the member at λ with these weights ``[P]``; what it is worth is left open."""
        left = self.stored.left(weights)
        params, size = self.stored.costs(left, weights.element_size())
        layout = self.stored.layout
        gone = (
            self.uses.get(name, 0) * (whole - left[name])
            for name, whole in zip(layout.names, layout.sizes, strict=True)
        )
        macs = round(self.macs - sum(gone))
        return Candidate(lam, share, math.nan, params, size, macs, self.latency_ms)
