"""Regression's noise: closed forms against numerical integration, held-out estimates, units of the data, files."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError, DataError
from netdial.data.dataset import Dataset
from netdial.data.scale import TargetScale
from netdial.evidence.estimators import linear
from netdial.evidence.estimators.laplace import laplace
from netdial.family import Family, FamilyConfig
from netdial.measure import calibrate, intervals
from netdial.measure.noise import law_of, most_likely
from netdial.models.predict import predictions
from netdial.models.use import Use
from netdial.objective import OBJECTIVES
from netdial.task import NoiseCurve, Regression, restore
from netdial.task.noise import LEVELS, UNKNOWN, half_width, held_out_reach, log_density
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


@pytest.mark.slow
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


@given(st.floats(2.05, 1e6), st.floats(0.01, 100), st.floats(-50, 50))
def test_log_densities_are_those_of_students_law(nu: float, var: float, error: float) -> None:
    e, s2 = torch.tensor([[error]]).double(), torch.tensor([var]).double()
    found = float(log_density(e.square(), s2, 1 / nu))
    expected = torch.distributions.StudentT(nu, 0.0, s2.sqrt()).log_prob(e)
    assert found == pytest.approx(float(expected), rel=1e-6, abs=1e-4 if nu < 1e4 else math.inf)
    if nu > 1e5:
        normal = torch.distributions.Normal(0.0, s2.sqrt()).log_prob(e)
        assert found == pytest.approx(float(normal))


def test_members_have_laws_of_their_own() -> None:
    source = torch.Generator().manual_seed(3)
    outputs, y = torch.randn(2, 7, 2, generator=source), torch.randn(7, 2, generator=source)
    rows = ((0.3, 2.0), (0.5, 1.0))
    curve = NoiseCurve((0.1, 10.0), rows, rows, (0.0, 0.2))
    task = Regression(curve=curve)
    found = task.along([0.1, 10.0]).member_nll(outputs, y)
    law = torch.distributions.StudentT(5.0, outputs[1], torch.tensor(rows[1]).sqrt())
    assert torch.allclose(found[1], -law.log_prob(y).sum(dim=1), atol=1e-5)
    assert torch.allclose(found[0], task.at(0.1).nll(outputs[0], y), atol=1e-6)
    assert task.at(1.0).tails == pytest.approx(0.1)
    precision = task.at(10.0).precision
    assert precision is not None
    assert torch.allclose(1 / precision, law.variance[0].double()), "5/3 of the squared scale"
    root = task.at(10.0).root(outputs[1])
    assert float(root[0, 0, 0] ** 2) == pytest.approx((5 + 1) / (5 + 3) / 0.5)
    assert restore(json.loads(json.dumps(task.settings()))) == task


def test_tails_are_found_where_there_are_some() -> None:
    source = torch.Generator().manual_seed(0)
    normal = torch.randn(400, 3, generator=source).double()
    chi = torch.randn(3, 400, 3, generator=source).double().square().sum(dim=0)
    heavy = normal / (chi / 3).sqrt() * 2
    found = law_of(heavy, heavy)
    assert found.tails >= 1 / 5
    if found.tails == 1 / 3:
        assert found.var == pytest.approx([4.0] * 3, rel=0.35)
    plain = law_of(normal, normal)
    assert plain.tails == 0 and plain.var == pytest.approx(normal.square().mean(dim=0).tolist())


def test_half_widths_are_ranks_of_held_out_errors() -> None:
    """⌈(99 + 1) p⌉ of 99 errors 1 … 99; between levels and beyond them in proportion to normal quantiles."""
    reach = held_out_reach(torch.arange(1, 100).double().flip(0)[:, None])
    assert [round(row[0], 9) for row in reach] == [50, 60, 70, 80, 90, 95, 99]
    for level, expected in ((0.5, 50), (0.9, 90), (0.99, 99)):
        assert float(half_width(reach, level, 1)) == pytest.approx(expected)
    z = statistics.NormalDist().inv_cdf
    assert float(half_width(reach, 0.999, 1)) == pytest.approx(99 * z(0.9995) / z(0.995))
    assert float(half_width(reach, 0.2, 1)) == pytest.approx(50 * z(0.6) / z(0.75))
    assert 90 < float(half_width(reach, 0.93, 1)) < 95
    assert float(half_width((), 0.95, 1)) == pytest.approx(1.959964, abs=1e-5)
    few = held_out_reach(torch.arange(1.0, 9.0)[:, None])
    assert few[LEVELS.index(0.9)][0] == pytest.approx(8 * z(0.95) / z((1 + 8 / 9) / 2)), (
        "the ninth of 8 is not there"
    )


def test_a_new_error_lies_inside_as_often_as_asked_whatever_the_law() -> None:
    """Mean coverage of exchangeable rows is ⌈(n + 1) p⌉ / (n + 1), here under a Cauchy law, where no variance exists."""
    source = torch.Generator().manual_seed(1)
    errors = torch.empty(30, 4000).cauchy_(generator=source).abs()
    fresh = torch.empty(4000).cauchy_(generator=source).abs().double()
    half = half_width(held_out_reach(errors), 0.9, 4000)
    assert float((fresh <= half).double().mean()) == pytest.approx(28 / 31, abs=0.02)
    normal = half_width((), 0.9, 4000) * errors.double().square().mean(dim=0).sqrt()
    assert float((fresh <= normal).double().mean()) > 0.92, "what outliers do to a normal law"


@pytest.mark.slow
def test_intervals_of_heavy_tailed_targets_cover_what_they_promise() -> None:
    """Errors of Student's law with 2 degrees of freedom: the density of held-out rows gains, intervals stay narrow."""

    def part(count: int, seed: int) -> Dataset:
        source = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 2, generator=source)
        chi = torch.randn(2, count, 1, generator=source).square().sum(dim=0) / 2
        return Dataset(x, x[:, :1] + 0.3 * torch.randn(count, 1, generator=source) / chi.sqrt())

    family = nd.fit(nn.Linear(2, 1), part(200, 0), part(200, 1), epochs=30, batch_size=25, lr=0.05)
    fresh = part(2000, 2)
    found = intervals(family, fresh, 1e-2)
    assert float(found.covered(fresh.y.double()).double().mean()) == pytest.approx(0.9, abs=0.04)
    assert isinstance(family.task, Regression)
    here = family.task.at(1e-2)
    assert isinstance(here.tails, float) and here.tails > 0.1
    held = part(200, 1)
    normal = Regression(noise_var=tuple(calibrated_normal(family, held)))
    net = family.export(1e-2)
    with torch.no_grad():
        gain = normal.nll(net(fresh.x), fresh.y) - here.plugged_in().nll(net(fresh.x), fresh.y)
    assert float(gain.mean()) > 0.1


