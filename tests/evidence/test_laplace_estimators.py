"""The Laplace evidence as an estimator: the prior that each objective gives it, and exactness on linear models."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.evidence import assess
from netdial.family.config import FamilyConfig
from netdial.family.family import Family

from .conftest import Linear


@pytest.mark.parametrize("structure", ["diagonal", "full"])
def test_points_have_a_prior_of_twice_the_precision(linear: Linear, structure: str) -> None:
    """The columns are orthogonal, so the diagonal is the whole."""
    lams = (0.1, 1.0, 20.0)
    family = Family(
        nn.Linear(5, 1, bias=False).double(),
        FamilyConfig(map="table", lams=lams, posterior="point"),
    )
    with torch.no_grad():
        for row, lam in enumerate(lams):
            family.mean.pivots[row] = linear.posterior(1.0, 1 / (2 * lam))[0]
    by = [f"laplace-{structure}"]
    for found in assess(family, linear.data, by=by, objective="l2", kind="regression"):
        exact = -linear.log_evidence(1 / (2 * found.lam)) / 40 / math.log(2)
        assert found.value == pytest.approx(exact, rel=1e-9)
        assert found.parts["correction"] == pytest.approx(0, abs=1e-9)
        assert found.error == 0


def test_under_scaled_prior_it_is_the_evidence_of_each_prior(linear: Linear) -> None:
    lams = (0.3, 4.0)
    family = linear.family(objective="scaled-prior", lams=lams)
    options = {"by": ["laplace-diagonal"], "objective": "scaled-prior", "kind": "regression"}
    for found in assess(family, linear.data, **options):  # type: ignore[arg-type]
        exact = -linear.log_evidence(1 / found.lam) / 40 / math.log(2)
        assert found.value == pytest.approx(exact, rel=1e-9)


def test_under_scaled_kl_the_prior_is_fitted(linear: Linear) -> None:
    family = linear.family(lams=(1.0,))
    (found,) = assess(family, linear.data, by=["laplace-diagonal"], kind="regression")
    best = max(linear.log_evidence(var) for var in torch.logspace(-3, 1, 200).tolist())
    corrected = (found.value - found.parts["correction"]) * 40 * math.log(2)
    assert corrected == pytest.approx(-best, abs=0.5)
    assert corrected >= -best - 1e-4
    assert found.parts["correction"] > 0, "the means are the mode under another prior"


def test_pruned_and_shared_numbers_have_no_posterior(blobs: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    family = Family(net, FamilyConfig(shared=("bias",)))
    kept = torch.ones(15, dtype=torch.bool)
    kept[:5] = False
    family.restrict(kept)
    (found,) = assess(family, blobs, lams=[1.0], by=["laplace-diagonal"])
    assert 0 < found.parts["effective_parameters"] <= 10
    with pytest.raises(ConfigError, match="needs all 60 examples"):
        assess(family, blobs, lams=[1.0], by=["laplace-diagonal"], n_examples=10)
