"""Regression's noise: closed forms against numerical integration, held-out estimates, units of the data, files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError, DataError
from netdial.data.dataset import Dataset
from netdial.data.scale import TargetScale
from netdial.evidence import linear
from netdial.evidence.laplace import laplace
from netdial.family import Family, FamilyConfig
from netdial.measure import calibrate, intervals
from netdial.measure.noise import most_likely, quantile
from netdial.task import NoiseCurve, Regression, restore
from netdial.task.regression import PRIOR


def log_prior(noise_var: Tensor) -> Tensor:
    """Log density of the inverse gamma prior over log σ²."""
    a, b = PRIOR
    return a * math.log(b) - math.lgamma(a) - a * noise_var.log() - b / noise_var


def integrated(log_likelihood: Any) -> float:
    """log ∫ p(D | σ²) p(σ²) dσ² by the trapezoidal rule over log σ², whose error falls faster than any power."""
    grid = torch.linspace(math.log(1e-4), math.log(1e9), 4000, dtype=torch.float64)
    values = torch.tensor([log_likelihood(float(v)) for v in grid.exp()]).double() + log_prior(
        grid.exp()
    )
    return float(values.logsumexp(0) + (grid[1] - grid[0]).log())


@given(st.integers(0, 100), st.integers(3, 60), st.floats(0.05, 3))
def test_the_marginal_is_the_integral_over_the_noise(seed: int, count: int, spread: float) -> None:
    source = torch.Generator().manual_seed(seed)
    error = spread * torch.randn(count, 2, generator=source, dtype=torch.float64)
    value, slope = Regression().marginal(error.square().sum(dim=0), count)
    expected = [
        integrated(
            lambda v, e=each: (
                -0.5 * float(e.square().sum()) / v - 0.5 * count * math.log(2 * math.pi * v)
            )
        )
        for each in error.T
    ]
    assert value == pytest.approx(-sum(expected), abs=1e-5)
    sums = error.square().sum(dim=0)
    step = 1e-5 * sums[0]
    moved = Regression().marginal(sums + torch.tensor([float(step), 0.0]), count)[0]
    assert float(slope[0]) == pytest.approx((moved - value) / float(step), rel=1e-3)


class LinearGaussian:
    """y = Φ w + ε with orthogonal columns, so that mean field is exact; noise variance 0.2, and nobody knows it."""

    def __init__(self, count: int = 40, features: int = 3, alpha: float = 0.5) -> None:
        source = torch.Generator().manual_seed(0)
        square = torch.randn(count, features, generator=source, dtype=torch.float64)
        self.x = torch.linalg.qr(square)[0] * math.sqrt(count)
        w = torch.randn(features, generator=source, dtype=torch.float64) * math.sqrt(alpha)
        self.y = self.x @ w + math.sqrt(0.2) * torch.randn(
            count, generator=source, dtype=torch.float64
        )
        self.alpha, self.count = alpha, count

    def exact(self) -> float:
        """log p(D) with the noise variance integrated out, numerically."""
        return integrated(
            lambda v: linear.log_evidence(self.x, self.y, prior_var=self.alpha, noise_var=v)
        )

    def family(self, noise_var: float) -> Family:
        """A family of one member that is the exact posterior under a noise variance."""
        mean, precision = linear.posterior(
            self.x, self.y, prior_var=self.alpha, noise_var=noise_var
        )
        net = nn.Linear(self.x.shape[1], 1, bias=False).double()
        config = FamilyConfig(
            map="table", lams=(1.0,), prior_var=self.alpha, objective="scaled-prior"
        )
        family = Family(net, config).double()
        with torch.no_grad():
            family.mean.pivots.copy_(mean[None])  # type: ignore[union-attr]
            family.log_std.pivots.copy_(-0.5 * precision.diagonal().log()[None])  # type: ignore[union-attr]
        family.learns(Regression(), self.count)
        return family.eval()

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        return self.x, self.y[:, None]


def test_bounds_meet_the_exact_evidence_with_unknown_noise() -> None:
    """Every bound is below log p(D), near it for the posterior under the right noise, and farther off under another."""
    problem = LinearGaussian()
    exact = problem.exact()
    found = {}
    for noise in (0.2, 2.0):
        estimates = nd.assess(
            problem.family(noise),
            problem.data,
            lams=[1.0],
            by=["elbo", "iwae"],
            n_samples=400,
            seed=1,
        )
        for e in estimates:
            nats = -e.value * problem.count * math.log(2)
            error = e.error * problem.count * math.log(2)
            found[e.name, noise] = nats
            assert nats <= exact + 4 * error
    assert found["elbo", 0.2] == pytest.approx(exact, abs=0.2)
    assert found["elbo", 2.0] < found["elbo", 0.2] - 1
    assert found["iwae", 0.2] == pytest.approx(exact, abs=0.15)
    # at a noise variance of 1, as it used to be, the same posterior is worth a dozen nats less
    fixed = linear.log_evidence(problem.x, problem.y, prior_var=problem.alpha, noise_var=1.0)
    assert fixed < exact - 10


def test_laplace_with_a_prior_in_units_of_the_noise_is_the_student_law() -> None:
    """w | σ² ~ N(0, σ² s): y is a multivariate Student; type-II likelihood of σ² is n/2 (1 + log 2π RSS/n) + ½ log det."""
    problem = LinearGaussian()
    lam = 0.7
    s = 1 / (2 * lam)
    covariance = torch.eye(problem.count).double() + s * problem.x @ problem.x.T
    scaled = float(problem.y @ torch.linalg.solve(covariance, problem.y)) / problem.count
    expected = -0.5 * (
        problem.count * (1 + math.log(2 * math.pi * scaled)) + float(torch.logdet(covariance))
    )
    mode = torch.linalg.solve(
        problem.x.T @ problem.x + torch.eye(3).double() / s, problem.x.T @ problem.y
    )
    net = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(mode[None])
    found = laplace(
        net,
        problem.data,
        prior_var=s,
        structure="full",
        optimise_prior="with-noise",
        optimise_noise=True,
    )
    assert found.noise_var == pytest.approx(scaled, rel=1e-6)
    assert found.log_evidence == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ConfigError, match="with-noise"):
        laplace(net, problem.data, optimise_prior="with-noise")


def test_a_regression_s_nll_is_that_of_the_normal_law() -> None:
    outputs, y = torch.randn(2, 7, 2), torch.randn(7, 2)
    task = Regression(noise_var=(0.3, 2.0))
    density = torch.distributions.Normal(outputs, torch.tensor([0.3, 2.0]).sqrt())
    expected = -density.log_prob(y).sum(dim=2)
    assert torch.allclose(task.member_nll(outputs, y), expected, atol=1e-6)
    assert torch.allclose(task.nll(outputs[0], y), expected[0], atol=1e-6)
    curve = NoiseCurve((0.1, 10.0), ((0.3, 2.0), (0.5, 1.0)), ((0.4, 3.0), (0.6, 2.0)))
    along = Regression(curve=curve)
    assert torch.allclose(along.along([0.1, 0.1]).member_nll(outputs, y), expected, atol=1e-6)
    assert along.at(1.0).noise_var == pytest.approx([math.sqrt(0.15), math.sqrt(2.0)])
    assert along.at(1e3).plugged_in().noise_var == (0.6, 2.0)
    assert torch.equal(along.nll(outputs[0], y), Regression().nll(outputs[0], y)), (
        "training takes it for 1"
    )
    assert restore(json.loads(json.dumps(along.settings()))) == along


@pytest.mark.parametrize(
    "curve",
    [
        ((1.0,), ((0.0,),), ((1.0,),)),
        ((1.0,), ((math.inf,),), ((1.0,),)),
        ((1.0, 2.0), ((1.0,),), ((1.0,),)),
        ((1.0,), ((1.0, 2.0),), ((1.0,),)),
        ((), (), ()),
    ],
)
def test_what_is_no_variance_is_refused(curve: Any) -> None:
    with pytest.raises(ConfigError, match="noise"):
        NoiseCurve(*curve)


def test_the_likeliest_noise_around_a_point_is_the_mean_squared_error() -> None:
    source = torch.Generator().manual_seed(0)
    y = torch.randn(50, 2, generator=source).double()
    draws = torch.zeros(1, 50, 2).double()
    error = y.square().mean(dim=0)
    assert torch.allclose(most_likely(draws, y, error), error, rtol=0.02)


def test_quantiles_of_a_mixture() -> None:
    means = torch.tensor([[[0.0]], [[4.0]]]).double()
    std = torch.tensor([1.0]).double()
    low = float(quantile(means, std, 0.1))
    normal = torch.distributions.Normal(torch.tensor([0.0, 4.0]).double(), 1.0)
    assert float(normal.cdf(torch.tensor(low).double()).mean()) == pytest.approx(0.1)
    assert float(quantile(means[:1], std, 0.975)) == pytest.approx(1.959964, abs=1e-5)


def line(count: int, seed: int, noise: float = 0.5) -> Dataset:
    """y = 100 + 20 z, z = x₀ + noise: standardised by hand, its units beside it."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=source)
    z = x[:, :1] + noise * torch.randn(count, 1, generator=source)
    return Dataset(x, z, target=TargetScale(("pressure",), (100.0,), (20.0,)))