def calibrated_normal(family: Family, held: Dataset) -> list[float]:
    """Mean squared errors of the member at 0.01."""
    with torch.no_grad():
        found: list[float] = (family.export(1e-2)(held.x) - held.y).square().mean(dim=0).tolist()
    return found


@pytest.mark.parametrize(
    "given",
    [
        {"tails": (0.5,)},
        {"tails": (0.1, 0.1)},
        {"reach": (((1.0,),) * 3,)},
        {"error_reach": (((1.0, 1.0),) * len(LEVELS),)},
        {"reach": (((-1.0,),) * len(LEVELS),)},
    ],
)
def test_what_is_no_law_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="noise"):
        NoiseCurve((1.0,), ((1.0,),), ((1.0,),), **given)


@pytest.mark.slow
def test_what_pruning_and_choosing_report_knows_the_noise(family: Family) -> None:
    """The NLL of a whole member is that of ``evaluate``, not that under a noise variance of 1."""
    fresh, lams = line(300, 7), [0.01, 1.0]
    path = nd.evaluate(family, fresh, lams=lams, n_samples=8)
    found = nd.surface(family, fresh, lams=lams, shares=[0.0], n_samples=8)
    for k, member in enumerate(path.members):
        assert float(found.metrics["nll"][k, 0]) == pytest.approx(member.metrics["nll"], rel=1e-4)
        assert float(found.predictive["nll"][k, 0]) == pytest.approx(
            member.predictive["nll"], rel=1e-4
        )
    choice = nd.choose(family, fresh, lams=lams, shares=[0.0])
    expected = path.members[lams.index(choice.lam)].metrics["nll"]
    assert choice.row.metrics["nll"] == pytest.approx(expected, rel=1e-4)


