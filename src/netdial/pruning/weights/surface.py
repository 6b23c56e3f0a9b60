"""The accuracy surface of a family: what members are worth over complexity and share removed.

Algorithm 2 and Fig. 1 of Grebenkova et al. 2022, for all complexity values and shares at once. The stability S is that of the
2021 paper (§4): accuracy before over accuracy after removing 90 % of the weights, 1 for a member that does not mind.

Shapes: K complexity values, S shares, P numbers of the leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.pruning.weights.masks import Policy, places
from netdial.pruning.weights.members import Levels, n_outputs, pieces, run
from netdial.pruning.weights.prune import Rule, decide_in_turn
from netdial.pruning.weights.tally import Mixture, Tally
from netdial.task import Task
from netdial.task.rehearsal import admit

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of the papers' tables."""
_FIELDS = 32_000_000
"""Most numbers of posteriors that are ranked at once, over complexity values."""


@dataclass(frozen=True)
class Best:
    """The best member at one share.

    Attributes:
        share: share removed.
        lam: complexity value; of equals, the largest.
        value: its metric.
    """

    share: float
    lam: float
    value: float


@dataclass(frozen=True, eq=False)
class Surface:
    """Metrics over complexity and share removed.

    Attributes:
        lams: K complexity values.
        shares: S shares removed.
        metrics: of the mean weights, by name, ``[K, S]``.
        predictive: of the posterior predictive ``[K, S]``; empty for points or if not asked for.
        removed: how many numbers were removed ``[K, S]``.
        higher: names of the metrics of which higher is better.
    """

    lams: tuple[float, ...]
    shares: tuple[float, ...]
    metrics: dict[str, Tensor]
    predictive: dict[str, Tensor] = field(default_factory=dict)
    removed: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    higher: frozenset[str] = frozenset({"accuracy"})

    def best(self, metric: str | None = None) -> list[Best]:
        """Returns the best member at each share, by the first metric unless one is named."""
        name = self._known(metric or next(iter(self.metrics)))
        values = self.metrics[name]
        worth = values if name in self.higher else -values
        found = []
        for place, share in enumerate(self.shares):
            column = worth[:, place].tolist()
            row = max(range(len(column)), key=lambda k: (column[k], self.lams[k]))
            found.append(Best(share, self.lams[row], float(values[row, place])))
        return found

    def stability(self, share: float = 0.9) -> Tensor:
        """Returns accuracy before over accuracy after removing a share ``[K]``; 1 is best (2021 paper, §4).

        Raises:
            ConfigError: the surface lacks accuracy, share 0 or ``share``.
        """
        values = self.metrics[self._known("accuracy")]
        for wanted in (0.0, share):
            if wanted not in self.shares:
                raise ConfigError(
                    f"stability compares the shares 0 and {share:g}; the surface has "
                    f"{', '.join(f'{s:g}' for s in self.shares)}, so compute it with both"
                )
        return values[:, self.shares.index(0.0)] / values[:, self.shares.index(share)]

    def table(self) -> list[dict[str, float]]:
        """Returns one flat row for each complexity value and share; predictive metrics end in ``_predictive``."""
        columns = {
            "removed": self.removed,
            **self.metrics,
            **{f"{name}_predictive": values for name, values in self.predictive.items()},
        }
        return [
            {"lam": lam, "share": share, **{n: float(v[k, s]) for n, v in columns.items()}}
            for k, lam in enumerate(self.lams)
            for s, share in enumerate(self.shares)
        ]

    def _known(self, metric: str) -> str:
        if metric not in self.metrics:
            raise ConfigError(
                f"the surface holds no {metric!r} (it has {', '.join(self.metrics)}); ask for it with metrics="
            )
        return metric