@pytest.fixture(scope="module")
def family() -> Family:
    return nd.fit(nn.Linear(2, 1), line(200, 0), line(200, 1), epochs=60, batch_size=25, lr=0.05)


def test_fit_learns_units_and_noise_from_what_it_is_given(family: Family) -> None:
    task = family.task
    assert (
        isinstance(task, Regression)
        and task.scale is not None
        and task.scale.names == ("pressure",)
    )
    here = task.at(1e-2)
    assert here.noise_var[0] == pytest.approx(0.25, rel=0.25) == here.error_var[0]
    found = nd.evaluate(family, line(400, 2), lams=[1e-2], n_samples=8).members[0]
    assert found.metrics["rmse"] == pytest.approx(10, rel=0.15), (
        "20 × 0.5, in the units of the data"
    )
    expected = 0.5 * (1 + math.log(2 * math.pi * 0.25))
    assert found.metrics["nll"] == pytest.approx(expected, abs=0.1)
    assert found.predictive["nll"] == pytest.approx(expected, abs=0.1)


def test_intervals_cover_what_they_promise_in_the_units_of_the_data(family: Family) -> None:
    fresh = line(2000, 3)
    own = TargetScale(("pressure",), (100.0,), (20.0,)).restore(fresh.y.double())
    for level in (0.5, 0.9):
        found = intervals(family, fresh, 1e-2, level=level)
        share = float(found.covered(own).double().mean())
        assert share == pytest.approx(level, abs=0.05)
    width = float((found.upper - found.lower).mean())
    assert width == pytest.approx(2 * 1.645 * 10, rel=0.15)
    with pytest.raises(ConfigError, match=r"level=1\.5"):
        intervals(family, fresh, 1e-2, level=1.5)


