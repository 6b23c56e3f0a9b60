"""The accuracy surface of a family: what members are worth over complexity and share removed.

Algorithm 2 and Fig. 1 of Grebenkova et al. 2022, for all complexity values and shares at once. The stability S is that of the
2021 paper (§4): accuracy before over accuracy after removing 90 % of the weights, 1 for a member that does not mind.

Shapes: K complexity values, S shares, P numbers of the leaves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netdial.core.arguments import Whole, checked
from netdial.core.best import Row, best
from netdial.core.errors import ConfigError
from netdial.core.noise import generator
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.measure.compare import constant_of, paired, terms_of
from netdial.measure.cost import StoredLeaves
from netdial.pruning.weights.mask import Policy, places
from netdial.pruning.weights.members import Levels, n_outputs, pieces, run
from netdial.pruning.weights.pruned import Rule, decide_in_turn
from netdial.pruning.weights.tally import Mixture, Tally
from netdial.task import Task
from netdial.task.rehearsal import admit

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
"""Shares removed that are looked at unless others are asked for; finer where networks usually begin to fail."""
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


@dataclass(frozen=True, eq=False, repr=False)
class Surface:
    """Metrics over complexity and share removed.

    Attributes:
        lams: K complexity values.
        shares: S shares removed.
        metrics: of the mean weights, by name, ``[K, S]``.
        predictive: of the posterior predictive ``[K, S]``; empty for points or if not asked for.
        removed: how many numbers were removed ``[K, S]``.
        higher: names of the metrics of which higher is better.
        proper: metric of the task's proper loss, which members are compared by where it was measured.
        params: numbers of the member that are left and not zero ``[K, S]``.
        losses: proper loss of the mean weights on each example ``[K S, N]``.
        constant: metrics of a prediction that looks at no input: class frequencies, or the mean of the targets.
        bytes: what an export of the member stores ``[K, S]``.
    """

    lams: tuple[float, ...]
    shares: tuple[float, ...]
    metrics: dict[str, Tensor]
    predictive: dict[str, Tensor] = field(default_factory=dict)
    removed: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    higher: frozenset[str] = frozenset({"accuracy"})
    proper: str = "nll"
    params: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    losses: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))
    constant: dict[str, float] = field(default_factory=dict)
    bytes: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))

    @property
    def costs(self) -> dict[str, Tensor]:
        """What was counted of members: ``params`` and ``bytes`` ``[K, S]``."""
        found = {"params": self.params, "bytes": self.bytes}
        return {name: grid for name, grid in found.items() if grid.numel()}

    @property
    def metric(self) -> str:
        """Metric that members are compared by: that of the proper loss, or the first if it was not measured."""
        return self.proper if self.proper in self.metrics else next(iter(self.metrics))

    def best(self, metric: str | None = None) -> list[Best]:
        """Returns the best member at each share, by ``metric``; of equals the one at the largest λ.

        Args:
            metric: one of the metrics; by default that of the proper loss. Shares without a finite value are left out.
        """
        values = self.metrics[self._known(metric or self.metric)]
        losses = -values if (metric or self.metric) in self.higher else values
        found = []
        for place, share in enumerate(self.shares):
            rows = [Row(lam, float(losses[k, place])) for k, lam in enumerate(self.lams)]
            if any(row.is_measured for row in rows):
                row = best(rows)
                found.append(Best(share, self.lams[row], float(values[row, place])))
        return found

    def rows(self) -> list[Row]:
        """Returns the mean weights of all members as the rules of ``core.best`` see them, share by share for each λ."""
        lams = [lam for lam in self.lams for _ in self.shares]
        return paired(self.losses, lams, sizes=self.params.flatten().tolist())

    def is_worse_than_constant(self) -> Tensor:
        """Returns which members predict worse than a constant ``[K, S]``, by the metric that they are compared by."""
        values = self.metrics[self.metric]
        limit = self.constant.get(self.metric, math.nan)
        return values < limit if self.metric in self.higher else values > limit

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
            **self.costs,
            **self.metrics,
            **{f"{name}_predictive": values for name, values in self.predictive.items()},
        }
        return [
            {"lam": lam, "share": share, **{n: float(v[k, s]) for n, v in columns.items()}}
            for k, lam in enumerate(self.lams)
            for s, share in enumerate(self.shares)
        ]

    def plot(self, metric: str | None = None, split: str | None = None) -> object:
        """Returns a metric over λ and share removed as a plotly figure: a map, with the line of best members.

        Args:
            metric: what is shown; by default accuracy where it was measured, else the metric that members are compared by.
            split: part of the data that was measured on, for the heading: ``valid`` or ``test``; by default none is named.
        """
        from netdial.report.plots import surface_plot

        usual = "accuracy" if "accuracy" in self.metrics else self.metric
        return surface_plot(self.table(), self._known(metric or usual), self.metric, split)

    def __repr__(self) -> str:
        """Returns how much was measured."""
        return f"Surface({len(self.lams)} values of λ, {len(self.shares)} shares removed, {', '.join(self.metrics)})"

    def _repr_html_(self) -> str:
        """Returns the best member at each share as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table(*self._summary)

    def __str__(self) -> str:
        """Returns the best member at each share as a table of text."""
        from netdial.report.plots import text_table

        return text_table(*self._summary)

    @property
    def _summary(self) -> tuple[list[dict[str, float]], str]:
        rows = [{"share removed": b.share, "λ": b.lam, self.metric: b.value} for b in self.best()]
        return rows, f"best of {len(self.lams)} members at each share removed"

    def _known(self, metric: str) -> str:
        if metric not in self.metrics:
            raise ConfigError(
                f"the surface holds no {metric!r} (it has {', '.join(self.metrics)}); ask for it with metrics="
            )
        return metric


