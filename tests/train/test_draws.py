"""Which complexity values a step trains."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from netdial.family import Family
from netdial.train.config import make_config
from netdial.train.draws import Draws


def units(steps: int, **settings: object) -> Tensor:
    """Unit coordinates of many steps ``[steps, K]``."""
    config = make_config(epochs=1, regions=4, seed=3, **settings)
    draws = Draws(Family(nn.Linear(2, 2), config.family()), config)
    found = [draws.at(step, 64) for step in range(steps)]
    return torch.stack([draw.unit for draw in found if draw is not None])


def test_a_share_of_the_groups_inside_stands_at_knots() -> None:
    steps, groups, share = 2000, 10, 0.25
    found = units(steps, groups=groups, knots=share)
    assert bool((found[:, [0, -1]] == torch.tensor([0.0, 1.0], dtype=torch.float64)).all())
    inside = found[:, 1:-1]
    at_knots = inside * 4 == (inside * 4).round()
    count = inside.numel()
    assert abs(float(at_knots.double().mean()) - share) < 5 * (share * (1 - share) / count) ** 0.5


def test_without_knots_no_group_inside_stands_at_one() -> None:
    inside = units(300, groups=8)[:, 1:-1]
    assert not bool((inside * 4 == (inside * 4).round()).any())


def test_a_group_goes_to_the_knot_that_is_nearest_to_its_stratum() -> None:
    found = units(300, groups=6, knots=1.0, ends=False)
    middle = (torch.arange(6, dtype=torch.float64) + 0.5) / 6
    assert bool((found * 4 == (found * 4).round()).all())
    assert bool(((found - middle).abs() <= 0.5 / 6 + 0.5 / 4).all())


def test_a_map_without_knots_takes_no_notice() -> None:
    plain, asked = (units(5, map="lowrank", knots=share) for share in (0.0, 0.5))
    assert torch.equal(plain, asked)


def test_draws_depend_on_seed_and_step_alone() -> None:
    assert torch.equal(units(300, knots=0.5)[290:], units(600, knots=0.5)[290:300])


@pytest.mark.parametrize(("groups", "ends"), [(2, False), (3, False), (4, True), (5, True)])
def test_the_ends_of_the_range_have_groups_of_their_own_from_four_groups_on(
    groups: int, ends: bool
) -> None:
    found = units(50, groups=groups, knots=0.0)
    assert bool(((found[:, 0] == 0) & (found[:, -1] == 1)).all()) is ends
    assert bool(((found == 0) | (found == 1)).any()) is ends
