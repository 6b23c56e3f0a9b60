"""Evaluation along λ: members exactly as exported, the predictive by brute force, refusal outside the range."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.measure import Member, Path, evaluate, outputs, predictive, recalibrate
from netdial.objective import scaled_kl, scaled_prior
from netdial.task import categorical_nll


def family_of(net: nn.Module | None = None, **options: object) -> Family:
    torch.manual_seed(0)
    net = net or nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    family = Family(net, FamilyConfig(map="linear", **options))  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=source))
    return family


def test_members_are_evaluated_exactly_as_exported(blobs: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    family = family_of(net)
    for index, centre in enumerate(family.statistics.centres):
        family.statistics.cell(centre)["1.running_mean"].fill_(0.1 * index)
    lams = [0.02, 1.0, 77.0]
    path = evaluate(family, blobs, lams=lams)
    for member, lam in zip(path.members, lams, strict=True):
        exported = family.export(lam)
        out = exported(blobs[0]).detach()
        assert member.lam == lam
        assert member.metrics["nll"] == pytest.approx(
            float(categorical_nll(out, blobs[1]).mean()), rel=1e-6
        )
        assert member.metrics["accuracy"] == pytest.approx(
            float((out.argmax(dim=1) == blobs[1]).float().mean())
        )
        assert member.n_params == sum(p.numel() for p in exported.parameters())


def test_batches_play_no_part(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    whole, parts = (
        evaluate(family, blobs, lams=3, n_samples=2, batch_size=b).table() for b in (2048, 7)
    )
    for first, second in zip(whole, parts, strict=True):
        assert first == pytest.approx(second, rel=1e-5)


def test_predictive_is_the_average_over_sampled_networks(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    (member,) = evaluate(family, blobs, lams=[2.0], n_samples=7, seed=5).members
    source = generator(5, "predictive")
    probs = []
    for _ in range(7):
        net = family.export(2.0)
        net.load_state_dict(family.sample(2.0, source))
        probs.append(net(blobs[0]).softmax(dim=1).detach())
    mixture = torch.stack(probs).mean(dim=0)
    expected = -mixture[torch.arange(60), blobs[1]].log().mean()
    assert member.predictive["nll"] == pytest.approx(float(expected), rel=1e-5)
    assert member.metrics != member.predictive


def test_draws_leave_no_trace_in_the_metrics_of_the_mean(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    with_draws, without = (evaluate(family, blobs, lams=4, n_samples=s).members for s in (3, 0))
    assert [m.metrics for m in with_draws] == [m.metrics for m in without]
    assert all(m.predictive == {} for m in without)


@pytest.mark.slow
def test_the_predictive_approaches_the_exact_one_of_a_linear_regression(seed: int) -> None:
    """One input, normal weight: y ~ N(x μ, 1 + x² σ²), so the predictive NLL has a closed form."""
    family = Family(nn.Linear(1, 1, bias=False), FamilyConfig(map="linear", log_std=math.log(0.8)))
    with torch.no_grad():
        family.mean.pivots.fill_(0.7)
    x = torch.tensor([[0.5], [1.0], [2.0]])
    y = torch.tensor([[0.0], [1.5], [1.0]])
    (member,) = evaluate(
        family, (x, y), lams=[1.0], kind="regression", n_samples=4000, seed=seed
    ).members
    normal = torch.distributions.Normal(0.7 * x, (1 + x**2 * 0.64).sqrt())
    exact = -normal.log_prob(y).mean()
    # density of y under one draw: its relative spread bounds the error of log of the mean
    draws = 0.7 + 0.8 * torch.randn(20000, generator=torch.Generator().manual_seed(1))
    density = torch.distributions.Normal(draws * x, 1.0).log_prob(y).exp()
    stderr = float((density.std(dim=1) / density.mean(dim=1)).mean()) / 4000**0.5
    assert abs(member.predictive["nll"] - float(exact)) < 5 * stderr


@pytest.mark.parametrize("objective", ["scaled-kl", "scaled-prior"])
def test_objective_is_fit_over_draws_plus_complexity(
    objective: str, blobs: tuple[Tensor, Tensor]
) -> None:
    family = family_of(prior_var=2.0)
    options = {"n_samples": 5, "seed": 3, "objective": objective, "n_data": 500}
    (member,) = evaluate(family, blobs, lams=[4.0], **options).members  # type: ignore[arg-type]
    source = generator(3, "predictive")
    fits = []
    for _ in range(5):
        net = family.export(4.0)
        net.load_state_dict(family.sample(4.0, source))
        fits.append(float(categorical_nll(net(blobs[0]).detach(), blobs[1]).mean()))
    penalty = scaled_kl if objective == "scaled-kl" else scaled_prior
    complexity = float(penalty(family.fields_at([4.0]), torch.tensor([4.0]), 2.0).detach()) / 500
    assert member.objective == pytest.approx(sum(fits) / 5 + complexity, rel=1e-5)


def test_objective_of_a_point_is_that_of_its_weights(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(posterior="point")
    (member,) = evaluate(family, blobs, lams=[0.5], objective="l2", n_data=100).members
    square = sum(float(p.detach().square().sum()) for p in family.export(0.5).parameters())
    assert member.objective == pytest.approx(member.metrics["nll"] + 0.5 * square / 100, rel=1e-5)
    assert math.isnan(member.kl_bits) and math.isnan(member.effective_parameters)
    assert member.predictive == {}


def test_without_draws_a_posterior_has_no_objective(blobs: tuple[Tensor, Tensor]) -> None:
    assert all(
        math.isnan(m.objective) for m in evaluate(family_of(), blobs, lams=2, n_samples=0).members
    )


def test_divergence_in_bits_and_effective_parameters(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(prior_var=0.5)
    (member,) = evaluate(family, blobs, lams=[3.0]).members
    assert member.kl_bits == pytest.approx(float(family.kl([3.0]).detach()) / math.log(2))
    var = family.fields_at([3.0]).var
    assert var is not None
    expected = sum(max(0.0, 1 - float(v) / 0.5) for v in var.detach()[0])
    assert member.effective_parameters == pytest.approx(expected, rel=1e-5)
    assert 0 <= member.effective_parameters <= member.n_params


def test_generalised_evidence_at_one_is_a_lower_bound_of_the_evidence() -> None:
    """Conjugate regression: -N times the objective at λ = 1 lies below the log evidence in closed form."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(30, 2, generator=source)
    y = x @ torch.tensor([[1.0], [-0.5]]) + torch.randn(30, 1, generator=source)
    family = Family(
        nn.Linear(2, 1, bias=False), FamilyConfig(map="linear", log_std=-1.5, prior_var=1.5)
    )
    with torch.no_grad():
        family.mean.pivots.copy_(torch.tensor([0.8, -0.4]))
    (member,) = evaluate(family, (x, y), lams=[1.0], kind="regression", n_samples=500).members
    covariance = torch.eye(30) + 1.5 * x @ x.T
    log_evidence = float(
        torch.distributions.MultivariateNormal(torch.zeros(30), covariance).log_prob(y[:, 0])
    )
    assert log_evidence - 10 < -30 * member.objective < log_evidence