def line(count: int, seed: int, noise: float = 0.5) -> Dataset:
    """y = 100 + 20 z, z = x₀ + noise: standardised by hand, its units beside it."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=source)
    z = x[:, :1] + noise * torch.randn(count, 1, generator=source)
    return Dataset(x, z, target=TargetScale(("pressure",), (100.0,), (20.0,)))


@pytest.fixture(scope="module")
def family() -> Family:
    settings: dict[str, Any] = {
        "objective": "scaled-kl",
        "epochs": 60,
        "batch_size": 25,
        "lr": 0.05,
    }
    return nd.fit(nn.Linear(2, 1), line(200, 0), line(800, 1), **settings)


@pytest.mark.slow
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


@pytest.mark.slow
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
    family = nd.fit(nn.Linear(2, 1), line(40, 0), objective="scaled-kl", epochs=1)
    with pytest.raises(ConfigError, match=r"noise of this family is not known.*calibrate"):
        intervals(family, line(9, 1), 1.0)
    (said,) = {
        e.why.partition(": ")[2] for e in nd.assess(family, line(40, 0), by=["elbo"], lams=1)
    }
    assert said == UNKNOWN
    assert family.task is not None
    use = Use(task=family.task.settings())
    found, remarks = predictions(family, use, line(9, 1).x, lam=1.0)
    assert list(found) == ["pressure"] and UNKNOWN in remarks[0] and len(remarks) == 1
    with pytest.raises(DataError, match="3 held-out rows; give at least 8"):
        calibrate(family, line(3, 1))
    calibrate(family, line(40, 1), lams=3)
    assert intervals(family, line(9, 1), 1.0).mean.shape == (9, 1)


def test_noise_and_units_survive_a_file_and_units_finetuning_and_pruning(
    family: Family, tmp_path: Path
) -> None:
    nd.save(family, tmp_path / "f.safetensors")
    again = nd.load_model(tmp_path / "f.safetensors", nn.Linear(2, 1))
    assert again.task == family.task
    without = replace(family.task, curve=None)  # the noise is that of the weights that there were
    assert nd.prune(again, 1.0, 0.5).task == without
    assert nd.finetune(again, 1.0, line(50, 4)).task == without


def test_a_noise_that_is_given_is_used_in_training() -> None:
    """Under the right noise variance λ = 1 is the posterior itself: the mean is that of the closed form."""
    problem = LinearGaussian()
    task = Regression(noise_var=(0.2,))
    net = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0.1)  # whatever other tests drew
    data = problem.x.float(), problem.y[:, None].float()
    (family,) = nd.fit_direct(
        net,
        data,
        kind=task,
        objective="scaled-kl",
        lams=(1.0,),
        prior_var=problem.alpha,
        epochs=400,
        lr=0.02,
        batch_size=40,
    )
    mean, precision = linear.posterior(problem.x, problem.y, prior_var=problem.alpha, noise_var=0.2)
    fields = family.fields_at([1.0])
    assert torch.allclose(fields.mean[0].double(), mean, atol=0.02)
    assert torch.allclose(fields.log_std[0].double(), -0.5 * precision.diagonal().log(), atol=0.2)  # type: ignore[index]


@pytest.mark.parametrize("objective", ["scaled-kl", "ard", "l2", "l1", "log-sum", "scaled-prior"])
def test_the_noise_of_training_is_a_unit_for_lam_where_the_penalty_scales(objective: str) -> None:
    """Training under τ² at λ has the gradient of training under 1 at λτ², divided by τ²; not so under ``scaled-prior``."""
    torch.manual_seed(0)
    x, y, var = torch.randn(30, 2), torch.randn(30, 1), 0.1
    slopes = []
    for lam, task in ((1.0, Regression().assuming(var)), (var, Regression())):
        posterior = "point" if OBJECTIVES[objective].is_point else "normal"
        family = Family(nn.Linear(2, 1), FamilyConfig(1e-3, 10.0, posterior=posterior))
        with torch.no_grad():
            for number in family.parameters():
                number.copy_(torch.linspace(-1, 0.5, number.numel()).view_as(number))
        fields = family.fields_at([0.3])  # the same weights for both
        penalty = OBJECTIVES[objective](fields, torch.tensor([lam]), 1.0)
        out = x @ fields.mean[0, :2, None] + fields.mean[0, 2]
        (task.in_training().nll(out, y).sum() + penalty.sum()).backward()
        slopes.append(
            torch.cat([n.grad.flatten() for n in family.parameters() if n.grad is not None])
        )
    same = torch.allclose(slopes[0] * var, slopes[1], rtol=1e-4, atol=1e-5)
    assert same == (objective != "scaled-prior") == OBJECTIVES[objective].scales


@pytest.mark.slow
def test_a_noise_of_training_gives_the_closed_form_and_is_estimated_afterwards(
    tmp_path: Path,
) -> None:
    """Under τ² = .2, the noise of the data, λ = 1 is the posterior: also at τ² = 1 and λ = .2; scaled-prior needs τ²."""
    problem = LinearGaussian(count=400)
    train = problem.x[:200].float(), problem.y[:200, None].float()
    held = problem.x[200:].float(), problem.y[200:, None].float()
    mean, precision = linear.posterior(
        problem.x[:200], problem.y[:200], prior_var=problem.alpha, noise_var=0.2
    )
    spread = -0.5 * precision.diagonal().log()
    found = {}
    for name, objective, var, lam in (
        ("λ", "scaled-kl", None, 0.2),
        ("wrong", "scaled-prior", None, 1.0),
        ("prior", "scaled-prior", 0.2, 1.0),
        ("τ²", "scaled-kl", 0.2, 1.0),
    ):
        torch.manual_seed(0)
        family = nd.fit(
            nn.Linear(3, 1, bias=False),
            train,
            held,
            objective=objective,
            noise_var=var,
            map="table",
            lams=(lam,),
            prior_var=problem.alpha,
            epochs=300,
            lr=0.03,
            batch_size=200,
        )
        fields = family.fields_at([lam])
        assert fields.log_std is not None
        found[name] = float((fields.log_std[0].detach().double() - spread).abs().max())
        if name != "wrong":
            assert torch.allclose(fields.mean[0].double(), mean, atol=0.02), name
        assert isinstance(family.task, Regression)
        assert family.task.train_var == (() if var is None else (var,))
        assert family.task.at(lam).noise_var[0] == pytest.approx(0.2, rel=0.3), "from held-out rows"
    nd.save(family, tmp_path / "family.safetensors")
    again = nd.load_model(tmp_path / "family.safetensors", nn.Linear(3, 1, bias=False))
    assert again.task == family.task
    assert max(found["τ²"], found["λ"], found["prior"]) < 0.15
    assert found["wrong"] == pytest.approx(0.5 * math.log(5), abs=0.15), "√5 times too wide"


def test_a_noise_of_training_is_refused_where_there_is_none() -> None:
    x, y = torch.randn(20, 2), torch.randn(20, 1)
    with pytest.raises(ConfigError, match=r"noise_var=0\.1.*classification"):
        nd.fit(nn.Linear(2, 2), (x, torch.arange(20) % 2), noise_var=0.1, epochs=1)
    with pytest.raises(ConfigError, match=r"noise_var=0\.1.*0\.3"):
        nd.fit(nn.Linear(2, 1), (x, y), noise_var=0.1, kind=Regression(noise_var=(0.3,)), epochs=1)
    with pytest.raises(ConfigError, match="noise_var"):
        nd.fit(nn.Linear(2, 1), (x, y), noise_var=-1.0, epochs=1)
    with pytest.raises(ConfigError, match="train_var"):
        Regression(train_var=(0.0,))


def test_what_reads_members_knows_the_noise_they_were_trained_under() -> None:
    """The same networks with λ in another unit: every estimator says the same of them."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=source)
    data = x, x[:, :1] + 0.3 * torch.randn(60, 1, generator=source)
    readings = {}
    for var in (1.0, 0.1):
        torch.manual_seed(0)
        lams = [at / var for at in (0.03, 0.3)]
        family = Family(
            nn.Linear(3, 1), FamilyConfig(map="table", lams=tuple(lams), objective="scaled-kl")
        )
        with torch.no_grad():
            for row, width in enumerate((0.05, 0.15)):
                family.mean.pivots[row] = torch.tensor([0.9 - 0.1 * row, 0.02, 0.0, 0.01])  # type: ignore[union-attr]
                family.log_std.pivots[row] = math.log(width)  # type: ignore[union-attr]
        family.learns(Regression().assuming(var), 60)
        by = ["elbo", "iwae", "mdl", "waic", "psis-loo", "laplace-full"]
        found = nd.assess(family.eval(), data, lams=lams, by=by)
        readings[var] = [each.value for each in found]
    assert readings[0.1] == pytest.approx(readings[1.0], rel=1e-4)
    points = {}
    for var in (1.0, 0.1):
        lam = 0.3 / var
        config = FamilyConfig(map="table", lams=(lam,), posterior="point", objective="l2")
        family = Family(nn.Linear(3, 1), config)
        with torch.no_grad():
            family.mean.pivots[0] = torch.tensor([0.9, 0.02, 0.0, 0.01])  # type: ignore[union-attr]
        family.learns(Regression().assuming(var), 60)
        (points[var],) = nd.assess(family.eval(), data, lams=[lam], by=["laplace-full"])
    assert points[0.1].value == pytest.approx(points[1.0].value, rel=1e-5)


