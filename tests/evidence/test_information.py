"""WAIC and LOO of tempered posteriors against analytic and brute-force leave-one-out; the Pareto fit against known laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.evidence import Estimate, assess
from netdial.evidence.estimators.information import fit_pareto, pareto_quantile, pareto_smoothed

from .conftest import Linear, make_linear

LAMS = (0.5, 1.0, 4.0)


def weigh(linear: Linear, name: str, **options: object) -> list[Estimate]:
    return assess(
        linear.family(lams=LAMS),
        linear.data,
        lams=LAMS,
        by=[name],
        kind="regression",
        **options,  # type: ignore[arg-type]
    )


def log_normal(gap: Tensor, var: Tensor) -> Tensor:
    return -0.5 * gap.square() / var - 0.5 * (2 * math.pi * var).log()


@pytest.fixture
def many() -> Linear:
    return make_linear(150, seed=2)


def test_waic_is_analytic_for_normal_posteriors(many: Linear) -> None:
    for found in weigh(many, "waic", n_samples=3000):
        beta = 1 / found.lam
        mean, var = many.posterior(beta, 1.0)
        gap, spread = many.y[:, 0] - many.x @ mean, many.x.square() @ var
        fit = log_normal(gap, 1 + spread).sum()
        variance = (0.5 * spread.square() + spread * gap.square()).sum()
        exact = float(beta * variance - fit) / 150 / math.log(2)
        assert found.value == pytest.approx(exact, abs=0.003)
        assert found.parts["model"] == pytest.approx(
            float(beta * variance) / 150 / math.log(2), rel=0.1
        )


def test_loo_is_that_of_brute_force(many: Linear) -> None:
    for found in weigh(many, "psis-loo", n_samples=2000):
        beta, losses = 1 / found.lam, []
        for out in range(150):
            rest = torch.arange(150) != out
            x, y = many.x[rest], many.y[rest, 0]
            precision = torch.eye(5, dtype=torch.float64) + beta * x.T @ x
            mean = torch.linalg.solve(precision, beta * x.T @ y)
            row = many.x[out]
            spread = row @ torch.linalg.solve(precision, row)
            losses.append(-log_normal(many.y[out, 0] - row @ mean, 1 + spread))
        loss = torch.stack(losses)
        assert found.value == pytest.approx(float(loss.mean()) / math.log(2), abs=0.003)
        assert found.error == pytest.approx(
            float(loss.std()) / math.sqrt(150) / math.log(2), rel=0.03
        )
        assert found.parts["khat"] < 0.7 and found.parts["unsure"] == 0


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.7, 1.5])
def test_the_pareto_fit_recovers_shape_and_scale(shape: float) -> None:
    source = torch.Generator().manual_seed(5)
    share = torch.rand(4000, 8, generator=source, dtype=torch.float64)
    known = torch.tensor(shape, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    values = pareto_quantile(share, *known).sort(dim=0).values
    found, scale = fit_pareto(values)
    assert torch.allclose(found, known[0].expand(8), atol=0.12)
    assert torch.allclose(scale, known[1].expand(8), atol=0.25)


def test_the_pareto_fit_is_that_of_a_plain_loop() -> None:
    source = torch.Generator().manual_seed(6)
    values = torch.rand(12, 3, generator=source, dtype=torch.float64).square().sort(dim=0).values
    shapes, scales = fit_pareto(values)
    for column in range(3):
        x = values[:, column].tolist()
        n, m = 12, 30 + 3
        quarter = x[int(12 / 4 + 0.5) - 1]
        thetas = [
            1 / x[-1] + (1 - math.sqrt(m / (j - 0.5))) / (3 * quarter) for j in range(1, m + 1)
        ]
        profile = []
        for theta in thetas:
            k = sum(math.log1p(-theta * value) for value in x) / n
            profile.append(n * (math.log(-theta / k) - k - 1))
        weights = [1 / sum(math.exp(other - own) for other in profile) for own in profile]
        theta = sum(w * t for w, t in zip(weights, thetas, strict=True))
        k = sum(math.log1p(-theta * value) for value in x) / n
        assert float(scales[column]) == pytest.approx(-k / theta)
        assert float(shapes[column]) == pytest.approx((n * k + 5) / (n + 10))


def test_smoothing_tames_a_heavy_tail() -> None:
    """Importance sampling of a mean whose weights have infinite variance: the smoothed estimate is the steadier one."""
    source = torch.Generator().manual_seed(0)
    draws = torch.randn(200, 400, generator=source, dtype=torch.float64)
    log_ratios = -0.5 * (draws / 1.9).square() + 0.5 * draws.square()
    log_weights, shape = pareto_smoothed(log_ratios.clone())
    raw = (log_ratios.softmax(dim=0) * draws.square()).sum(dim=0)
    smooth = (log_weights.exp() * draws.square()).sum(dim=0)
    assert torch.allclose(
        log_weights.logsumexp(dim=0), torch.zeros(400, dtype=torch.float64), atol=1e-9
    )
    assert float(smooth.std()) < float(raw.std())
    assert 0.4 < float(shape.median()) < 1.0


def test_equal_ratios_are_left_alone() -> None:
    log_weights, shape = pareto_smoothed(torch.full((50, 2), -3.0, dtype=torch.float64))
    assert torch.allclose(log_weights, torch.full_like(log_weights, -math.log(50)))
    assert not shape.any()


def test_too_few_draws_are_refused(linear: Linear) -> None:
    with pytest.raises(ConfigError, match="psis-loo: n_samples=24; expected at least 25"):
        weigh(linear, "psis-loo", n_samples=24)
