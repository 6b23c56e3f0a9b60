"""Criteria against closed forms: the posterior's, the gradient's, and the exact cost of removing a weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, NonFiniteError
from netdial.data.dataset import Dataset
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.pruning.weights import importance, masks, share_below
from netdial.pruning.weights.criteria import default_criterion
from netdial.task import named
from netdial.train.finetune import specialise

from .problems import LAMS, family_of


def flat_fields(family: Family) -> tuple[Tensor, Tensor]:
    fields = family.fields_at(LAMS)
    assert fields.log_std is not None
    return fields.mean.detach(), fields.log_std.detach().exp()


def test_posterior_criteria_are_their_formulas() -> None:
    family = family_of(double=True)
    mean, std = flat_fields(family)
    assert torch.allclose(importance(family, LAMS, "density"), mean.square() / (2 * std.square()))
    assert torch.allclose(importance(family, LAMS, "snr"), mean.abs() / std)
    assert torch.allclose(importance(family, LAMS, "magnitude"), mean.abs())
    relative = (-mean.square() / (2 * std.square())).exp()
    assert torch.allclose(importance(family, LAMS, "graves"), -relative)


def test_density_snr_and_graves_remove_alike() -> None:
    family = family_of(double=True)
    kept = [
        masks(importance(family, LAMS, name), family.layout, (0.2, 0.7))
        for name in ("density", "snr", "graves")
    ]
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], kept[2])
    by_magnitude = masks(importance(family, LAMS, "magnitude"), family.layout, (0.2, 0.7))
    assert not torch.equal(kept[0], by_magnitude)


def test_the_threshold_of_graves_is_a_share() -> None:
    family = family_of(double=True)
    mean, std = flat_fields(family)
    weights = torch.cat([torch.ones(35), torch.zeros(7), torch.ones(21), torch.zeros(3)]).bool()
    relative = (-0.5 * (mean / std).square()).exp()[:, weights]
    shares = share_below(importance(family, LAMS, "graves"), family.layout, -0.83)
    assert shares == pytest.approx((relative > 0.83).double().mean(dim=1).tolist())


def test_random_is_the_same_at_every_complexity_and_follows_its_seed() -> None:
    family = family_of()
    drawn = importance(family, LAMS, "random", seed=1)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn, importance(family, LAMS, "random", seed=2))


def test_taylor_is_the_gradient_of_the_mean_loss_times_the_weight(
    blobs: tuple[Tensor, Tensor],
) -> None:
    family = family_of(double=True)
    data = blobs[0].double(), blobs[1]
    found = importance(family, LAMS, "taylor", data=data)
    for row, lam in zip(found, LAMS, strict=True):
        net = family.export(lam)
        named("classification").nll(net(data[0]), data[1]).mean().backward()
        expected = torch.cat(
            [(p * p.grad).flatten() for p in net.parameters() if p.grad is not None]
        )
        assert torch.allclose(row, expected.abs().detach())


def linear_regression(seed: int) -> tuple[Family, Tensor, Tensor]:
    """A single least-squares solution as a family, with correlated inputs."""
    source = torch.Generator().manual_seed(seed)
    mixing = torch.randn(6, 6, generator=source, dtype=torch.float64)
    x = torch.randn(80, 6, generator=source, dtype=torch.float64) @ mixing
    y = x @ torch.randn(6, 1, generator=source, dtype=torch.float64)
    y = y + torch.randn(80, 1, generator=source, dtype=torch.float64)
    net = nn.Linear(6, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    config = FamilyConfig(posterior="point", map="table", lams=(1.0,))
    return Family(net, config), x, y


def loss(x: Tensor, y: Tensor, weight: Tensor) -> float:
    return float(named("regression").nll(x @ weight[:, None], y).sum())


@pytest.mark.parametrize("how", ["ggn", "hessian"])
def test_optimal_brain_damage_is_exact_for_one_weight_of_a_quadratic(how: str, seed: int) -> None:
    family, x, y = linear_regression(seed)
    found = importance(family, [1.0], f"obd-{how}", data=(x, y), kind="regression")[0]
    optimum = family.at(1.0)["weight"][0].detach()
    for index, damage in enumerate(found.tolist()):
        without = optimum.clone()
        without[index] = 0
        assert damage == pytest.approx(loss(x, y, without) - loss(x, y, optimum), rel=1e-6)


def test_obd_inverse_is_the_exact_cost_once_the_rest_is_fitted_anew(seed: int) -> None:
    family, x, y = linear_regression(seed)
    found = importance(family, [1.0], "obd-inverse", data=(x, y), kind="regression")[0]
    optimum = family.at(1.0)["weight"][0].detach()
    for index, damage in enumerate(found.tolist()):
        rest = torch.arange(6) != index
        without = torch.zeros(6, dtype=torch.float64)
        without[rest] = torch.linalg.lstsq(x[:, rest], y).solution[:, 0]
        assert damage == pytest.approx(loss(x, y, without) - loss(x, y, optimum), rel=1e-6)


def test_obd_inverse_leaves_pruned_and_excluded_numbers_out_of_the_matrix(seed: int) -> None:
    family, x, y = linear_regression(seed)
    kept = torch.tensor([True, True, False, True, True, False])
    family.restrict(kept)
    found = importance(family, [1.0], "obd-inverse", data=(x, y), kind="regression")[0]
    inverse = torch.linalg.inv(x[:, kept].T @ x[:, kept]).diagonal()
    optimum = family.at(1.0)["weight"][0, kept].detach()
    assert torch.allclose(found[kept], optimum.square() / (2 * inverse), rtol=1e-6)
    assert not found[~kept].any()

    net = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 1)).double()
    shared = Family(net, FamilyConfig(shared=("0.*",)))
    data = (x, y)
    found = importance(shared, [1.0], "obd-inverse", data=data, kind="regression")[0]
    hidden = torch.cat([net[0](x).detach(), torch.ones(80, 1, dtype=torch.float64)], dim=1)
    matrix = hidden.T @ hidden
    flat = torch.cat([net[1].weight.detach().flatten(), net[1].bias.detach()])
    assert torch.allclose(
        found, flat.square() / (2 * torch.linalg.inv(matrix).diagonal()), rtol=1e-4
    )


def test_a_weight_that_another_can_replace_costs_nothing() -> None:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=source, dtype=torch.float64)
    x[:, 1] = 2 * x[:, 0]
    net = nn.Linear(3, 1, bias=False).double()
    family = Family(net, FamilyConfig(posterior="point"))
    found = importance(family, [1.0], "obd-inverse", data=(x, x[:, :1].clone()), kind="regression")[
        0
    ]
    assert found[:2].max() < 1e-6 * float(found[2])


def test_points_are_pruned_by_magnitude_unless_told_otherwise() -> None:
    assert default_criterion(family_of()) == "density"
    assert default_criterion(family_of(posterior="point")) == "magnitude"


def test_what_is_not_a_number_is_refused(blobs: tuple[Tensor, Tensor]) -> None:
    family = specialise(family_of(), 1.0)
    bad = replace(Dataset(*blobs), x=blobs[0].sign() * 3e38)
    with pytest.raises(NonFiniteError, match=r"'taylor': .* not a number at lam=1"):
        importance(family, [1.0], "taylor", data=bad)
    with pytest.raises(ConfigError, match="'ranking'"):
        importance(family, [1.0], kind="ranking")
    with pytest.raises(ConfigError, match="outside the trained range"):
        importance(family, [1e9])
