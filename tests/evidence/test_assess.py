"""What may be asked of which family, and that what is asked does not depend on how it is computed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.evidence import ESTIMATORS, Estimate, assess, chosen, doubts
from netdial.evidence.assessment import _estimates
from netdial.evidence.subject import Reading
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.objective import LAPLACE, OBJECTIVES

FAST = [name for name in OBJECTIVES["scaled-kl"].estimators if name not in LAPLACE]


def family_of(net: nn.Module | None = None, **options: object) -> Family:
    torch.manual_seed(0)
    net = net or nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    family = Family(net, FamilyConfig(map="linear", **options))  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=source))
    return family


@pytest.mark.parametrize(
    ("objective", "by", "message"),
    [
        (
            "scaled-prior",
            "wbic",
            "'wbic' does not apply to 'scaled-prior'.*there is no temperature",
        ),
        ("scaled-prior", "thermodynamic", "'thermodynamic' does not apply.*legal: elbo, eb-elbo"),
        ("scaled-kl", "objective", "'scaled-kl' is not comparable along λ.*only at λ = 1"),
        ("l2", "elbo", "'elbo' does not apply to 'l2'.*precision 2λ.*legal: laplace-diagonal"),
        ("l2", "waic", "no divergence and no draws"),
        ("l1", "laplace-diagonal", "no second derivative at zero.*legal: none.*objective='ard'"),
        (
            "l3",
            "elbo",
            "unknown objective 'l3'.*allowed: ard, l1, l2, log-sum, scaled-kl, scaled-prior",
        ),
        ("scaled-kl", "ebelbo", "unknown estimator 'ebelbo'; did you mean 'eb-elbo'"),
    ],
)
def test_what_is_not_legal_is_refused_with_what_is(
    objective: str, by: str, message: str, blobs: tuple[Tensor, Tensor]
) -> None:
    points = objective in ("l1", "l2", "log-sum")
    family = family_of(posterior="point" if points else "normal")
    with pytest.raises(ConfigError, match=message):
        assess(family, blobs, by=[by], objective=objective)


def test_an_objective_that_does_not_fit_the_posterior_is_refused(
    blobs: tuple[Tensor, Tensor],
) -> None:
    with pytest.raises(ConfigError, match="objective='scaled-kl', but the family has points"):
        assess(family_of(posterior="point"), blobs, objective="scaled-kl")
    with pytest.raises(ConfigError, match="objective='l2', but the family has normal posteriors"):
        assess(family_of(), blobs, objective="l2")
    with pytest.raises(ConfigError, match=r"nothing applies to 'l1'.*validation data"):
        assess(family_of(posterior="point"), blobs, objective="l1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 1}, r"n_samples=1\b.* 2\b"),
        ({"n_examples": 1}, r"n_examples=1\b.* 2\b"),
        ({"delta": 0.0}, "delta=0; expected a probability"),
        ({"lams": []}, "list of complexity values is empty"),
        ({"lams": [1000.0]}, "outside the trained range"),
        ({"kind": "ranking"}, "unknown task 'ranking'"),
    ],
)
def test_wrong_input_is_explained(
    options: dict[str, object], message: str, blobs: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ConfigError, match=message):
        assess(family_of(), blobs, **options)  # type: ignore[arg-type]


def test_the_tables_agree() -> None:
    everything = set()
    for name in OBJECTIVES:
        objective = OBJECTIVES[name]
        assert set(objective.estimators) <= set(ESTIMATORS) and objective.why
        assert set(objective.default) <= set(objective.estimators)
        everything |= set(objective.estimators)
    assert everything == set(ESTIMATORS)


def test_everything_legal_gives_finite_numbers_in_order(blobs: tuple[Tensor, Tensor]) -> None:
    lams = [1.0, 0.1, 10.0]
    found = assess(family_of(), blobs, lams=lams, by=FAST, n_samples=30)
    assert list(dict.fromkeys(e.name for e in found)) == FAST
    for estimate in found:
        assert math.isfinite(estimate.value) and estimate.error >= 0, estimate
        assert estimate.why
    along = [e.lam for e in found if e.name == "elbo"]
    assert along == [0.1, 1.0, 10.0]
    assert set(chosen(found)) == set(FAST) - {"wbic", "thermodynamic"}


def test_an_estimate_does_not_depend_on_what_else_is_asked(blobs: tuple[Tensor, Tensor]) -> None:
    alone = assess(family_of(), blobs, lams=[1.0], by=["elbo"], n_samples=10)
    among = assess(family_of(), blobs, lams=[1.0], by=["waic", "iwae", "elbo"], n_samples=10)
    assert alone[0] == among[-1]
    other = assess(family_of(), blobs, lams=[1.0], by=["elbo"], n_samples=10, seed=1)
    assert other[0].value != alone[0].value


@pytest.mark.parametrize("by", ["elbo", "waic", "iwae", "mdl-two-part"])
def test_side_by_side_is_one_by_one(
    by: str, blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = family_of(log_std=-2.0)
    options = {"lams": [0.1, 3.0], "by": [by], "n_samples": 200 if by == "elbo" else 12}
    together = assess(family, blobs, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(Family, "side_by_side", lambda *_: False)
    alone = assess(family, blobs, **options)  # type: ignore[arg-type]
    for first, second in zip(together, alone, strict=True):
        exact = by != "elbo"  # the others draw the same weights either way
        tolerance = 1e-5 if exact else 5 * math.hypot(first.error, second.error)
        assert second.value == pytest.approx(first.value, abs=tolerance)


def test_networks_with_statistics_are_weighed_as_exported(blobs: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    family = family_of(net, log_std=-12.0).train()
    with torch.no_grad():
        assert family.log_std is not None
        family.log_std.pivots.fill_(-12.0)
    found = assess(family, blobs, lams=[0.5], by=["elbo", "waic"], n_samples=4)
    assert family.training
    loss = nn.functional.cross_entropy(family.export(0.5)(blobs[0]), blobs[1]).detach()
    for estimate in found:
        assert estimate.parts["data"] == pytest.approx(float(loss) / math.log(2), rel=1e-3)


def test_pictures_and_convolutions(pictures: tuple[Tensor, Tensor]) -> None:
    net = nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    found = assess(
        family_of(net),
        pictures,
        lams=[0.1, 1.0],
        by=["elbo", "psis-loo", "pac-bayes"],
        n_samples=30,
    )
    assert all(math.isfinite(estimate.value) for estimate in found)


def test_too_much_to_keep_is_refused(blobs: tuple[Tensor, Tensor]) -> None:
    big = Dataset(blobs[0][:1].expand(20_000, 5), blobs[1][:1].expand(20_000))
    with pytest.raises(ConfigError, match="look at fewer examples"):
        assess(family_of(), big, by=["waic"], n_samples=4000)


def test_direct_networks_are_weighed_at_their_own_values(blobs: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    family = Family(nn.Linear(5, 3), FamilyConfig(map="table", lams=(0.1, 10.0)))
    assert [e.lam for e in assess(family, blobs, by=["elbo"])] == [0.1, 10.0]


def test_choice_takes_the_simplest_of_equals_and_leaves_out_what_cannot_choose() -> None:
    found = [
        Estimate("elbo", 0.1, 1.0, 0.1),
        Estimate("elbo", 1.0, 0.5, 0.1),
        Estimate("elbo", 10.0, 0.5, 0.1),
        Estimate("elbo", 100.0, math.nan, 0.1),
        Estimate("wbic", 5.0, 0.1, 0.1, legal=False),
    ]
    assert chosen(found) == {"elbo": 10.0}


def test_gaps_are_from_the_best_number() -> None:
    values = {0.1: math.nan, 1.0: 3.0, 10.0: 2.0}
    found = _estimates("elbo", [Reading(lam, value, 0.1) for lam, value in values.items()], 10)
    gaps = [estimate.parts["gap"] * 10 * math.log(2) for estimate in found]
    assert math.isnan(gaps[0]) and gaps[1:] == pytest.approx([1, 0])


def test_doubts_are_spoken() -> None:
    found = [
        Estimate("iwae", 0.1, 1.0, 0.1, {"ess": 1.0}),
        Estimate("iwae", 1.0, 1.0, 0.1, {"ess": 30.0}),
        Estimate("psis-loo", 1.0, 1.0, 0.1, {"unsure": 0.05}),
        Estimate("waic", 2.0, 1.0, 0.1, {"unsure": 0.5}),
        Estimate("laplace-full", 3.0, 1.0, 0.0, {"correction": 0.2}),
    ]
    assert doubts(found) == [
        "iwae is degenerate (fewer than 5 effective draws) at λ = 0.1",
        "waic is unreliable (variance above 0.4 for over 10 % of examples) at λ = 2",
        "laplace-full is far from a mode (first-order term above 0.1 bits per example) at λ = 3",
    ]