def test_laplace_uses_a_noise_that_is_given() -> None:
    """Linear-Gaussian data at σ² = .2 and a mode under l2: the exact log p(D | σ²)."""
    problem, lam = LinearGaussian(), 0.7
    prior = 1 / (2 * lam)
    mean, _ = linear.posterior(problem.x, problem.y, prior_var=prior, noise_var=0.2)
    config = FamilyConfig(map="table", lams=(lam,), posterior="point", objective="l2")
    family = Family(nn.Linear(3, 1, bias=False).double(), config).double()
    with torch.no_grad():
        family.mean.pivots.copy_(mean[None])  # type: ignore[union-attr]
    family.learns(Regression(noise_var=(0.2,)), problem.count)
    (found,) = nd.assess(family.eval(), problem.data, lams=[lam], by=["laplace-full"])
    exact = linear.log_evidence(problem.x, problem.y, prior_var=prior, noise_var=0.2)
    assert -found.value * problem.count * math.log(2) == pytest.approx(exact, rel=1e-9)


def test_intervals_under_a_noise_that_is_given_have_its_width() -> None:
    """Without held-out rows a given variance is all there is: points have ± 1.645 σ."""
    task = Regression(noise_var=(0.25,))
    family = nd.fit(nn.Linear(2, 1), line(40, 0), kind=task, objective="l2", epochs=1)
    found = intervals(family, line(9, 1), 1.0)
    assert torch.allclose(found.upper - found.lower, torch.tensor(2 * 1.644854 * 0.5 * 20).double())


