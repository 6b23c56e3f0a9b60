"""Search: every member over complexity λ × share removed, as it would be pruned and exported, on the same examples.

Shapes: K complexity values, S shares, P numbers of the leaves, N examples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from netdial.choice.table import Candidate, CandidateTable, Scored, score, unscored
from netdial.core.errors import ConfigError
from netdial.core.storage.bitmap import stored_bytes
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.measure.cost import count_macs
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
        family: the family.
        macs: multiply-accumulates of the dense network.
        uses: how often each number of a leaf is multiplied for one example.
        copies: how often each leaf is stored: twice if two layers share it.
        fixed: (nonzero numbers, bytes) of what is the same for every member.
        latency_ms: time of the dense network, or nan.
    """

    family: Family
    macs: int
    uses: dict[str, float]
    copies: dict[str, int]
    fixed: tuple[int, int]
    latency_ms: float

    @classmethod
    def of(cls, family: Family, lam: float, problem: ChoiceProblem, *, timed: bool) -> _Pricing:
        """Returns the prices of a family's members, found on one of them."""
        net, x = family.export(lam), problem.example(family)
        macs, uses = count_macs(net, x)
        leaves = set(family.layout.names)
        places = {p.data_ptr(): name for name, p in net.named_parameters() if name in leaves}
        state = net.state_dict().values()
        stored = [t for t in state if t.data_ptr() not in places]
        shared = [p for name, p in net.named_parameters() if name not in leaves]
        return cls(
            family,
            macs,
            uses,
            Counter(places[t.data_ptr()] for t in state if t.data_ptr() in places),
            (
                sum(int(p.count_nonzero()) for p in shared),
                sum(
                    stored_bytes(t.numel(), int(t.count_nonzero()), t.element_size())
                    for t in stored
                ),
            ),
            measure_latency(net, x).median_ms if timed else math.nan,
        )

    def cell(self, lam: float, share: float, weights: Tensor) -> Candidate:
        """Returns the costs of the member at λ with these weights ``[P]``; what it is worth is left open."""
        params, size = self.fixed
        macs, item = float(self.macs), weights.element_size()
        for name, leaf in self.family.layout.split(weights).items():
            left = int(leaf.count_nonzero())
            params += left
            size += self.copies[name] * stored_bytes(leaf.numel(), left, item)
            macs -= self.uses.get(name, 0) * (leaf.numel() - left)
        return Candidate(lam, share, math.nan, params, size, round(macs), self.latency_ms)