def test_values_may_be_counted_or_listed(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    path = evaluate(family, blobs, lams=5)
    assert path.column("lam") == pytest.approx(family.domain.grid(5))
    assert [member.lam for member in evaluate(family, blobs, lams=(3.0, 0.1, 3.0)).members] == [
        3.0,
        0.1,
        3.0,
    ]


def test_a_table_is_evaluated_at_its_rows(blobs: tuple[Tensor, Tensor]) -> None:
    net = nn.Linear(5, 3)
    family = Family(net, FamilyConfig(map="table", lams=(0.3, 7.0)))
    assert evaluate(family, blobs, lams=9).column("lam") == [0.3, 7.0]


@pytest.mark.parametrize(
    ("lams", "message"),
    [
        ([0.1, 1e3], r"lam=1000: outside the trained range \[0.001, 100\]"),
        ([0.0], "outside the trained range"),
        ([], "the list of complexity values is empty; give at least one"),
        (0, "count=0; expected at least 1"),
    ],
)
def test_values_that_were_not_trained_are_refused(
    lams: int | list[float], message: str, blobs: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(family_of(), blobs, lams=lams)


def test_tables_of_a_path() -> None:
    member = Member(
        lam=1.0, metrics={"nll": 2.0}, predictive={"nll": 1.5}, objective=3.0, n_params=7
    )
    row = Path((member,)).table()[0]
    assert (row["nll"], row["nll_predictive"], row["n_params"]) == (2.0, 1.5, 7)
    assert Path((member, member)).column("objective") == [3.0, 3.0]
    with pytest.raises(KeyError):
        Path((member,)).column("accuracy")


def test_recalibration_measures_what_a_member_sees(pictures: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(80, 3))
    family = family_of(net)
    data = Dataset(*pictures)
    member = family.export(0.5)
    momentum = member[1].momentum
    assert recalibrate(family, member, data, batch_size=48) is member
    seen = member[0](pictures[0]).detach()
    assert torch.allclose(member[1].running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(member[1].running_var, seen.var(dim=(0, 2, 3)), rtol=1e-4)
    assert not member.training and member[1].momentum == momentum
    assert int(family.export(0.5)[1].num_batches_tracked) == 0, "the family is left as it is"


def test_recalibration_of_a_plain_network_changes_nothing(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    net = family.export(1.0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    recalibrate(family, net, Dataset(*blobs))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_outputs_take_the_networks_type(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of().double()
    assert (
        outputs(family.export(1.0), Dataset(*blobs)).dtype
        == next(family.export(1.0).parameters()).dtype
    )


def test_predictive_draws_are_those_that_evaluation_scores() -> None:
    family = Family(nn.Linear(3, 2), FamilyConfig(log_std=-1.0))
    data = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    draws = predictive(family, 1.0, data, n_samples=5, seed=3)
    assert draws.shape == (5, 20, 2)
    assert not torch.equal(draws[0], draws[1])
    (member,) = evaluate(family, data, lams=[1.0], n_samples=5, seed=3).members
    mean = draws.softmax(dim=-1).mean(dim=0)
    nll = -mean.log()[torch.arange(20), data[1]].mean()
    assert member.predictive["nll"] == pytest.approx(float(nll), rel=1e-5)
    with pytest.raises(ConfigError, match=r"n_samples=0; .*1"):
        predictive(family, 1.0, data, n_samples=0)