@pytest.mark.slow
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


def test_rmse_of_several_targets_does_not_depend_on_their_units() -> None:
    """In units of their own the one with the largest numbers would be all that counts; one target keeps its unit."""
    outputs, targets = (
        torch.tensor([[0.0, 1.0], [0.0, -1.0]]),
        torch.tensor([[2.0, 1.0], [2.0, 2.0]]),
    )
    for std in ((1.0, 1.0), (1e6, 1e-3), (1e-3, 1e6)):
        task = nd.task.Regression(scale=TargetScale(("a", "b"), (5.0, 7.0), std))
        found = task.metrics(outputs, targets, ["rmse"])["rmse"]
        assert found == pytest.approx(math.sqrt((4 + 4 + 0 + 9) / 4))
        assert task.unit("rmse") == "standard deviations of the targets"
    one = nd.task.Regression(scale=TargetScale(("a",), (5.0,), (1e6,)))
    assert one.metrics(outputs[:, :1], targets[:, :1], ["rmse"])["rmse"] == pytest.approx(2e6)
    assert one.unit("rmse") == "units of the target"


def test_parts_that_were_standardised_each_by_itself_are_scored_in_the_units_of_training(
    family: Family,
) -> None:
    fresh = line(400, 2)
    own = TargetScale(("pressure",), (160.0,), (5.0,))
    assert fresh.target is not None
    other = Dataset(fresh.x, own.standardised(fresh.target.restore(fresh.y)), target=own)
    first, second = (
        nd.evaluate(family, part, lams=[1e-2], n_samples=0).members[0].metrics
        for part in (fresh, other)
    )
    assert second == pytest.approx(first, rel=1e-4)
    assert first["rmse"] == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("make", [torch.tensor, np.array, list, tuple])
def test_variances_are_numbers_whatever_they_were_held_in(make: Any) -> None:
    held: Any = make([0.25, 4.0])
    task = Regression(noise_var=held, train_var=held)
    assert task == Regression(noise_var=(0.25, 4.0), train_var=(0.25, 4.0))
    assert json.loads(json.dumps(task.settings()))["noise_var"] == [0.25, 4.0]
    with pytest.raises(ConfigError, match=r"noise_var=0.1; expected a variance for each target"):
        Regression(noise_var=0.1)  # type: ignore[arg-type]
