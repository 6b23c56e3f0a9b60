"""Evaluation along λ: what is made once, however many members or draws there are."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.family import Family, FamilyConfig
from netdial.measure.evaluation import evaluate


def test_fields_are_made_once_for_all_draws_and_for_all_that_needs_no_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Members are exported one by one, twice with draws; all else makes the fields a few times, however many λ or draws."""
    family = Family(nn.Linear(3, 2), FamilyConfig())
    data = torch.randn(8, 3), torch.arange(8) % 2
    made, ask = [], Family.fields_at
    monkeypatch.setattr(Family, "fields_at", lambda self, lams: made.append(1) or ask(self, lams))

    def count(lams: int, draws: int) -> int:
        made.clear()
        evaluate(family, data, lams=lams, n_samples=draws, kind="classification")
        return len(made)

    assert count(9, 2) == count(9, 12)
    assert count(20, 0) - count(10, 0) == 10
    assert count(20, 2) - count(10, 2) == 30


@pytest.mark.parametrize(("objective", "power"), [("l1", 1), ("l2", 2)])
def test_the_norm_of_a_point_is_what_its_objective_multiplies(objective: str, power: int) -> None:
    data = (torch.randn(20, 3), torch.arange(20) % 2)
    family = nd.fit(nn.Linear(3, 2), data, objective=objective, epochs=1, batch_size=20, groups=2)
    for row in nd.evaluate(family, data, lams=2).table():
        weights = torch.cat([leaf.flatten() for leaf in family.at(row["lam"]).values()])
        assert row["norm"] == pytest.approx(float((weights.abs() ** power).sum()), rel=1e-5)
        assert not {"kl_bits", "effective_parameters"} & set(row)


def test_a_posterior_has_a_divergence_in_place_of_a_norm() -> None:
    data = (torch.randn(20, 3), torch.arange(20) % 2)
    family = nd.fit(nn.Linear(3, 2), data, objective="ard", epochs=1, batch_size=20, groups=2)
    (row,) = nd.evaluate(family, data, lams=[0.1], n_samples=2).table()
    assert row["kl_bits"] > 0
    assert "norm" not in row


@pytest.mark.parametrize("objective", ["l1", "ard"])
def test_members_of_a_regression_are_compared_by_the_likelihood_that_is_told(
    objective: str,
) -> None:
    """That of their noise, of the mean weights and of the predictive; on test rows, too, when one was chosen."""
    x = torch.randn(40, 3)
    data = x, x[:, :1] + 0.3 * torch.randn(40, 1)
    family = nd.fit(
        nn.Linear(3, 1), data, valid=data, objective=objective, epochs=2, batch_size=20, groups=2
    )
    path = nd.evaluate(family, data, lams=3, metric="nll", n_samples=4)
    for way, kind in (("mean weights", "metrics"), ("predictive", "predictive")):
        if way in path.scores:
            told = [getattr(member, kind)["nll"] for member in path.members]
            assert path.scores[way].losses.tolist() == pytest.approx(told, rel=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may be worse than a constant
        chosen = nd.choose(family, data, metric="nll", lams=3, shares=[0.0])
    tested = chosen.tested(data)
    assert tested.test["nll"] == pytest.approx(chosen.row.value)
    assert tested.test["error"] == pytest.approx(chosen.error)


def test_a_network_of_one_number_for_each_example_is_as_one_with_a_column() -> None:
    """A loss of one's own over ``[N]`` is measured as the same over ``[N, 1]``."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).float()
    found = []
    for last, target in ((nn.Flatten(0), y), (nn.Identity(), y[:, None])):
        first = nn.Linear(3, 1)
        nn.init.constant_(first.weight, 0.3)
        nn.init.zeros_(first.bias)
        net = nn.Sequential(first, last)
        family = nd.fit(
            net, (x, target), loss=nn.BCEWithLogitsLoss(), epochs=1, batch_size=20, joint=0, lr=0.01
        )
        found.append([row["loss"] for row in nd.evaluate(family, (x, target), lams=2).table()])
    assert found[0] == pytest.approx(found[1])
