"""Metrics of predictions: accuracy, NLL, Brier score, calibration error; RMSE and R² for regression.

Definitions are torchmetrics'. The Brier score is the mean over examples of the squared distance between predicted
probabilities and the one-hot target (0 best, 2 worst); ECE uses 15 equal bins of the top probability.
NLL is in nats per example; for regression it is that of a unit-variance normal.

Shapes: B examples, C classes, T targets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from netdial.objective import gaussian_nll


def classification_metrics(log_probs: Tensor, targets: Tensor) -> dict[str, float]:
    """Returns accuracy, nll, brier and ece of log probabilities ``[B, C]`` for class indices ``[B]``."""
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
    )

    classes = log_probs.shape[1]
    probs = log_probs.exp()
    one_hot = torch.nn.functional.one_hot(targets, classes).to(probs)
    return {
        "accuracy": float(multiclass_accuracy(probs, targets, classes, average="micro")),
        "nll": float(torch.nn.functional.nll_loss(log_probs, targets)),
        "brier": float((probs - one_hot).square().sum(dim=1).mean()),
        "ece": float(multiclass_calibration_error(probs, targets, classes, n_bins=15)),
    }


def regression_metrics(outputs: Tensor, targets: Tensor, nll: Tensor) -> dict[str, float]:
    """Returns rmse, r2 and nll of outputs ``[B, T]`` for targets ``[B, T]``; ``nll`` is per example ``[B]``."""
    from torchmetrics.functional.regression import mean_squared_error, r2_score

    rmse = float(mean_squared_error(outputs, targets, squared=False))
    r2 = float(r2_score(outputs, targets)) if len(targets) > 1 else float("nan")
    return {"rmse": rmse, "r2": r2, "nll": float(nll.mean())}


def score(draws: Tensor, targets: Tensor, kind: str) -> dict[str, float]:
    """Returns the metrics of network outputs ``[S, B, ...]``, averaged over S draws as a predictive distribution.

    Classification averages probabilities, regression averages densities (and means, for rmse and r2).
    """
    count = torch.tensor(float(draws.shape[0]))
    if kind == "classification":
        log_probs = torch.logsumexp(draws.log_softmax(dim=-1), dim=0) - count.log().to(draws)
        return classification_metrics(log_probs, targets)
    log_density = torch.stack([-gaussian_nll(draw, targets) for draw in draws])
    nll = -(torch.logsumexp(log_density, dim=0) - count.log().to(draws))
    return regression_metrics(draws.mean(dim=0), targets, nll)
