"""The example of two-level inference: three ways to the evidence, one degree."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from netdial.evidence.estimators import linear

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/polynomial_degree.py"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_features_are_legendre_polynomials(example: dict[str, Any]) -> None:
    """P_4(x) = (35 x⁴ - 30 x² + 3) / 8."""
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]
    features = example["Polynomial"](4).features(x)
    torch.testing.assert_close(features[:, 4:], (35 * x**4 - 30 * x**2 + 3) / 8)
    assert example["Polynomial"](1).features(x).shape == (9, 2)


def mean_field(phi: Tensor, y: Tensor, **variances: Any) -> tuple[Tensor, Tensor]:
    """Mean and variances of the best diagonal normal: one over the diagonal of the precision (Bishop 2006, §10.1.2)."""
    mean, precision = linear.posterior(phi, y, **variances)
    return mean, 1 / precision.diagonal()


def test_exact_evidence_and_best_bound_choose_the_true_degree(
    example: dict[str, Any], seed: int
) -> None:
    x, y = example["draw"](seed=seed)
    variances = {"prior_var": example["PRIOR_VAR"], "noise_var": 1.0}
    exact, bound = {}, {}
    for degree in example["DEGREES"]:
        features = example["Polynomial"](degree).features(x)
        exact[degree] = linear.log_evidence(features, y, **variances)
        best = mean_field(features, y, **variances)
        bound[degree] = linear.bound(*best, features, y, **variances)
        assert bound[degree] <= exact[degree]
    true = len(example["TRUE_WEIGHTS"]) - 1
    assert max(exact, key=exact.__getitem__) == max(bound, key=bound.__getitem__) == true


@pytest.mark.slow
def test_three_ways_choose_one_degree(example: dict[str, Any]) -> None:
    x, y = example["draw"]()
    found = [example["infer"](degree, x, y, epochs=150) for degree in (2, 3, 4)]
    for one in found:
        assert one.laplace == pytest.approx(one.exact, rel=1e-9)
        assert one.exact - 20 < one.variational < one.exact
    assert {example["chosen"](found, way) for way in example["COLOURS"]} == {3}


@pytest.mark.slow
def test_example_prints_its_choices_and_writes_the_picture(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE, tmp_path / "degree.html", "--epochs", "300"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "exact: degree 3, laplace: degree 3, variational: degree 3" in done.stdout
    page = (tmp_path / "degree.html").read_text(encoding="utf-8")
    assert page.count("degree 3") >= 3
