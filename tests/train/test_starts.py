"""Families from several starts: each is what it would be by itself, and they average to something better."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.family.stacking import can_stack
from netdial.measure import intervals

SHORT: dict[str, Any] = {"epochs": 3, "batch_size": 16}


def rows(count: int = 50, seed: int = 0) -> Dataset:
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=source)
    return Dataset(x, (x[:, 0] * x[:, 1] > 0).long())


def starts(count: int) -> list[nn.Module]:
    return [nd.build("mlp:6", input_shape=(4,), n_outputs=2, seed=seed) for seed in range(count)]


def pivots(family: nd.Family) -> Tensor:
    return torch.cat([part.detach().flatten() for part in family.parameters()])


@pytest.mark.parametrize("objective", ["l1", "ard"])
def test_the_first_is_what_fit_gives_and_others_do_not_change_it(objective: str) -> None:
    alone = nd.fit(starts(1)[0], rows(), objective=objective, **SHORT)
    few, more = (
        nd.fit_starts(starts(count), rows(), objective=objective, **SHORT) for count in (2, 3)
    )
    torch.testing.assert_close(pivots(few[0]), pivots(alone), rtol=0, atol=1e-6)
    for one, other in zip(few, more, strict=False):
        torch.testing.assert_close(pivots(one), pivots(other), rtol=0, atol=1e-6)
    assert not torch.allclose(pivots(few[0]), pivots(few[1]), atol=1e-2)
    assert [family.n_data for family in more] == [50, 50, 50]


def test_networks_with_running_statistics_train_one_after_another() -> None:
    nets = []
    for seed in range(2):
        torch.manual_seed(seed)
        nets.append(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)))
    found = nd.fit_starts(nets, rows(), **SHORT)
    assert torch.equal(pivots(found[0]), pivots(nd.fit(nets[0], rows(), **SHORT)))
    assert len(found) == 2


class Options:
    """What a network may hold beside its layers; two of them are never equal to Python."""

    def __init__(self, size: int) -> None:
        self.size = size


class Scaled(nn.Module):
    """A layer whose factor is seen nowhere but in its attribute."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def of_layers(middle: nn.Module, width: int = 6, *, frozen: bool = False) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, width), middle, nn.Linear(width, 2))
    net[0].requires_grad_(not frozen)
    return net


@pytest.mark.parametrize(
    "other",
    [
        lambda: of_layers(nn.Tanh()),
        lambda: of_layers(nn.ReLU(), width=5),
        lambda: of_layers(nn.ReLU(), frozen=True),
        lambda: of_layers(Scaled(0.1)),
    ],
)
def test_networks_of_another_architecture_stay_what_they_are(
    other: Callable[[], nn.Module],
) -> None:
    """All were trained as the first network, and given back as such."""
    first = of_layers(Scaled(3.0)) if isinstance(other()[1], Scaled) else of_layers(nn.ReLU())
    found = nd.fit_starts([first, other()], rows(), **SHORT)
    alone = nd.fit(other(), rows(), **SHORT, seed=1)
    assert torch.equal(pivots(found[1]), pivots(alone))
    x = rows().x
    assert torch.equal(found[1].export(1.0)(x), alone.export(1.0)(x))
    direct = nd.fit_direct([first, other()], rows(), lams=[0.1, 1.0], **SHORT)
    one = nd.fit_direct(other(), rows(), lams=[0.1, 1.0], **SHORT, seed=1)[0]
    assert torch.equal(direct[1].export(1.0)(x), one.export(1.0)(x))


def test_networks_that_differ_in_numbers_alone_train_side_by_side() -> None:
    config, net = nd.FitConfig(), of_layers(Scaled(0.5))
    net.options = Options(3)  # type: ignore[assignment]
    two = [nd.Family(each, config.family()) for each in (net, copy.deepcopy(net))]
    assert can_stack(two)
    two[1].net.options.size = 4  # type: ignore[union-attr]
    assert not can_stack(two)


def test_a_regression_learns_its_noise_from_the_validation_part() -> None:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] + 0.1 * torch.randn(60, 1, generator=torch.Generator().manual_seed(1))
    nets = [nd.build("mlp:6", input_shape=(4,), n_outputs=1, seed=seed) for seed in range(2)]
    found = nd.fit_starts(nets, (x[:40], y[:40]), (x[40:], y[40:]), **SHORT)
    for family in found:
        assert intervals(family, x[:3], 1.0).lower.shape == (3, 1)


def test_starts_average_over_validation_rows() -> None:
    train, valid, test = rows(200), rows(200, 1), rows(500, 2)
    settings: dict[str, Any] = {"epochs": 30, "batch_size": 32, "lr": 2e-2}
    found = nd.fit_starts(starts(4), train, valid, **settings)
    whole = nd.average(found, valid)
    losses = [
        float(nn.functional.cross_entropy(family.export(0.1)(test.x), test.y).detach())
        for family in found
    ]
    together = float(nn.functional.cross_entropy(whole(test.x), test.y).detach())
    assert together < sum(losses) / len(losses)


def test_starts_that_priors_are_centred_on_train_apart_each_around_its_own() -> None:
    settings: dict[str, Any] = {"objective": "l2", "anchor": "start", "lam": (1.0, 1e4)}
    nets = starts(2)
    found = nd.fit_starts(nets, rows(), **settings, epochs=30, batch_size=16)
    for net, family in zip(nets, found, strict=True):
        start, strict = (
            torch.cat([p.detach().flatten() for p in one.parameters()])
            for one in (net, family.export(1e4))
        )
        assert float((strict - start).norm()) < 0.1 * float(start.norm())


def test_no_start_and_patience_are_refused() -> None:
    with pytest.raises(ConfigError, match="empty"):
        nd.fit_starts([], rows(), **SHORT)
    with pytest.raises(ConfigError, match="patience"):
        nd.fit_starts(starts(2), rows(), rows(), patience=3, **SHORT)
