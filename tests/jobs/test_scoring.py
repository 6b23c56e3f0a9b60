"""What one network is worth, beside what members of families and constants are worth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.jobs.records.scoring import constant_scores, scores
from netdial.measure.noise import with_errors
from netdial.task import Classification, Regression


@pytest.fixture(scope="module")
def table() -> nd.Splits:
    """A line with even errors of a tenth of the targets' standard deviation, whose law has no tails."""
    pandas = pytest.importorskip("pandas")
    source = torch.Generator().manual_seed(0)
    x = torch.randn(600, generator=source)
    y = 50 * x + 5 * math.sqrt(3) * (2 * torch.rand(600, generator=source) - 1)
    return nd.load_data(pandas.DataFrame({"x": x.numpy(), "y": y.numpy()}), target="y")


@pytest.fixture(scope="module")
def line(table: nd.Splits) -> nn.Linear:
    """The least squares of the training part."""
    net = nn.Linear(1, 1)
    found = torch.linalg.lstsq(
        torch.cat([table.train.x, torch.ones_like(table.train.x)], 1), table.train.y
    )
    with torch.no_grad():
        net.weight.copy_(found.solution[:1])
        net.bias.copy_(found.solution[1])
    return net


@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_nll_of_a_regression_is_under_the_errors_of_the_network(
    table: nd.Splits, line: nn.Linear, part: str
) -> None:
    """It was under noise of variance 1: .92 nats for a network that predicts to a tenth, and for one that is twice as good."""
    with torch.no_grad():
        valid, here = (
            float((line(p.x) - p.y).square().mean()) for p in (table.valid, table.part(part))
        )
    by_hand = 0.5 * math.log(2 * math.pi * valid) + 0.5 * here / valid
    assert by_hand < -0.5
    assert scores(line, table, part)["nll"] == pytest.approx(by_hand, abs=1e-4)


def test_a_constant_is_worth_what_it_is_beside_a_family(table: nd.Splits) -> None:
    family = nd.fit(nn.Linear(1, 1), table.train, table.valid, epochs=1)
    path = nd.evaluate(family, table.valid, lams=2, train=table.train.y)
    assert constant_scores(table, "valid") == pytest.approx(path.constant)


def test_few_rows_and_classes_say_nothing_of_errors() -> None:
    few = torch.zeros(3, 1)
    assert with_errors(Regression(), few, few) == Regression()
    assert with_errors(Classification(), torch.zeros(9, 2), torch.zeros(9)) == Classification()
