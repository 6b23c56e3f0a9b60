"""``cross_validate``: a family on all rows, and what its members are worth, from families on folds of the rows.

Where there are few labels, rows spared for validation are missed in training, and estimates of evidence from training rows
alone are poor guides of networks that can fit them. Here every row is held out once: S + 1 families train side by side in one
run, one on all rows and S each without a fold, and the members at one λ are scored together on the rows that they have not
seen (Stone 1974). What is chosen is λ; the network is that of the family on all rows.

Shapes: N rows, S folds, L complexity values, M draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from netdial.choice.averaging import Average
from netdial.core.arguments import Whole, checked
from netdial.core.errors import ConfigError, DataError
from netdial.core.noise import generator
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, as_dataset
from netdial.data.memory.columns import columns_of
from netdial.data.memory.rows import alike
from netdial.family.family import Family
from netdial.folds.training import families_on, held_out_rows
from netdial.measure.evaluation import path_of
from netdial.measure.forward import FamilyForward
from netdial.measure.noise import lacks_noise, note_noise
from netdial.measure.path import Path
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.rehearsal import admit
from netdial.task.several import taken_up
from netdial.train.config import FitConfig
from netdial.train.fit import settings_of
from netdial.train.loop import Epoch


@dataclass(frozen=True)
class CrossValidated:
    """A family trained on all rows, and what is known of its members from rows that were held out.

    Attributes:
        family: the family on all rows.
        folds: the families on the rows without each fold.
        rows: the held-out rows of each.
        path: members along λ on held-out rows, each row predicted by the family that has not seen it; ``path.best()``,
            ``path.best("one-se")`` and ``path.plot()`` are those of ``nd.evaluate``.
        task: what is predicted.
    """

    family: Family
    folds: tuple[Family, ...]
    rows: tuple[Tensor, ...] = field(repr=False)
    path: Path
    task: Task

    def _repr_html_(self) -> str:
        """Returns the members on held-out rows as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table(
            self.path.table(),
            f"{len(self.path.members)} members along λ, on held-out rows of {len(self.folds)} folds",
        )

    def __repr__(self) -> str:
        """Returns its best λ, and of how many."""
        return f"CrossValidated(lam={self.lam:.4g}, folds={len(self.folds)}, members={len(self.path.members)})"

    @property
    def lam(self) -> float:
        """The complexity value whose members predict held-out rows best."""
        return self.path.best().lam

    @checked
    def member(self, rule: str = "best") -> nn.Module:
        """Returns the network that the family on all rows gives at the chosen λ, an ordinary module.

        Args:
            rule: ``best`` on held-out rows, or ``one-se`` for the simplest that is as good.
        """
        return self.family.export(self.path.best(rule).lam)

    @checked
    def average(self, rule: str = "best") -> Average:
        """Returns all families' members at the chosen λ as one network, which averages what they predict.

        It costs S + 1 times the inference of one member.

        Args:
            rule: as of ``member``.
        """
        lam, families = self.path.best(rule).lam, [self.family, *self.folds]
        count = len(families)
        like = self.family.like
        return Average(
            [family.export(lam) for family in families],
            like.new_full((count,), 1 / count),
            self.task,
            [lam] * count,
            range(count),
        )


@checked
@in_usual_modes
def cross_validate(
    net: nn.Module,
    data: Data,
    *,
    folds: int | Iterable[Any] = 5,
    lams: int | Sequence[float] = 21,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    metric: str | None = None,
    n_samples: Whole | None = None,
    config: FitConfig | None = None,
    report: Callable[[Epoch], None] | None = None,
    **settings: Any,
) -> CrossValidated:
    """Trains a family on all rows and one without each fold, in one run, and returns it with the worth of its members.

    Use it in place of ``fit`` where there are too few rows to spare some for validation. The noise of a regression is
    estimated from the held-out rows as well, so intervals are there, too.

    Networks with running statistics (BatchNorm), parameters that are shared along λ, other maps than piecewise-linear ones and
    optimisers that look at whole tensors train one family after another, for S + 1 times the cost.

    Args:
        net: as of ``fit``; all families start from it.
        data: all rows, in memory.
        folds: S, how many folds, of random rows with as even a mix of classes as can be, equal rows in the same one; or the
            held-out rows of each fold; or pairs of (rows trained on, rows held out), such as splitters of scikit-learn give
            (``GroupKFold`` for rows that belong together): ``splitter.split(x, y, groups)``.
        lams: complexity values that are compared, or how many to space evenly over the range.
        kind: as of ``fit``.
        loss: as of ``fit``.
        metric: what members are compared by; by default the task's proper loss.
        n_samples: draws of the posterior predictive, as of ``evaluate``.
        config: all settings at once; or give them by name (see ``FitConfig``).
        report: told of every finished epoch.
        **settings: fields of ``FitConfig``.

    Raises:
        ConfigError: an option is unknown or out of range.
        DataError: the data cannot be used, or folds do not hold every row once.
    """
    config = settings_of(config, settings)
    given = as_dataset(data)
    kind, start = taken_up(net, given, kind, loss)
    part, task = admit(start, given, kind, part="training part")
    held = _held_out(part, folds, config.seed)
    everything = torch.arange(len(part))
    without = [everything[~torch.isin(everything, rows)] for rows in held]
    family, *others = families_on(start, part, [everything, *without], task, config, report)
    for one in (family, *others):
        one.columns = columns_of(data)
    forward = HeldOut(others, part, held)
    values = family.lams(lams)
    if lacks_noise(family.task, len(part)):
        grid = sorted({values[round(i * (len(values) - 1) / 8)] for i in range(9)})
        note_noise(family, family.task, part.y, forward, grid)
    known = family.task or task
    path = path_of(
        family,
        part,
        known,
        forward,
        lams=values,
        n_samples=n_samples,
        seed=config.seed,
        metric=metric,
    )
    return CrossValidated(family, tuple(others), tuple(held), path, known)


