"""Comparisons: terms, paired errors and the constant, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from netdial.core.best import best
from netdial.measure.compare import (
    Scores,
    constant_of,
    excess,
    paired,
    spread_of,
    terms_of,
    values_of,
)
from netdial.task import Classification, Metric, Regression, Task

CLASSES, NUMBERS = Classification(), Regression()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_terms_are_mistakes_log_losses_or_squared_errors() -> None:
    outputs = torch.tensor([[[2.0, 1.0], [0.0, 3.0]], [[0.0, 1.0], [5.0, 3.0]]])
    classes, numbers = torch.tensor([0, 1]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert terms_of(outputs, classes, CLASSES, "accuracy").tolist() == [[0, 0], [1, 1]]
    assert terms_of(outputs[:1], numbers, NUMBERS).tolist() == [[0.5, 4.5]]
    logs = terms_of(outputs, classes, CLASSES)
    assert float(logs[0, 0]) == pytest.approx(math.log(1 + math.exp(-1)))
    torch.testing.assert_close(logs.mean(dim=1), values_of(outputs, classes, CLASSES))


def test_outputs_that_are_not_numbers_have_no_value() -> None:
    outputs = random(2, 4, 3)
    outputs[1, 2] = math.nan
    classes = torch.zeros(
        4, dtype=torch.int64
    )  # arg max of nan is 0, so accuracy would count it as right
    for metric in ("accuracy", "nll", "balanced_accuracy"):
        values = values_of(outputs, classes, CLASSES, metric)
        terms = terms_of(outputs, classes, CLASSES, metric)
        assert values.isfinite().tolist() == [True, False], metric
        assert terms.mean(dim=1).isfinite().tolist() == [True, False], metric


def test_standard_errors_are_those_of_the_textbook() -> None:
    right = torch.zeros(50, dtype=torch.float64)
    right[:10] = 1
    assert spread_of(right, CLASSES, "accuracy") == pytest.approx(math.sqrt(0.8 * 0.2 / 49))
    squares = torch.tensor([1.0, 4.0, 4.0, 7.0], dtype=torch.float64)
    assert spread_of(squares, NUMBERS) == pytest.approx(math.sqrt(6 / 4) / 4)
    assert math.isnan(spread_of(squares[:1], NUMBERS))
    rmse = float(squares.mean().sqrt())
    assert spread_of(squares, NUMBERS, value=16.65 * rmse) == pytest.approx(
        16.65 * spread_of(squares, NUMBERS)
    )
    assert spread_of(torch.zeros(5), NUMBERS) == 0


def test_the_error_of_a_difference_is_paired() -> None:
    common, own = random(200), 0.01 * random(200, seed=1)
    terms = torch.stack([common, common + own + 0.005])
    gaps, errors = excess(terms, 0)
    assert float(errors[1]) == pytest.approx(float(own.std()) / math.sqrt(200))
    assert float(gaps[1]) == pytest.approx(float(own.mean()) + 0.005)
    assert float(errors[1]) < float(common.std()) / math.sqrt(200) / 50
    rows = paired(terms, [0.1, 1.0], sizes=[2, 1])
    assert [row.error for row in rows] == errors.tolist()
    only = paired(terms, [0.1, 1.0], among=[1])
    assert only[1].error == 0 and best(only, [1]) == 1


@dataclass(frozen=True)
class _ByWhole(Classification):
    """Classification whose accuracy is computed from all examples at once."""

    METRICS: ClassVar[Mapping[str, Metric]] = {
        **Classification.METRICS,
        "whole": Metric(
            whole=lambda task, out, y: float((out.argmax(dim=-1) == y).double().mean()), higher=True
        ),
    }


def test_the_jackknife_of_a_mean_is_the_mean() -> None:
    """With as many groups as examples, pseudo-values of a mean are its terms, so the errors agree exactly."""
    task: Task = _ByWhole()
    outputs, classes = random(3, 20, 4), torch.arange(20) % 4
    whole, each = (terms_of(outputs, classes, task, name) for name in ("whole", "accuracy"))
    torch.testing.assert_close(whole, each)
    torch.testing.assert_close(excess(whole, 1)[1], excess(each, 1)[1])
    assert spread_of(whole[0], task, "whole") == pytest.approx(spread_of(each[0], task, "accuracy"))


@pytest.mark.parametrize("metric", ["balanced_accuracy", "f1", "auc"])
def test_metrics_of_all_examples_have_errors_near_those_of_the_bootstrap(metric: str) -> None:
    classes = torch.arange(400) % 2
    outputs = random(1, 400, 2)
    outputs[0, torch.arange(400), classes] += 1
    terms = terms_of(outputs, classes, CLASSES, metric)[0]
    value = values_of(outputs, classes, CLASSES, metric)
    assert float(terms.mean()) == pytest.approx(1 - float(value))  # what is short of 1
    error = spread_of(terms, CLASSES, metric)
    source, values = torch.Generator().manual_seed(3), []
    for _ in range(60):
        rows = torch.randint(400, (400,), generator=source)
        values.append(float(values_of(outputs[:, rows], classes[rows], CLASSES, metric)))
    assert error == pytest.approx(float(torch.tensor(values).std()), rel=0.5)


def test_a_constant_has_class_frequencies_or_the_mean() -> None:
    train, valid = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 0, 0, 1])
    found = constant_of(CLASSES, train, valid, 2)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["nll"] == pytest.approx(-(3 * math.log(0.75) + 2 * math.log(0.25)) / 5)
    unseen = constant_of(CLASSES, train, valid, 3)
    assert math.isfinite(unseen["nll"])
    numbers = constant_of(NUMBERS, torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [5.0]]), 1)
    assert numbers["rmse"] == pytest.approx(math.sqrt(9 / 2))


def test_a_task_that_says_no_constant_gets_the_one_of_least_nll() -> None:
    counts = torch.tensor([0, 0, 0, 1, 2, 2])
    found = Task.constant(CLASSES, counts, 3).softmax(dim=0)
    torch.testing.assert_close(found, torch.tensor([3, 1, 2]).double() / 6, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rows", [12, 30])
def test_weights_leave_a_metric_that_is_no_mean_as_it_is(rows: int) -> None:
    """Of 20 rows or fewer there are as many groups of the jackknife as examples."""
    source = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(3, rows, 2, generator=source), torch.arange(rows) % 2
    weight = torch.rand(rows, generator=source)
    found = Scores.of(outputs, targets, Classification(), "balanced_accuracy")
    weighted = Scores.join([found, found]).weighted(weight)
    assert torch.equal(weighted.losses, found.losses.repeat(2))
    assert torch.equal(weighted.terms, found.terms.repeat(2, 1))
    plain = Scores.of(outputs, targets, Classification()).weighted(weight)
    due = [
        float((weight * torch.nn.functional.cross_entropy(one, targets, reduction="none")).sum())
        for one in outputs
    ]
    assert plain.losses.tolist() == pytest.approx([one / float(weight.sum()) for one in due])
