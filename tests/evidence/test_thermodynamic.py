"""Integration over exact tempered posteriors gives exact evidence, WBIC its closed form; both know their range."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.evidence import Estimate, assess
from netdial.evidence.estimators.thermodynamic import integration_weights
from netdial.family.config import FamilyConfig
from netdial.family.family import Family

from .conftest import Linear

Z = 5.0


def weigh(linear: Linear, family: Family, name: str, **options: object) -> Estimate:
    (found,) = assess(family, linear.data, by=[name], kind="regression", **options)  # type: ignore[arg-type]
    return found


def total(estimate: Estimate, n: int = 40) -> float:
    return estimate.value * n * math.log(2)


def test_integration_gives_the_exact_evidence(linear: Linear, seed: int) -> None:
    found = weigh(linear, linear.family(), "thermodynamic", n_samples=300, seed=seed)
    error = found.error * 40 * math.log(2)
    assert math.isnan(found.lam) and not found.legal
    assert total(found) == pytest.approx(-linear.log_evidence(), abs=Z * error)
    assert error < 0.3
    assert abs(found.parts["excess"]) < Z * found.error


def test_it_holds_for_a_short_path_whose_end_is_far_from_the_prior(linear: Linear) -> None:
    found = weigh(linear, linear.family(hi=10.0), "thermodynamic", n_samples=300)
    assert found.parts["end"] * 40 * math.log(2) > 3
    assert total(found) == pytest.approx(
        -linear.log_evidence(), abs=Z * found.error * 40 * math.log(2)
    )


def test_directly_trained_networks_are_nodes_themselves(linear: Linear) -> None:
    lams = (0.5, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    found = weigh(linear, linear.family(lams=lams), "thermodynamic", n_samples=300)
    assert total(found) == pytest.approx(
        -linear.log_evidence(), abs=Z * found.error * 40 * math.log(2)
    )
    with pytest.raises(
        ConfigError, match=r"must stand at λ = 1 and at two values above.*got 0.5, 3, 10"
    ):
        weigh(linear, linear.family(lams=(0.5, 3.0, 10.0)), "thermodynamic")


def test_the_rule_is_exact_for_the_law_of_a_regular_model() -> None:
    beta = torch.tensor([1.0, 0.7, 0.2, 0.1, 0.03], dtype=torch.float64)
    weights = integration_weights(beta)
    assert float(weights.sum()) == pytest.approx(0.97)
    assert float(weights @ (1 / beta)) == pytest.approx(-math.log(0.03))
    smooth = torch.logspace(0, -2, 17, dtype=torch.float64)
    exact = 2 / 3 * (1 - 0.01**1.5)
    assert float(integration_weights(smooth) @ smooth.sqrt()) == pytest.approx(exact, rel=2e-4)
    assert float(integration_weights(smooth[:2]) @ (1 / smooth[:2])) == pytest.approx(
        math.log(smooth[0] / smooth[1])
    )


def test_wbic_is_the_fit_at_log_n(linear: Linear) -> None:
    found = weigh(linear, linear.family(), "wbic", n_samples=300)
    assert found.lam == pytest.approx(math.log(40))
    closed = -linear.fit(*linear.posterior(1 / math.log(40), 1.0))
    assert total(found) == pytest.approx(closed, abs=Z * found.error * 40 * math.log(2) + 0.01)
    assert abs(total(found) + linear.log_evidence()) < 3


@pytest.mark.parametrize(
    ("name", "lo", "hi", "message"),
    [
        (
            "wbic",
            0.1,
            2.0,
            r"wbic: needs the member at lam = log N = 3.689, outside the trained range \[0.1, 2\]",
        ),
        ("thermodynamic", 0.001, 1.0, r"from λ = 1 upwards, the trained range is \[0.001, 1\]"),
        ("thermodynamic", 2.0, 100.0, r"from λ = 1 upwards, the trained range is \[2, 100\]"),
    ],
)
def test_ranges_that_do_not_reach_are_refused(
    name: str, lo: float, hi: float, message: str
) -> None:
    family = Family(nn.Linear(2, 1), FamilyConfig(lo, hi))
    data = Dataset(torch.randn(40, 2), torch.randn(40, 1))
    with pytest.raises(ConfigError, match=message):
        assess(family, data, by=[name], kind="regression")
