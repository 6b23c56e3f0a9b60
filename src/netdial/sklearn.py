"""Families as scikit-learn estimators: ``fit`` trains every complexity at once, ``predict`` takes the λ to use.

    model = FamilyClassifier().fit(X, y)
    model.path_                      # what each λ is worth on the validation part
    model.predict(X)                 # at lam_, the best of them
    model.predict(X, lam=10)         # at any other λ of the range, without training again

They follow scikit-learn's rules (the constructor only stores, ``fit`` validates, learned attributes end in ``_``) and
pass its ``check_estimator``. Inputs, and regression targets, are standardised by the training part. Predictions are
made with mean weights in double precision, so that they do not depend on which rows are predicted together.
"""

# ruff: noqa: N803  (X is scikit-learn's name for inputs)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from netdial.config import FitConfig, make_config
from netdial.core.errors import ConfigError, DataError, ShapeError, missing_extra
from netdial.data.dataset import Dataset
from netdial.family.domain import Domain
from netdial.family.family import Family
from netdial.fitting import fit
from netdial.measure.path import evaluate
from netdial.nets import build
from netdial.task import Classification, Regression, Task

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.metrics import accuracy_score, r2_score
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise missing_extra("netdial.sklearn", "data") from None

Factory = Callable[[int, int], nn.Module]

_MIN_VALID = 8
"""Rows that a validation part has at least; with fewer, all rows are for training and nothing is chosen."""

_BATCH = 4096


