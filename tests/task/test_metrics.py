"""Metrics against scikit-learn and formulas written by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.task import Classification, Regression, gaussian_nll, named


def predictions(seed: int, count: int = 40, classes: int = 4) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, dtype=torch.float64, generator=source)
    return logits.log_softmax(dim=1), torch.randint(0, classes, (count,), generator=source)


def slow_ece(log_probs: Tensor, targets: Tensor) -> float:
    """Σ over 15 bins of the top probability: share of examples × |accuracy - confidence|."""
    top, guess = log_probs.exp().max(dim=1)
    total = 0.0
    for index in range(15):
        inside = [i for i, p in enumerate(top.tolist()) if index / 15 < p <= (index + 1) / 15]
        if inside:
            accuracy = sum(float(guess[i] == targets[i]) for i in inside) / len(inside)
            confidence = sum(float(top[i]) for i in inside) / len(inside)
            total += len(inside) / len(top) * abs(accuracy - confidence)
    return total


@given(st.integers(0, 1000))
def test_classification_metrics_are_their_definitions(seed: int) -> None:
    log_probs, targets = predictions(seed)
    found = Classification().metrics(log_probs, targets)
    probs = log_probs.exp()
    brier = sum(
        sum((float(p) - (c == int(t))) ** 2 for c, p in enumerate(row))
        for row, t in zip(probs, targets, strict=True)
    ) / len(targets)
    assert found["accuracy"] == pytest.approx(
        float((probs.argmax(dim=1) == targets).double().mean())
    )
    assert found["nll"] == pytest.approx(
        -float(log_probs[torch.arange(len(targets)), targets].mean())
    )
    assert found["brier"] == pytest.approx(brier)
    assert found["ece"] == pytest.approx(slow_ece(log_probs, targets), abs=1e-6)


def test_classification_metrics_are_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    log_probs, targets = predictions(1)
    found = Classification().metrics(log_probs, targets)
    probs = log_probs.exp().numpy()
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(targets, probs.argmax(axis=1)))
    assert found["nll"] == pytest.approx(metrics.log_loss(targets, probs, labels=range(4)))


def test_certain_and_right_is_perfect() -> None:
    log_probs = torch.log(torch.eye(3) + 1e-30)
    found = Classification().metrics(
        log_probs - log_probs.logsumexp(dim=1, keepdim=True), torch.arange(3)
    )
    assert found == pytest.approx({"accuracy": 1, "nll": 0, "brier": 0, "ece": 0}, abs=1e-6)


@pytest.mark.parametrize("targets", [1, 3])
def test_regression_metrics_are_scikit_learns(targets: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    source = torch.Generator().manual_seed(0)
    y = torch.randn(30, targets, dtype=torch.float64, generator=source)
    outputs = y + 0.3 * torch.randn(30, targets, dtype=torch.float64, generator=source)
    found = Regression().metrics(outputs, y)
    assert found["rmse"] == pytest.approx(
        metrics.root_mean_squared_error(y.flatten(), outputs.flatten())
    )
    assert found["r2"] == pytest.approx(metrics.r2_score(y, outputs))
    expected = 0.5 * (outputs - y).square().sum(dim=1) + targets * 0.5 * math.log(2 * math.pi)
    assert found["nll"] == pytest.approx(float(expected.mean()))


def test_an_area_under_the_curve_is_over_classes_that_have_a_rest() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    log_probs, targets = predictions(1)
    two = targets < 2
    found = Classification().metrics(log_probs[two], targets[two], ["auc"])["auc"]
    each = [
        metrics.roc_auc_score(targets[two] == c, log_probs[two, c].exp().numpy()) for c in (0, 1)
    ]
    assert found == pytest.approx(sum(each) / 2)
    one = torch.zeros(40, dtype=torch.long)
    assert math.isnan(Classification().metrics(log_probs, one, ["auc"])["auc"])


def test_one_row_has_no_r2() -> None:
    y = torch.ones(1, 1)
    found = Regression().metrics(y, y)
    assert math.isnan(found["r2"]) and found["rmse"] == 0


def test_draws_average_probabilities_and_densities() -> None:
    source = torch.Generator().manual_seed(2)
    draws = torch.randn(5, 20, 3, dtype=torch.float64, generator=source)
    targets = torch.randint(0, 3, (20,), generator=source)
    mixture = torch.stack([draw.softmax(dim=1) for draw in draws]).mean(dim=0)
    expected = -mixture[torch.arange(20), targets].log().mean()
    assert named("classification").predictive(draws, targets)["nll"] == pytest.approx(
        float(expected)
    )

    y = torch.randn(20, 3, dtype=torch.float64, generator=source)
    density = torch.stack([(-gaussian_nll(draw, y)).exp() for draw in draws]).mean(dim=0)
    found = named("regression").predictive(draws, y)
    assert found["nll"] == pytest.approx(float(-density.log().mean()))
    assert found["rmse"] == pytest.approx(float((draws.mean(dim=0) - y).square().mean().sqrt()))


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_averaging_never_makes_the_nll_worse_than_the_mean_of_the_draws(kind: str) -> None:
    """Jensen: -log of a mean is at most the mean of -log."""
    source = torch.Generator().manual_seed(3)
    draws = 2 * torch.randn(6, 20, 3, generator=source)
    y = (
        torch.randint(0, 3, (20,), generator=source)
        if kind == "classification"
        else torch.randn(20, 3)
    )
    alone = [named(kind).predictive(draw[None], y)["nll"] for draw in draws]
    assert named(kind).predictive(draws, y)["nll"] <= sum(alone) / len(alone)


def test_far_off_draws_do_not_overflow() -> None:
    draws = torch.tensor([[[1e4, -1e4]], [[1e4, -1e4]]])
    assert named("classification").predictive(draws, torch.tensor([1]))["nll"] == pytest.approx(2e4)
    assert math.isfinite(named("regression").predictive(draws, torch.zeros(1, 2))["nll"])
