"""Copies share the class that torch gives a parametrised layer; making one plain leaves the other as it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from netdial.nets.foreign import with_plain_weights


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_the_users_network_keeps_its_norm(norm: object) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    norm(net[0])  # type: ignore[operator]
    x = torch.randn(5, 4)
    before = net(x)
    with pytest.warns(UserWarning, match=r"0\.weight"):
        made = with_plain_weights(net)
    assert torch.allclose(made(x), before, atol=1e-6)
    assert torch.equal(net(x), before)
    assert hasattr(net[0], "parametrizations") and not hasattr(made[0], "parametrizations")
