"""The estimator for regression."""

# ruff: noqa: N803  (X is scikit-learn's name for inputs)

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from netdial.core.errors import DataError
from netdial.data.scale import TargetScale
from netdial.measure import intervals
from netdial.sklearn.base import FamilyEstimator
from netdial.task import Regression, Task


class FamilyRegressor(RegressorMixin, FamilyEstimator):
    """Regression at every complexity from one training run; targets may be several.

    Arguments are those of ``FamilyClassifier`` but for ``class_weight``; the likelihood is normal, with the variances of
    held-out rows.

    Attributes:
        family_: the trained ``netdial.Family``; its inputs and outputs are standardised.
        path_: rows ``{"lam", "rmse", "r2", "nll", …}`` of the validation part, by λ, in the unit of y (``rmse`` of several
            targets in standard deviations of each); empty if fewer than 8 rows could be held out.
        constant_: the same metrics of a constant, the mean of the targets.
        lam_, using_: as for ``FamilyClassifier``, by RMSE.
        scaler_: the ``StandardScaler`` of the inputs.
        target_scaler_: the ``StandardScaler`` of the targets.
        n_features_in_: F.
    """

    _task: ClassVar[Task] = Regression()

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FamilyRegressor:
        """Trains the family on inputs ``[N, F]`` and targets ``[N]`` or ``[N, T]``.

        Args:
            X: inputs.
            y: targets.
            sample_weight: weights of the rows ``[N]``, as for ``FamilyClassifier``.

        Raises:
            ValueError: X or y cannot be used, there is one row only, or an option is not allowed.
        """
        x, targets = validate_data(
            self, X, y, dtype=np.float64, y_numeric=True, multi_output=True, ensure_min_samples=2
        )
        if targets.dtype.kind in "mM":
            raise DataError(f"y: {targets.dtype}, where numbers are needed; give days or seconds")
        self._is_flat = targets.ndim == 1
        columns = targets.reshape(len(x), -1)
        rows, weight = self._rows(x, columns, sample_weight)
        x, columns = x[rows], columns[rows]
        source, seed = self._seed()
        train, valid = self._hold_out(x, columns, None, source)
        scales = None if weight is None else weight[train]
        self.target_scaler_ = StandardScaler().fit(columns[train], sample_weight=scales)
        scaled = torch.as_tensor(self.target_scaler_.transform(columns), dtype=torch.float32)
        self._train(x, scaled, weight, (train, valid), seed)
        return self

    def predict(self, X: ArrayLike, lam: float | None = None) -> NDArray[np.float64]:
        """Returns predictions ``[N]`` or ``[N, T]``, in the units of y, at complexity ``lam`` (``lam_`` by default).

        Raises:
            ConfigError: λ lies outside the trained range.
        """
        outputs = self._predicted(X, lam)
        found: NDArray[np.float64] = self.target_scaler_.inverse_transform(outputs)
        return found[:, 0] if self._is_flat else found

    def predict_interval(
        self, X: ArrayLike, level: float = 0.9, lam: float | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns the ends of central intervals of new targets, each like ``predict``'s, at complexity ``lam``.

        Args:
            X: inputs ``[N, F]``.
            level: probability that a target lies inside.
            lam: complexity value; ``lam_`` by default.

        Raises:
            ConfigError: λ lies outside the trained range, or fewer than 8 rows were held out, so that the noise is not known.
        """
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float64)
        inputs = torch.as_tensor(self.scaler_.transform(x), dtype=torch.float32)
        found = intervals(self.family_, inputs, self.lam_ if lam is None else lam, level=level)
        lower, upper = found.lower.numpy(), found.upper.numpy()
        return (lower[:, 0], upper[:, 0]) if self._is_flat else (lower, upper)

    def _units(self) -> TargetScale:
        """Returns the units of y."""
        scaler = self.target_scaler_
        mean, std = (tuple(map(float, values)) for values in (scaler.mean_, scaler.scale_))
        return TargetScale(tuple(f"y{i}" for i in range(len(mean))), mean, std)

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