class HeldOut:
    """Outputs of members on the rows that each family has not seen, in the order of the data.

    Args:
        families: one without each fold.
        part: all rows.
        held: the rows of each fold; every row is in one.
    """

    def __init__(self, families: Sequence[Family], part: Dataset, held: Sequence[Tensor]) -> None:
        pairs = zip(families, held, strict=True)
        self._folds = [FamilyForward(family, part.select(rows)) for family, rows in pairs]
        self._back = torch.cat(list(held)).argsort()

    def means(self, lam: float) -> Tensor:
        """Returns outputs ``[N, ...]`` of the mean weights at λ."""
        return torch.cat([fold.means(lam) for fold in self._folds])[self._back]

    def draws(self, lam: float, n_samples: int, seed: int) -> Tensor:
        """Returns outputs ``[M, N, ...]`` of draws from the posteriors at λ."""
        found = [fold.draws(lam, n_samples, seed) for fold in self._folds]
        return torch.cat(found, dim=1)[:, self._back]


def _held_out(part: Dataset, folds: int | Iterable[Any], seed: int) -> list[Tensor]:
    """Returns the held-out rows of each fold, checked."""
    count = len(part)
    if isinstance(folds, int):
        return _random_folds(part, folds, seed)
    held = [_rows_of(fold, place, count) for place, fold in enumerate(folds, 1)]
    if len(held) < 2:
        raise ConfigError(
            f"folds: {len(held)} given; give the held-out rows of 2 folds or more, or how many folds"
        )
    counted = torch.cat(held).sort().values
    if not torch.equal(counted, torch.arange(count)):
        raise DataError(
            f"folds: together they name {len(counted)} rows, {len(counted.unique())} of them different, from {_ends(counted)}; "
            f"every row from 0 to {count - 1} must be held out exactly once"
        )
    return held


def _random_folds(part: Dataset, folds: int, seed: int) -> list[Tensor]:
    """Returns the held-out rows of random folds; equal rows, such as repeated ones, are held out together."""
    same = alike(part.x, part.y)
    count = int(same.max()) + 1 if len(same) else 0
    if not 2 <= folds <= count:
        different = "" if count == len(part) else f", {count} of them different"
        raise ConfigError(
            f"folds={folds}: there are {len(part)} rows{different}; give a number from 2 to {count}"
        )
    first = torch.full((count,), len(part)).scatter_reduce(0, same, torch.arange(len(part)), "amin")
    held = held_out_rows(part.y[first.to(part.y.device)], folds, generator(seed, "folds"))
    return [torch.isin(same, numbers).nonzero().flatten() for numbers in held]


def _rows_of(fold: Any, place: int, count: int) -> Tensor:
    """Returns the held-out rows of one fold: its own numbers, or the second of a pair whose first are all other rows."""
    pair = isinstance(fold, tuple | list) and len(fold) == 2 and not any(map(_is_number, fold))
    rows = [_whole(numbers, place) for numbers in (fold if pair else [fold])]
    if pair and not torch.equal(torch.cat(rows).sort().values, torch.arange(count)):
        raise DataError(
            f"folds: the two parts of fold {place} hold {len(rows[0])} and {len(rows[1])} of {count} rows; a family is trained "
            "on all rows that are not held out, so together they must hold every row once"
        )
    return rows[-1]


def _is_number(value: Any) -> bool:
    return not hasattr(value, "__len__") or getattr(value, "ndim", 1) == 0


def _whole(numbers: Any, place: int) -> Tensor:
    try:
        rows = torch.as_tensor(numbers)
    except (TypeError, ValueError, RuntimeError):
        rows = torch.empty(0, 0)
    if rows.ndim != 1 or rows.is_floating_point() or rows.dtype == torch.bool:
        raise DataError(
            f"folds: fold {place} is no list of rows; give the indices of the held-out rows of each fold, whole numbers, or "
            "pairs of (rows trained on, rows held out)"
        )
    return rows.long()


def _ends(rows: Tensor) -> str:
    return f"{int(rows[0])} to {int(rows[-1])}" if len(rows) else "none"