@checked
@in_usual_modes
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
    refit: bool = False,
    kind: str | Task | None = None,
    metrics: Sequence[str] | None = None,
    n_samples: Whole = 0,
    seed: int = 0,
) -> Surface:
    """Returns metrics of members with fractions of their weights removed, all computed at once.

    Every value is what ``prune`` would give there, exported and evaluated on its own. The nll of a regression is under the law
    of errors of the whole member at λ, where that is known; ``prune`` forgets it, since errors change.

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
        refit: let the weights that are left make up for those that went, by least squares over ``train``, see ``prune``.
        kind: the task: a name, or a ``Task``; by default that of the family.
        metrics: which metrics of the task; by default ``task.metric`` and nll. ``best`` compares by that of the task's
            proper loss if it is among them, else by the first.
        n_samples: draws of the posterior predictive, the same random numbers everywhere; 0 leaves it out.
        seed: seed of the draws, and of criteria that draw.

    Raises:
        ConfigError: a share outside [0, 1), a λ outside the trained range, an unknown criterion or metric, or a
            criterion that lacks what it needs, or ``refit`` without training data.
    """
    part, task = admit(family.net, data, kind, family.task, columns=family.columns)
    if train is not None:
        train, _ = admit(family.net, train, task, None, "training part", family.columns)
    values = family.lams(lams)
    rule = Rule(criterion, policy or Policy(), fold, task, seed, refit)
    step = max(1, _FIELDS // family.layout.size)
    groups = [values[start : start + step] for start in range(0, len(values), step)]
    means, averages, removed, counted = [], [], [], []
    losses: list[Tensor] = []
    stored, width = StoredLeaves.of(family.export(values[0]), family.layout), 0
    for levels in decide_in_turn(family, groups, shares, rule, train):
        removed.append(_removed(levels, shares))
        draws, width = n_samples if family.log_std is not None else 0, n_outputs(levels, part)
        for here in levels.groups(len(part) * width if draws else 0):
            members = levels.select(here)
            counted.append(_counted(members, stored))
            batches = pieces(members, part)
            means.append(_of_means(members, batches, metrics, task, losses))
            if draws:
                averages.append(_of_draws(members, batches, metrics, task, draws, seed))
    counts = _in_order(counted, shares)
    return Surface(
        tuple(values),
        tuple(float(share) for share in shares),
        _in_order(means, shares),
        _in_order(averages, shares),
        torch.cat(removed),
        frozenset(name for name, metric in task.METRICS.items() if metric.higher),
        task.proper,
        counts["params"],
        torch.cat(losses).unflatten(0, (len(values), -1))[:, places(shares)].flatten(0, 1),
        constant_of(task, part.y if train is None else train.y, part.y, width, list(means[0])),
        counts["bytes"],
    )


def _noises(members: Levels, task: Task) -> Task:
    """Returns the task of members ``[K S]``; those at one λ have one noise, whatever was removed of them."""
    return task.along([lam for lam in members.lams for _ in range(members.count)])


def _of_means(
    members: Levels,
    batches: Sequence[Dataset],
    metrics: Sequence[str] | None,
    task: Task,
    losses: list[Tensor],
) -> dict[str, Tensor]:
    """Returns the metrics of mean weights ``[K S]``, and appends their losses ``[K S, N]``."""
    here = _noises(members, task).plugged_in()
    tally, found = Tally(metrics, here), []
    for out, batch in zip(run(members, batches), batches, strict=True):
        tally.add(out, batch.y.to(out.device))
        found.append(terms_of(out.cpu(), batch.y.cpu(), here))
    losses.append(torch.cat(found, dim=1))
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
    here = _noises(members, task)
    source, mixture, tally = generator(seed, "predictive"), Mixture(here), Tally(metrics, here)
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


def _counted(levels: Levels, stored: StoredLeaves) -> dict[str, Tensor]:
    """Returns how many numbers are not zero, and bytes, ``[K S]``."""
    costs = [
        stored.costs(stored.left(weights), weights.element_size())
        for k in range(len(levels.lams))
        for s in range(levels.count)
        for weights in [levels.weights_of(k, s)]
    ]
    return dict(zip(("params", "bytes"), torch.tensor(costs).mT, strict=True))


def _removed(levels: Levels, shares: Sequence[float]) -> Tensor:
    """Returns how many numbers each share takes away ``[K, S]``."""
    survivors = [row.long().bincount(minlength=levels.count + 1) for row in levels.survival.cpu()]
    return torch.stack(survivors).cumsum(dim=1)[:, places(shares)]
