"""Traits: what is compared are properties of objectives, so one that is registered works everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.evidence import ESTIMATORS, EvidenceSubject, Reading
from netdial.objective import BOUNDS, OBJECTIVES

Data = tuple[Tensor, Tensor]


@pytest.fixture
def half_kl() -> Iterator[str]:
    """Registered as CONTRIBUTING says: one function, no traits."""

    @OBJECTIVES.add("half-kl")
    def half_kl(fields, lam, prior_var):  # type: ignore[no-untyped-def]
        return 0.5 * lam * fields.kl(torch.full_like(lam, prior_var))

    yield "half-kl"
    OBJECTIVES._registry._parts.pop("half-kl")


@pytest.fixture
def elastic() -> Iterator[str]:
    @OBJECTIVES.add("elastic", posterior="point")
    def elastic(fields, lam, prior_var):  # type: ignore[no-untyped-def]
        return lam * (fields.square_norm() + fields.absolute_norm())

    yield "elastic"
    OBJECTIVES._registry._parts.pop("elastic")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))


def test_an_objective_of_one_s_own_works_everywhere(half_kl: str, blobs: Data) -> None:
    family = nd.fit(net(), blobs, objective=half_kl, epochs=2, batch_size=30)
    assert family.objective == half_kl and family.log_std is not None
    members = nd.evaluate(family, blobs, lams=[1.0], n_samples=2).members
    assert math.isfinite(members[0].objective)
    assert {e.name for e in nd.assess(family, blobs, lams=2)} == {"elbo", "eb-elbo", "mdl"}
    found = nd.assess(family, blobs, lams=[0.1, 1.0], by=BOUNDS)
    assert {e.name for e in found} == set(BOUNDS)
    checks = nd.health(family, blobs, lams=[1.0])
    assert math.isfinite(checks.slopes[0].ratio) and checks.spreads
    assert nd.choose(family, train=blobs, by="eb-elbo", lams=2).by == "eb-elbo"
    nd.finetune(nd.prune(family, 1.0, 0.5), 1.0, blobs)
    with pytest.raises(
        ConfigError,
        match=r"'waic' does not apply to 'half-kl'.*nothing is known of its temperature",
    ):
        nd.assess(family, blobs, by=["waic"])


def test_half_the_penalty_is_the_penalty_at_half_the_complexity(half_kl: str, blobs: Data) -> None:
    family = nd.fit(net(), blobs, objective="scaled-kl", epochs=1, batch_size=30)
    penalties = [
        OBJECTIVES[name](family.fields_at([lam]), torch.tensor([2.0]), 1.0)
        for name, lam in ((half_kl, 1.0),)
    ]
    other = OBJECTIVES["scaled-kl"](family.fields_at([1.0]), torch.tensor([1.0]), 1.0)
    assert torch.allclose(penalties[0], other)


@pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")
def test_points_of_one_s_own(elastic: str, blobs: Data) -> None:
    family = nd.fit(net(), blobs, objective=elastic, epochs=2, batch_size=30)
    assert family.log_std is None and (family.domain.lo, family.domain.hi) == (1e-3, 1e2)
    (member,) = nd.evaluate(family, blobs, lams=[2.0]).members
    assert math.isfinite(member.objective)
    weights = family.fields_at([2.0]).mean.detach()
    assert member.norm == pytest.approx(float((weights.square() + weights.abs()).sum()), rel=1e-5)
    assert nd.health(family, blobs, lams=[1.0]).slopes
    assert nd.choose(family, blobs, lams=2, shares=(0.0, 0.5)).row.value > 0
    with pytest.raises(
        ConfigError, match=r"nothing applies to 'elastic'.*choose λ on validation data"
    ):
        nd.assess(family, blobs)


def test_an_estimator_of_one_s_own_is_asked(blobs: Data) -> None:
    @ESTIMATORS.add("norm")
    def norm(subject: EvidenceSubject) -> list[Reading]:
        squares = subject.fields.mean.square().sum(dim=1).tolist()
        return [
            Reading(lam, square, 0.0) for lam, square in zip(subject.lams, squares, strict=True)
        ]

    try:
        family = nd.fit(net(), blobs, epochs=1, batch_size=30)
        assert [e.name for e in nd.assess(family, blobs, lams=2, by=["norm"])] == ["norm", "norm"]
        assert nd.choose(family, train=blobs, by="norm", lams=2).by == "norm"
    finally:
        ESTIMATORS._parts.pop("norm")


def test_traits_are_those_of_the_formulas() -> None:
    lam = torch.tensor([0.5, 2.0])
    traits = {name: OBJECTIVES[name] for name in OBJECTIVES}
    assert {name for name, o in traits.items() if o.is_point} == {"l1", "l2", "log-sum"}
    assert {name for name, o in traits.items() if o.prior_moves} == {"l2", "scaled-prior"}
    assert {name for name, o in traits.items() if o.inverse_temperature(2.0) == 0.5} == {
        "scaled-kl",
        "ard",
    }
    assert {name for name, o in traits.items() if o.factor(2.0) == 1.0} == {"scaled-prior"}
    assert {name for name, o in traits.items() if o.fitted_prior} == {"ard"}
    l2, moved = traits["l2"].prior_var, traits["scaled-prior"].prior_var
    assert l2 is not None and l2(lam, 3.0).tolist() == [1.0, 0.25]
    assert moved is not None and moved(lam, 3.0).tolist() == [6.0, 1.5]
