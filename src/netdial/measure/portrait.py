"""Portrait of a member: what there is to see beyond its metrics. Figures by class, calibration, residuals, its weights.

Everything comes back as plain Python numbers; those that do not exist are None. Shapes: N examples, C classes, T targets,
Q levels, H bins.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MANY_CLASSES = 30
"""Classes beyond which there is no confusion matrix."""
CALIBRATION_BINS = 10
ROUNDED = 1e-5
"""Share of a width by which an error that lies on its end may be off."""


def known(value: float) -> float | None:
    """Returns a number with all its digits, None if it is not finite: numbers are rounded once, where they are shown."""
    return value if math.isfinite(value) else None


def all_known(values: Tensor) -> list[float | None]:
    """Returns numbers with all their digits; those that are not finite are None."""
    return [known(value) for value in values.tolist()]


def histogram(values: Tensor, low: float, high: float, count: int) -> list[int]:
    """Returns how many values lie in each of equal bins ``[H]``; those outside count in the first or the last."""
    place = ((values.double() - low) / (high - low) * count).floor()
    place = place.nan_to_num(nan=0.0, posinf=count - 1, neginf=0.0).clamp(0, count - 1)
    found: list[int] = place.long().flatten().bincount(minlength=count).tolist()
    return found


def classes(probs: Tensor, targets: Tensor) -> dict[str, Any]:
    """Returns precision, recall, F1 and one-against-rest AUC by class, their means, and the confusion matrix.

    Means are over the classes that occur, as in the metrics ``balanced_accuracy`` and ``auc``.

    Args:
        probs: probabilities ``[N, C]``.
        targets: classes ``[N]``.
    """
    count, top, truth = probs.shape[1], probs.argmax(dim=1), targets.long()
    matrix = (truth * count + top).bincount(minlength=count * count).view(count, count)
    support, named, right = matrix.sum(1), matrix.sum(0), matrix.diagonal().double()
    recall, precision = right / support, right / named
    f1 = 2 * right / (support + named)
    area, occurs = _areas(probs, truth), support > 0
    return {
        "support": support.tolist(),
        "precision": all_known(precision),
        "recall": all_known(recall),
        "f1": all_known(f1),
        "auc": all_known(area),
        "balanced_accuracy": known(float(recall[occurs].mean())),
        "mean_auc": known(float(area[occurs].mean())),
        "confusion": matrix.tolist() if count <= MANY_CLASSES else None,
    }


def calibration(probs: Tensor, targets: Tensor) -> list[tuple[float, float, int]]:
    """Returns (mean top probability, share that is right, examples) of each bin of the top probability that is not empty."""
    top, which = probs.double().max(dim=1)
    right = (which == targets).double()
    place = (top * CALIBRATION_BINS).long().clamp(0, CALIBRATION_BINS - 1)
    found = []
    for index in range(CALIBRATION_BINS):
        here = place == index
        if bool(here.any()):
            means = float(top[here].mean()), float(right[here].mean())
            found.append((*means, int(here.sum())))
    return found


def numbers(
    predicted: Tensor, truth: Tensor, bins: tuple[float, float, int], sample: int
) -> dict[str, Any]:
    """Returns the errors of one target in its own units: RMSE, MAE, bias, R², a histogram, and predictions of a sample.

    Args:
        predicted: predictions ``[N]``.
        truth: true values ``[N]``.
        bins: low, high and count of the bins of residuals.
        sample: so many of the first examples.
    """
    error = (predicted - truth).double()
    spread = float((truth.double() - truth.double().mean()).square().sum())
    return {
        "rmse": known(float(error.square().mean().sqrt())),
        "mae": known(float(error.abs().mean())),
        "bias": known(float(error.mean())),
        "r2": known(1 - float(error.square().sum()) / spread) if spread else None,
        "residuals": histogram(error, *bins),
        "predicted": all_known(predicted[:sample]),
    }


def coverage(error: Tensor, half: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Returns level -> share of errors ``[N]`` that lie in an interval; ``half`` is (level, half its width) pairs.

    Widths are held-out errors: the error itself lies inside, however its last digits are rounded.
    """
    return {
        f"{level:g}": float((error.abs() <= width * (1 + ROUNDED)).double().mean())
        for level, width in half
    }


def _areas(probs: Tensor, truth: Tensor) -> Tensor:
    """Returns the area under the ROC curve of each class against the rest ``[C]``; NaN where it does not exist."""
    from torchmetrics.functional.classification import multiclass_auroc

    count = probs.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that do not occur; they are nan below
        found: Tensor = multiclass_auroc(probs, truth, count, average="none")
    support = truth.bincount(minlength=count)
    there = (support > 0) & (support < len(truth))
    return torch.where(there, found.double(), torch.full((count,), math.nan, dtype=torch.float64))