class _FamilyEstimator(BaseEstimator):
    """What both estimators share."""

    _task: Task

    def __init__(
        self,
        model: str | Factory = "mlp:32",
        *,
        objective: str = "scaled-kl",
        map: str = "piecewise",
        lo: float = 1e-3,
        hi: float = 1e2,
        epochs: int = 50,
        batch_size: int = 32,
        groups: int = 8,
        lr: float = 1e-2,
        validation_fraction: float = 0.2,
        lam: float | None = None,
        n_points: int = 9,
        accelerator: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.model = model
        self.objective = objective
        self.map = map
        self.lo = lo
        self.hi = hi
        self.epochs = epochs
        self.batch_size = batch_size
        self.groups = groups
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.lam = lam
        self.n_points = n_points
        self.accelerator = accelerator
        self.random_state = random_state

    def _train(
        self, x: NDArray[Any], y: Tensor, train: NDArray[Any], valid: NDArray[Any], seed: int
    ) -> None:
        """Trains the family on rows ``train`` of inputs ``[N, F]`` and targets, and walks its path on ``valid``."""
        n_outputs = self._task.count(y)
        config = self._config(seed)
        net = self._network(x.shape[1], n_outputs, seed)
        self.scaler_ = StandardScaler().fit(x[train])
        inputs = torch.as_tensor(self.scaler_.transform(x), dtype=torch.float32)
        parts = [Dataset(inputs[rows], y[rows]) for rows in (train, valid)]
        self.family_: Family = fit(net, parts[0], kind=self._task, config=config).cpu()
        self.path_ = self._walk(parts[1], len(train)) if len(valid) else []
        self.lam_ = self._choose()

    def _walk(self, valid: Dataset, n_data: int) -> list[dict[str, float]]:
        """Returns one row for each λ of a grid; what cannot be told for this kind of family is left out."""
        path = evaluate(self.family_, valid, lams=self.n_points, kind=self._task, n_data=n_data)
        return [
            {name: value for name, value in row.items() if value == value} for row in path.table()
        ]

    def _choose(self) -> float:
        """Returns the λ to predict at: as set, else the best of the path (the larger of equals), else the middle."""
        if self.lam is not None:
            return float(self.lam)
        if not self.path_:
            return Domain(self.lo, self.hi).grid(1)[0]
        metric = self._task.metric
        sign = self._task.better(metric)
        return max(self.path_, key=lambda row: (sign * row[metric], row["lam"]))["lam"]

    def _config(self, seed: int) -> FitConfig:
        """Returns the checked settings; nothing wrong with them waits until training is over."""
        if self.lam is not None:
            Domain(self.lo, self.hi).unit(torch.tensor([float(self.lam)], dtype=torch.float64))
        if self.n_points < 1:
            raise ConfigError(
                f"n_points={self.n_points}; at least 1 value of lam is needed for path_"
            )
        return make_config(
            objective=self.objective,
            map=self.map,
            lo=self.lo,
            hi=self.hi,
            epochs=self.epochs,
            batch_size=self.batch_size,
            groups=self.groups,
            lr=self.lr,
            accelerator=self.accelerator,
            seed=seed,
        )

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

    def _outputs(self, X: ArrayLike, lam: float | None) -> NDArray[np.float64]:
        """Returns the member's outputs ``[N, K]`` at λ."""
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float64)
        net = self.family_.export(self.lam_ if lam is None else lam).double()
        inputs = torch.as_tensor(self.scaler_.transform(x), dtype=torch.float64)
        with torch.no_grad():
            outputs = torch.cat([net(part) for part in inputs.split(_BATCH)])
        found: NDArray[np.float64] = outputs.numpy()
        return found

    def _hold_out(
        self, n_rows: int, labels: NDArray[Any] | None, source: np.random.RandomState
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns sorted rows for training and validation, class by class when labels are given.

        Every class keeps a row for training. A validation part below ``_MIN_VALID`` rows is given up.
        """
        fraction = self.validation_fraction
        if not 0 <= fraction < 1:
            raise ConfigError(f"validation_fraction={fraction}; expected 0 <= fraction < 1")
        rows = np.arange(n_rows)
        groups = (
            [rows] if labels is None else [rows[labels == label] for label in np.unique(labels)]
        )
        held = [
            source.permutation(group)[: min(round(fraction * len(group)), len(group) - 1)]
            for group in groups
        ]
        valid = np.sort(np.concatenate(held))
        if len(valid) < _MIN_VALID:
            return rows, rows[:0]
        return np.setdiff1d(rows, valid), valid


class FamilyClassifier(ClassifierMixin, _FamilyEstimator):
    """Classification at every complexity from one training run.

    Args:
        model: network: ``linear``, ``mlp:32``, ``mlp:64-32``, or a function ``(n_features, n_outputs) -> nn.Module``.
        objective: ``scaled-kl``, ``scaled-prior`` or ``l2``.
        map: how parameters depend on λ: ``piecewise``, ``linear``, ``lowrank`` or ``gated``.
        lo, hi: range of complexity values.
        epochs: passes over the training rows.
        batch_size: rows in a batch; smaller data is one batch.
        groups: complexity values in a batch.
        lr: peak learning rate (Adam, one cycle).
        validation_fraction: share of rows held out for ``path_`` and ``lam_``, 0 <= fraction < 1.
        lam: complexity value to predict at; None takes the best on the validation part.
        n_points: complexity values of ``path_``, evenly spaced on the log scale.
        accelerator: where to train: ``cpu``, ``gpu``, ``mps`` or ``auto``; predictions are made on the CPU.
        random_state: decides start, order, noise and split.

    Attributes:
        classes_: labels ``[K]`` in the order of ``predict_proba``.
        family_: the trained ``netdial.Family``; its inputs are standardised.
        path_: rows ``{"lam", "accuracy", "nll", "brier", "ece", …}`` of the validation part, by λ; empty if fewer
            than 8 rows could be held out.
        lam_: complexity value used when ``predict`` is given none: ``lam``, else that of the best accuracy in ``path_``
            (the larger of equals), else the middle of the range.
        scaler_: the ``StandardScaler`` of the inputs.
        n_features_in_: F.
    """

    _task = Classification()

    def fit(self, X: ArrayLike, y: ArrayLike) -> FamilyClassifier:
        """Trains the family on inputs ``[N, F]`` and labels ``[N]``.

        Raises:
            ValueError: X or y cannot be used, there is one class only, or an option is not allowed.
        """
        x, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"y: one class only ({self.classes_[0]}); classification needs at least two classes"
            )
        source = check_random_state(self.random_state)
        seed = int(source.randint(2**31 - 1))
        train, valid = self._hold_out(len(x), index, source)
        self._train(x, torch.as_tensor(index, dtype=torch.int64), train, valid, seed)
        return self

    def predict(self, X: ArrayLike, lam: float | None = None) -> NDArray[Any]:
        """Returns labels ``[N]`` of inputs ``[N, F]`` at complexity ``lam`` (``lam_`` by default).

        Raises:
            ConfigError: λ lies outside the trained range.
        """
        outputs = self._outputs(X, lam)
        labels: NDArray[Any] = self.classes_[outputs.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike, lam: float | None = None) -> NDArray[np.float64]:
        """Returns class probabilities ``[N, K]`` of inputs ``[N, F]`` at complexity ``lam`` (``lam_`` by default)."""
        probs: NDArray[np.float64] = torch.from_numpy(self._outputs(X, lam)).softmax(dim=1).numpy()
        return probs

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        lam: float | None = None,
    ) -> float:
        """Returns the accuracy at complexity ``lam`` (``lam_`` by default)."""
        return float(accuracy_score(y, self.predict(X, lam), sample_weight=sample_weight))


class FamilyRegressor(RegressorMixin, _FamilyEstimator):
    """Regression at every complexity from one training run; targets may be several.

    Arguments are those of ``FamilyClassifier``; the likelihood is a unit-variance normal around standardised targets.

    Attributes:
        family_: the trained ``netdial.Family``; its inputs and outputs are standardised.
        path_: rows ``{"lam", "rmse", "r2", "nll", …}`` of the validation part, by λ, in units of standardised targets;
            empty if fewer than 8 rows could be held out.
        lam_: complexity value used when ``predict`` is given none: ``lam``, else that of the lowest rmse in ``path_``
            (the larger of equals), else the middle of the range.
        scaler_: the ``StandardScaler`` of the inputs.
        target_scaler_: the ``StandardScaler`` of the targets.
        n_features_in_: F.
    """

    _task = Regression()

    def fit(self, X: ArrayLike, y: ArrayLike) -> FamilyRegressor:
        """Trains the family on inputs ``[N, F]`` and targets ``[N]`` or ``[N, T]``.

        Raises:
            ValueError: X or y cannot be used, there is one row only, or an option is not allowed.
        """
        x, targets = validate_data(
            self, X, y, dtype=np.float64, y_numeric=True, multi_output=True, ensure_min_samples=2
        )
        self._is_flat = targets.ndim == 1
        source = check_random_state(self.random_state)
        seed = int(source.randint(2**31 - 1))
        train, valid = self._hold_out(len(x), None, source)
        columns = targets.reshape(len(x), -1)
        self.target_scaler_ = StandardScaler().fit(columns[train])
        scaled = torch.as_tensor(self.target_scaler_.transform(columns), dtype=torch.float32)
        self._train(x, scaled, train, valid, seed)
        return self

    def predict(self, X: ArrayLike, lam: float | None = None) -> NDArray[np.float64]:
        """Returns predictions ``[N]`` or ``[N, T]``, in the units of y, at complexity ``lam`` (``lam_`` by default).

        Raises:
            ConfigError: λ lies outside the trained range.
        """
        outputs = self._outputs(X, lam)
        found: NDArray[np.float64] = self.target_scaler_.inverse_transform(outputs)
        return found[:, 0] if self._is_flat else found

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        lam: float | None = None,
    ) -> float:
        """Returns R² at complexity ``lam`` (``lam_`` by default)."""
        return float(r2_score(y, self.predict(X, lam), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        """Returns scikit-learn's description of the estimator."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
