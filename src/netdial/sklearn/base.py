"""What both estimators share: settings, split, training, choice of λ, outputs of a member."""

# ruff: noqa: N803  (X is scikit-learn's name for inputs)

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn

from netdial.core.arguments import Count, Whole, expect
from netdial.core.best import MEAN, PREDICTIVE, RULES
from netdial.core.errors import ConfigError, ShapeError, unknown
from netdial.core.layout import fill
from netdial.core.noise import generator
from netdial.core.outputs import ROWS
from netdial.data.dataset import Dataset
from netdial.data.memory.rows import alike, arranged
from netdial.data.scale import TargetScale
from netdial.family.domain import Domain
from netdial.family.family import Family
from netdial.folds import HeldOut, cross_validate
from netdial.measure import Path, calibrate, evaluate
from netdial.measure.forward import FamilyForward, Forward
from netdial.nets import build
from netdial.task import Task
from netdial.train.config import FitConfig, make_config
from netdial.train.fit import fit

Factory = Callable[[int, int], nn.Module]

_MIN_VALID = 8
"""Rows that a validation part has at least; with fewer, all rows are for training and nothing is chosen."""

_TRAINING = ("objective", "map", "lo", "hi", "epochs", "batch_size", "groups", "lr", "accelerator")
"""Parameters that are fields of ``FitConfig``."""


