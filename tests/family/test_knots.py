"""A family from its members at knots: those at the knots, lines between them, and what does not fit is named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import ShapeError
from netdial.family.knots import family_at_knots


def leaves(net: nn.Module, knots: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    found = {n: torch.randn(knots, *p.shape) for n, p in net.named_parameters()}
    return found | {n: b.repeat(8, *[1] * b.ndim) for n, b in net.named_buffers()}


def test_members_at_knots_and_between() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    given = leaves(net, 3)
    family = family_at_knots(net, 0.01, 100.0, 3, given)
    for knot, lam in enumerate((0.01, 1.0, 100.0)):
        for name, leaf in family.export(lam).named_parameters():
            torch.testing.assert_close(leaf, given[name][knot])
    middle = family.export(0.1).get_parameter("0.weight")
    torch.testing.assert_close(middle, given["0.weight"][:2].mean(dim=0))
    assert not family.training and family.config.posterior == "point"


def test_what_is_missing_or_of_another_shape_is_named() -> None:
    net = nd.build("mlp:4", input_shape=(3,), n_outputs=2)
    given = leaves(net, 3)
    with pytest.raises(ShapeError, match=r"fc1\.weight.*\[2, 4, 3\]"):
        family_at_knots(net, 0.01, 1.0, 2, given)
    given.pop("fc2.bias")
    with pytest.raises(ShapeError, match=r"fc2\.bias.*missing"):
        family_at_knots(net, 0.01, 1.0, 3, given)