def test_without_held_out_rows_the_noise_is_not_known() -> None:
    family = nd.fit(nn.Linear(2, 1), line(40, 0), epochs=1)
    with pytest.raises(ConfigError, match=r"noise of this family is not known.*calibrate"):
        intervals(family, line(9, 1), 1.0)
    with pytest.raises(DataError, match="3 held-out rows; give at least 8"):
        calibrate(family, line(3, 1))
    calibrate(family, line(40, 1), lams=3)
    assert intervals(family, line(9, 1), 1.0).mean.shape == (9, 1)


def test_noise_and_units_survive_file_finetuning_and_pruning(
    family: Family, tmp_path: Path
) -> None:
    nd.save(family, tmp_path / "f.safetensors")
    again = nd.load_model(tmp_path / "f.safetensors", nn.Linear(2, 1))
    assert again.task == family.task
    assert nd.prune(again, 1.0, 0.5).task == family.task
    assert nd.finetune(again, 1.0, line(50, 4)).task == family.task


def test_a_noise_that_is_given_is_used_in_training() -> None:
    """Under the right noise variance λ = 1 is the posterior itself: the mean is that of the closed form."""
    problem = LinearGaussian()
    task = Regression(noise_var=(0.2,))
    net = nn.Linear(3, 1, bias=False)
    data = problem.x.float(), problem.y[:, None].float()
    settings = {
        "lams": (1.0,),
        "map": "table",
        "prior_var": problem.alpha,
        "epochs": 400,
        "lr": 0.02,
    }
    (family,) = nd.fit_direct(
        net,
        data,
        kind=task,
        lams=(1.0,),
        prior_var=problem.alpha,
        epochs=settings["epochs"],
        lr=0.02,
        batch_size=40,
    )
    mean, precision = linear.posterior(problem.x, problem.y, prior_var=problem.alpha, noise_var=0.2)
    fields = family.fields_at([1.0])
    assert torch.allclose(fields.mean[0].double(), mean, atol=0.02)
    assert torch.allclose(fields.log_std[0].double(), -0.5 * precision.diagonal().log(), atol=0.2)  # type: ignore[index]


def test_the_estimator_speaks_in_the_units_of_y() -> None:
    sklearn = pytest.importorskip("netdial.sklearn")
    part = line(300, 5)
    y = 100 + 20 * part.y[:, 0].numpy()
    model = sklearn.FamilyRegressor("linear", epochs=40, lr=0.05, random_state=0).fit(
        part.x.numpy(), y
    )
    best = min(row["rmse"] for row in model.path_)
    assert best == pytest.approx(10, rel=0.35)
    low, high = model.predict_interval(part.x.numpy())
    assert low.shape == y.shape and 0.8 < ((low <= y) & (y <= high)).mean() < 0.97
