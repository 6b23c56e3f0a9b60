"""The estimator for classification."""

# ruff: noqa: N803  (X is scikit-learn's name for inputs)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from netdial.core.errors import DataError
from netdial.sklearn.base import FamilyEstimator
from netdial.task import Classification, Task


@dataclass(eq=False, repr=False, kw_only=True)
class FamilyClassifier(ClassifierMixin, FamilyEstimator):
    """Classification at every complexity from one training run.

    Args:
        model: network: ``linear``, ``mlp:32``, ``mlp:64-32``, or a function ``(n_features, n_outputs) -> nn.Module``.
        objective: ``l1``, ``l2``, ``log-sum``, or one with a posterior: ``ard``, ``scaled-kl``, ``scaled-prior``.
        map: how parameters depend on λ: ``piecewise``, ``linear``, ``lowrank`` or ``gated``.
        lo, hi: range of complexity values; None for that of the objective.
        epochs: passes over the training rows; None for some 4,000 steps, in 10 to 250 passes.
        batch_size: rows in a batch; None for 32 to 256, more for more rows.
        groups: complexity values in a batch.
        lr: peak learning rate (Adam, one cycle).
        validation_fraction: share of rows held out for ``path_`` and ``lam_``, 0 <= fraction < 1.
        folds: where rows are few: 2 or more train on all rows and choose on rows that are held out fold by fold, in one
            run (``netdial.cross_validate``), and no fraction is set aside; 0 for none.
        lam: complexity value to predict at; None takes the best on the validation part.
        metric: metric that decides: ``accuracy``, ``balanced_accuracy``, ``f1``, ``auc`` …; None for the log loss (RMSE for
            regression). Members chosen by accuracy often have poor probabilities.
        by: ``best``, or ``one-se`` for the largest λ within one standard error of the best.
        n_points: complexity values of ``path_``, evenly spaced on the log scale.
        n_samples: draws of the posterior predictive; 0 predicts with mean weights always.
        accelerator: where to train: ``cpu``, ``gpu``, ``mps`` or ``auto``; predictions are made on the CPU.
        random_state: decides start, order, noise and split; the order of the rows plays no part.
        class_weight: how much the classes count in training and in the choice of ``lam_``: ``balanced`` for all the same, or
            a weight for each label; None for every row the same.

    Attributes:
        classes_: labels ``[K]`` in the order of ``predict_proba``.
        family_: the trained ``netdial.Family``; its inputs are standardised.
        path_: rows ``{"lam", "accuracy", "nll", "brier", "ece", …}`` of the validation part, by λ; empty if fewer
            than 8 rows could be held out. With weights, ``weighted_accuracy`` beside those, which count every row once.
        constant_: the same metrics of a constant, the class frequencies.
        lam_: complexity value used when ``predict`` is given none: ``lam``, else the best of ``path_`` by ``metric`` (weighted,
            if there are weights; the larger of equals), else the middle of the range.
        using_: what predictions at ``lam_`` are made with: ``mean weights``, or ``predictive`` (the average over the
            posterior), whichever did better on the validation part. At another ``lam`` it is what did better next to it.
        scaler_: the ``StandardScaler`` of the inputs.
        n_features_in_: F.
    """

    _task: ClassVar[Task] = Classification()

    class_weight: str | dict[Any, float] | None = None

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FamilyClassifier:
        """Trains the family on inputs ``[N, F]`` and labels ``[N]``.

        Args:
            X: inputs.
            y: labels.
            sample_weight: weights of the rows ``[N]``, 0 or more. Whole numbers are counts: a row of weight 2 is the same as
                two rows. Others say how much rows count compared with one another.

        Raises:
            ValueError: X or y cannot be used, there is one class only, or an option is not allowed.
        """
        x, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        _, codes = np.unique(labels, return_inverse=True)
        rows, weight = self._rows(x, codes, sample_weight)
        x, labels = x[rows], labels[rows]
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"y: one class only ({self.classes_[0]}); classification needs at least two classes"
            )
        if self.class_weight is not None:
            of_class = compute_class_weight(
                self.class_weight, classes=self.classes_, y=labels, sample_weight=weight
            )
            weight = of_class[index] * (1.0 if weight is None else weight)
        source, seed = self._seed()
        parts = self._hold_out(x, index, index, source)
        self._train(x, torch.as_tensor(index, dtype=torch.int64), weight, parts, seed)
        return self

    def predict(self, X: ArrayLike, lam: float | None = None) -> NDArray[Any]:
        """Returns labels ``[N]`` of inputs ``[N, F]`` at complexity ``lam`` (``lam_`` by default).

        Raises:
            ConfigError: λ lies outside the trained range.
        """
        probs = self._predicted(X, lam)
        labels: NDArray[Any] = self.classes_[probs.argmax(axis=1)]
        return labels

    def predict_proba(self, X: ArrayLike, lam: float | None = None) -> NDArray[np.float64]:
        """Returns class probabilities ``[N, K]`` of inputs ``[N, F]`` at complexity ``lam`` (``lam_`` by default).

        They are those of the network of mean weights, or averaged over the posterior; see ``using_``.
        """
        return self._predicted(X, lam)

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        lam: float | None = None,
    ) -> float:
        """Returns the accuracy at complexity ``lam`` (``lam_`` by default)."""
        return float(accuracy_score(y, self.predict(X, lam), sample_weight=sample_weight))
