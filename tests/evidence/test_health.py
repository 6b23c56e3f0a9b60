"""Checks of a family: slopes of an exact family are those due, spreads are counted by hand, distances vanish from oneself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.evidence import Health, Slope, Spread, health
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.train.direct import fit_direct
from netdial.train.fit import fit

from .conftest import Linear, make_linear

Z = 5.0


@pytest.mark.parametrize("objective", ["scaled-kl", "scaled-prior"])
def test_an_exact_family_pays_the_due_price(linear: Linear, objective: str) -> None:
    family = linear.family(objective=objective, regions=1500)
    lams = [0.3, 1.0, 10.0, 100.0]
    found = health(
        family, linear.data, lams=lams, objective=objective, kind="regression", n_samples=200
    )
    for slope in found.slopes:
        assert slope.ratio == pytest.approx(1, abs=Z * slope.error + 0.01), slope
        assert slope.error < 0.2
    assert found.findings() == []


def test_a_wrong_path_is_found_out(linear: Linear) -> None:
    family = linear.family(lo=0.1, hi=1000.0)
    with torch.no_grad():
        family.mean.pivots.copy_(family.mean.pivots.flip(0) * 2)
    found = health(family, linear.data, lams=[1.0, 10.0], kind="regression")
    assert any("slope" in line and "train longer" in line for line in found.findings())


def test_points_pay_by_their_norm(linear: Linear) -> None:
    family = Family(
        nn.Linear(5, 1, bias=False).double(), FamilyConfig(posterior="point", regions=1500)
    )
    with torch.no_grad():
        for row, lam in enumerate(family.domain.grid(1501)):
            family.mean.pivots[row] = linear.posterior(1.0, 1 / (2 * lam))[0]
    found = health(family, linear.data, lams=[0.1, 5.0], objective="l2", kind="regression")
    assert [slope.ratio for slope in found.slopes] == pytest.approx([1, 1], abs=0.01)
    assert found.slopes[0].error == 0
    mean = linear.posterior(1.0, 5.0)[0]
    assert found.slopes[0].penalty == pytest.approx(float(mean.square().sum()), rel=1e-3)
    assert found.spreads == ()


def test_spreads_are_those_counted_by_hand(linear: Linear) -> None:
    family = linear.family()
    (found,) = health(family, linear.data, lams=[10.0], kind="regression").spreads
    mean, var = linear.posterior(0.1, 1.0)
    nats = 0.5 * (mean.square() + var - 1 - var.log())
    assert sum(found.leaf_kl_bits.values()) == pytest.approx(
        float(nats.sum()) / math.log(2), rel=1e-4
    )
    assert list(found.leaf_kl_bits) == ["weight"]
    assert found.effective_parameters == pytest.approx(float((1 - var).sum()), rel=1e-4)
    assert found.collapsed == pytest.approx(float((nats < 0.01).double().mean()))
    assert found.snr[2] == pytest.approx(float((mean.abs() / var.sqrt()).median()), rel=1e-3)
    assert found.movement[2] == pytest.approx(float((0.5 * var.log() + 3).median()), rel=1e-3)


def test_pruned_weights_are_left_out(blobs: tuple[Tensor, Tensor]) -> None:
    family = Family(nn.Linear(5, 3), FamilyConfig())
    kept = torch.zeros(18, dtype=torch.bool)
    kept[15:] = True
    family.restrict(kept)
    (found,) = health(family, blobs, lams=[1.0]).spreads
    assert found.leaf_kl_bits["weight"] == 0
    assert found.leaf_kl_bits["bias"] > 0
    assert found.collapsed == 0


def test_training_moves_sigma_and_an_untrained_family_is_found_out(
    blobs: tuple[Tensor, Tensor],
) -> None:
    net = nn.Linear(5, 3)
    fresh = health(Family(net, FamilyConfig()), blobs, lams=3)
    assert any("log σ has not moved" in line for line in fresh.findings())
    moved = fit(net, blobs, objective="scaled-kl", epochs=60, batch_size=60, lr=0.03)
    trained = health(moved, blobs, lams=[1.0])
    assert trained.spreads and not any("log σ" in line for line in trained.findings())


def test_distance_from_direct_networks(blobs: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    settings = {"objective": "scaled-kl", "epochs": 40, "batch_size": 60, "lr": 0.05}
    (direct,) = fit_direct(net, blobs, lams=[0.1, 1.0], **settings)  # type: ignore[arg-type]
    itself = health(direct, blobs, lams=[1.0], direct=direct)
    assert itself.slopes == ()
    for distance in itself.distances:
        assert distance.excess == 0 and distance.divergence == pytest.approx(0, abs=1e-9)
    far = health(Family(net, FamilyConfig()), blobs, lams=[1.0], direct=direct)
    for distance in far.distances:
        assert distance.excess > 0 and distance.divergence > 1
    with pytest.raises(ConfigError, match="not a table of directly trained networks"):
        health(direct, blobs, direct=Family(net, FamilyConfig()))


def test_what_does_not_fit_is_refused(blobs: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match="objective='l2' does not fit"):
        health(Family(nn.Linear(5, 3), FamilyConfig()), blobs, objective="l2")


def test_findings_name_the_worst() -> None:
    spread = Spread(1.0, (0.2,) * 5, (0.1,) * 5, {}, 0.999, 1.0)
    slopes = (
        Slope(0.1, 1.0, 1.0, -0.5, 0.1),
        Slope(1.0, 1.0, 1.0, 1.1, 0.1),
        Slope(5.0, 1.0, 1.0, 3.0, 0.1),
    )
    first, second = Health(slopes, (spread,), ()).findings()
    assert "at λ = 0.1, 5 (worst -0.5 times the due one at λ = 0.1)" in first
    assert second == "nearly all weights are back at the prior at λ = 1"


def test_some_examples_suffice() -> None:
    linear = make_linear(600, seed=1)
    whole, part = (
        health(
            linear.family(regions=1500),
            linear.data,
            lams=[30.0],
            kind="regression",
            n_examples=n,
            n_samples=100,
        )
        for n in (None, 300)
    )
    error = math.hypot(whole.slopes[0].error, part.slopes[0].error)
    assert part.slopes[0].ratio == pytest.approx(whole.slopes[0].ratio, abs=Z * error)
    assert part.slopes[0].error > whole.slopes[0].error


def test_under_ard_the_spread_is_held_against_the_fitted_prior(linear: Linear) -> None:
    family = linear.family(objective="scaled-kl", lams=(0.5, 2.0))
    found = health(family, linear.data, lams=[0.5, 2.0], objective="ard", kind="regression")
    fields = family.fields_at([0.5, 2.0])
    bits = fields.relevance().detach() / math.log(2)
    for spread, whole in zip(found.spreads, bits.tolist(), strict=True):
        assert sum(spread.leaf_kl_bits.values()) == pytest.approx(whole)
    assert fields.var is not None
    share = fields.mean**2 / (fields.mean**2 + fields.var)
    ours = [spread.effective_parameters for spread in found.spreads]
    assert ours == pytest.approx(share.sum(dim=1).tolist())