def surface(
    family: Family,
    data: Data,
    *,
    lams: int | Sequence[float] = 9,
    shares: Sequence[float] = SHARES,
    criterion: str | None = None,
    policy: Policy | None = None,
    train: Data | None = None,
    fold: bool = True,
    kind: str | Task | None = None,
    metrics: Sequence[str] | None = None,
    n_samples: int = 0,
    seed: int = 0,
) -> Surface:
    """Returns what members are worth after removing shares of their weights, all at once.

    Every value is what ``prune`` would give there, exported and evaluated on its own.

    Args:
        family: the family.
        data: data to evaluate on.
        lams: complexity values, or how many to space evenly over the trained range.
        shares: shares to remove, in [0, 1).
        criterion: a name in ``CRITERIA``; ``density``, or ``magnitude`` for a family of points, if None.
        policy: what may be removed.
        train: training data, for criteria that need them and to find constant inputs.
        fold: fold weights of inputs that are constant over ``train`` into biases and remove them first. Nothing is
            folded without ``train``, or when whole rows are removed.
        kind: the task: a name, or a ``Task``; by default that of the family.
        metrics: which metrics of the task; the first is what ``best`` compares. By default ``task.metric`` and nll.
        n_samples: draws of the posterior predictive, the same random numbers everywhere; 0 leaves it out.
        seed: seed of the draws, and of criteria that draw.

    Raises:
        ConfigError: a share outside [0, 1), a λ outside the trained range, an unknown criterion or metric, or a
            criterion that lacks what it needs.
    """
    part, task = admit(family.net, data, kind, family.task)
    values = family.lams(lams)
    rule = Rule(criterion, policy or Policy(), fold, task, seed)
    step = max(1, _FIELDS // family.layout.size)
    groups = [values[start : start + step] for start in range(0, len(values), step)]
    means, averages, removed = [], [], []
    for levels in decide_in_turn(family, groups, shares, rule, train):
        removed.append(_removed(levels, shares))
        draws = n_samples if family.log_std is not None else 0
        for here in levels.groups(len(part) * n_outputs(levels, part) if draws else 0):
            members = levels.select(here)
            batches = pieces(members, part)
            means.append(_of_means(members, batches, metrics, task))
            if draws:
                averages.append(_of_draws(members, batches, metrics, task, draws, seed))
    return Surface(
        tuple(values),
        tuple(float(share) for share in shares),
        _in_order(means, shares),
        _in_order(averages, shares),
        torch.cat(removed),
        frozenset(name for name, metric in task.METRICS.items() if metric.higher),
    )


def _of_means(
    members: Levels, batches: Sequence[Dataset], metrics: Sequence[str] | None, task: Task
) -> dict[str, Tensor]:
    """Returns the metrics of mean weights ``[K S]``."""
    tally = Tally(metrics, task)
    for out, batch in zip(run(members, batches), batches, strict=True):
        tally.add(out, batch.y.to(out.device))
    return tally.means()


def _of_draws(
    members: Levels,
    batches: Sequence[Dataset],
    metrics: Sequence[str] | None,
    task: Task,
    draws: int,
    seed: int,
) -> dict[str, Tensor]:
    """Returns the metrics of the posterior predictive ``[K S]``, from the draws that ``measure.predictive`` makes."""
    source, mixture, tally = generator(seed, "predictive"), Mixture(task), Tally(metrics, task)
    with torch.no_grad():
        var = members.family.fields_at(members.lams).var
    assert var is not None
    std = var.sqrt()
    targets = [batch.y.to(std.device) for batch in batches]
    for _ in range(draws):
        noise = torch.randn(std.shape[1], generator=source, dtype=std.dtype).to(std.device) * std
        for number, out in enumerate(run(members, batches, noise)):
            mixture.add(number, out, targets[number])
    mixture.score(tally, targets)
    return tally.means()


def _in_order(groups: Sequence[dict[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Returns the metrics of all groups joined ``[K, S]``, shares in the order asked for."""
    if not groups:
        return {}
    order = torch.tensor(places(shares))
    return {
        name: torch.cat([group[name] for group in groups])
        .unflatten(0, (-1, len(shares)))
        .index_select(1, order)
        for name in groups[0]
    }


def _removed(levels: Levels, shares: Sequence[float]) -> Tensor:
    """Returns how many numbers each share takes away ``[K, S]``."""
    survivors = [row.long().bincount(minlength=levels.count + 1) for row in levels.survival.cpu()]
    return torch.stack(survivors).cumsum(dim=1)[:, places(shares)]