@dataclass(eq=False, repr=False)
class FamilyEstimator(BaseEstimator):
    """What both estimators share."""

    _task: ClassVar[Task]

    model: str | Factory = "mlp:32"
    _: KW_ONLY
    objective: str = "l1"
    map: str = "piecewise"
    lo: float | None = None
    hi: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    groups: int = 8
    lr: float = 1e-2
    validation_fraction: float = 0.2
    folds: int = 0
    lam: float | None = None
    metric: str | None = None
    by: str = "best"
    n_points: int = 9
    n_samples: int = 16
    accelerator: str = "cpu"
    random_state: int | np.random.RandomState | None = None

    def _rows(
        self, x: NDArray[Any], y: NDArray[Any], sample_weight: ArrayLike | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
        """Returns the rows to use, in an order that depends on their content, and their weights if they are no counts."""
        if sample_weight is None:
            return arranged(x, y, None)
        weight = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        return arranged(x, y, weight)

    def _seed(self) -> tuple[np.random.RandomState, int]:
        """Returns the source of the split, and the seed of everything else."""
        source = check_random_state(self.random_state)
        return source, int(source.randint(2**31 - 1))

    def _train(
        self,
        x: NDArray[Any],
        y: Tensor,
        weight: NDArray[np.float64] | None,
        parts: tuple[NDArray[Any], NDArray[Any]],
        seed: int,
    ) -> None:
        """Trains the family on inputs ``[N, F]`` and targets, and walks its path.

        Args:
            x: inputs.
            y: targets.
            weight: weights of the rows ``[N]``, or None.
            parts: rows to train on, and rows to choose on.
            seed: seed of everything.
        """
        train, valid = parts
        n_outputs = self._task.count(y)
        config = self._config(seed)
        net = self._network(x.shape[1], n_outputs, seed)
        scales = None if weight is None else weight[train]
        self.scaler_ = StandardScaler().fit(x[train], sample_weight=scales)
        inputs = torch.as_tensor(self.scaler_.transform(x), dtype=torch.float32)
        weights = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        whole = Dataset(inputs, y, weight=weights, target=self._units())
        self._draws_seed = seed
        self.path_: list[dict[str, float]] = []
        self.constant_: dict[str, float] = {}
        self._ways: dict[float, str] = {}
        middle = Domain(config.lo, config.hi).grid(1)[0]
        self.lam_ = middle if self.lam is None else float(self.lam)
        self.using_ = MEAN
        held = whole.select(torch.from_numpy(valid))
        if self.folds:
            self._fold(net, whole, config)
        else:
            part = whole.select(torch.from_numpy(train))
            self.family_: Family = fit(net, part, kind=self._task, config=config).cpu()
            if len(valid):
                self._hold(held, part.y)

    def _units(self) -> TargetScale | None:
        """Returns the units of standardised targets; none for classes."""
        return None

    def _fold(self, net: nn.Module, whole: Dataset, config: FitConfig) -> None:
        """Trains on all rows, and beside it without each fold; chooses on the rows that were held out."""
        found = cross_validate(
            net,
            whole,
            folds=self.folds,
            lams=self.n_points,
            kind=self._task,
            metric=self.metric,
            n_samples=self.n_samples,
            config=config,
        )
        self.family_ = found.family.cpu()
        self._choose(found.path, whole, HeldOut(found.folds, whole, found.rows))

    def _hold(self, valid: Dataset, train: Tensor) -> None:
        """Walks the path of the family on the validation part, and chooses there."""
        if self._task.targets == "numbers":
            calibrate(self.family_, valid)
        path = evaluate(
            self.family_,
            valid,
            lams=self.n_points,
            metric=self.metric,
            n_samples=self.n_samples,
            seed=self._draws_seed,
            train=train,
        )
        self._choose(path, valid, FamilyForward(self.family_, valid))

    def _choose(self, path: Path, held: Dataset, forward: Forward) -> None:
        """Chooses λ and what to predict with, by what members are worth on rows that were held out."""
        self.path_ = [
            {name: value for name, value in row.items() if value == value} for row in path.table()
        ]
        self.constant_ = path.constant
        weight = held.weight
        if weight is not None:
            path = replace(path, scores={w: s.weighted(weight) for w, s in path.scores.items()})
            for row in self.path_:
                row[f"weighted_{self._task.metric}"] = self._weighted(row["lam"], held, forward)
        lams = [member.lam for member in path.members]
        mean = path.scores[MEAN].losses
        gains = mean - path.scores.get(PREDICTIVE, path.scores[MEAN]).losses
        self._ways = {
            lam: PREDICTIVE if gain > 0 else MEAN for lam, gain in zip(lams, gains, strict=True)
        }
        if self.lam is None:
            self.lam_ = path.choose(self.by)[0].lam
        self.using_ = self._way(self.lam_)

    def _way(self, lam: float) -> str:
        """Returns what predicts better on validation data at the measured λ next to this one."""
        near = min(self._ways, key=lambda at: abs(math.log(at / lam)), default=None)
        return MEAN if near is None else self._ways[near]

    def _weighted(self, lam: float, held: Dataset, forward: Forward) -> float:
        """Returns the metric of a member, each example with its weight."""
        task = self.family_.task or self._task
        metric = task.known(task.metric)
        assert metric.each is not None and held.weight is not None
        each = metric.each(task, forward.means(lam), held.y).double()
        weight = held.weight.double()
        return float(metric.finish((each * weight).sum() / weight.sum().clamp_min(1e-300)))

    def _config(self, seed: int) -> FitConfig:
        """Returns the checked settings; nothing wrong with them waits until training is over."""
        if self.by not in RULES:
            raise unknown("rule", self.by, RULES)
        self._task.known(self.metric or self._task.proper)
        name = type(self).__name__
        expect(name, "n_points", self.n_points, Count)
        expect(name, "folds", self.folds, Whole)
        expect(name, "n_samples", self.n_samples, Whole)
        given = {name: getattr(self, name) for name in _TRAINING}
        config = make_config(**{k: v for k, v in given.items() if v is not None}, seed=seed)
        if self.lam is not None:
            lam = torch.tensor([float(self.lam)], dtype=torch.float64)
            Domain(config.lo, config.hi).unit(lam)
        return config

    def _network(self, n_features: int, n_outputs: int, seed: int) -> nn.Module:
        """Returns a fresh network ``[B, n_features] -> [B, n_outputs]``, checked on two rows of zeros."""
        if isinstance(self.model, str):
            return build(self.model, input_shape=(n_features,), n_outputs=n_outputs, seed=seed)
        if isinstance(self.model, nn.Module) or not callable(self.model):
            raise ConfigError(
                f"model={type(self.model).__name__}: expected text such as 'mlp:32', or a function "
                "(n_features, n_outputs) -> nn.Module"
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = self.model(n_features, n_outputs)
        if not isinstance(net, nn.Module):
            raise ConfigError(
                f"model: the function gave a {type(net).__name__}; expected an nn.Module"
            )
        with torch.no_grad():
            out = net.eval()(torch.zeros(2, n_features))
        shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        if shape != [2, n_outputs]:
            raise ShapeError(f"model: gives {shape} for 2 rows; expected a tensor [2, {n_outputs}]")
        return net.train()

    def _predicted(self, X: ArrayLike, lam: float | None) -> NDArray[np.float64]:
        """Returns probabilities ``[N, K]``, or standardised targets ``[N, T]``, of the member at λ."""
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float64)
        way = self.using_ if lam is None else self._way(lam)
        lam = self.lam_ if lam is None else lam
        net = self.family_.export(lam).double()
        inputs = torch.as_tensor(self.scaler_.transform(x), dtype=torch.float64)
        source, total = generator(self._draws_seed, "predictive"), torch.zeros(())
        draws = self.n_samples if way == PREDICTIVE else 1
        with torch.no_grad():
            for _ in range(draws):
                if way == PREDICTIVE:
                    fill(net, self.family_.sample(lam, source))
                outputs = torch.cat([net(part) for part in inputs.split(ROWS)])
                total = total + self._task.to_mean(outputs)
        found: NDArray[np.float64] = (total / draws).numpy()
        return found

    def _hold_out(
        self,
        x: NDArray[np.float64],
        y: NDArray[Any],
        labels: NDArray[Any] | None,
        source: np.random.RandomState,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns sorted rows for training and validation, class by class when labels are given.

        Rows that are equal, such as those of a whole-number weight, are in the same part. Every class keeps a row for
        training. A validation part below ``_MIN_VALID`` different rows is given up.
        """
        fraction = self.validation_fraction
        if not 0 <= fraction < 1:
            raise ConfigError(f"validation_fraction={fraction}; expected 0 <= fraction < 1")
        rows = np.arange(len(x))
        if self.folds:  # every row is held out in turn
            return rows, rows[:0]
        groups = (
            [rows] if labels is None else [rows[labels == label] for label in np.unique(labels)]
        )
        same = alike(torch.from_numpy(x), torch.from_numpy(y)).numpy()
        held = np.concatenate([_drawn(same[group], fraction, source) for group in groups])
        if len(held) < _MIN_VALID:
            return rows, rows[:0]
        valid = np.isin(same, held)
        return rows[~valid], rows[valid]


def _drawn(
    same: NDArray[np.int64], fraction: float, source: np.random.RandomState
) -> NDArray[np.int64]:
    """Returns which different rows to hold out so that they are next to a fraction of all, and not all.

    Args:
        same: for each row which one it is ``[N]``.
        fraction: of the rows.
        source: of the draw.
    """
    numbers, counts = np.unique(same, return_counts=True)
    order = source.permutation(len(numbers))
    sizes = np.concatenate([[0], np.cumsum(counts[order])[:-1]])
    taken = int(np.abs(sizes - round(fraction * len(same))).argmin())
    found: NDArray[np.int64] = numbers[order[:taken]]
    return found
