"""Values of more bits: where bytes are left over, and where a loss asks for them. A curve needs precise weights."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.compression import Codebook
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.quantise import value_bits
from netdial.compression.pipeline.sharing import Shared
from netdial.core.errors import ConfigError

QUICK: dict[str, Any] = {"kind": "regression", "epochs": 3, "tuning": 4}


@functools.cache
def curve() -> tuple[nn.Module, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns a network of a smooth curve, 217 numbers, and its rows."""
    torch.manual_seed(0)
    x = 4 * torch.rand(360, 1) - 2
    y = torch.sin(2 * x) + 0.01 * torch.randn(360, 1)
    train, valid = (x[:240], y[:240]), (x[240:], y[240:])
    net = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 800)
    for _ in range(800):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(train[0]), train[1]).backward()
        optimizer.step()
        rates.step()
    return net, train, valid


def most_values(found: Any) -> int:
    tensors = found.chosen.tensors.values()
    return max(len(t.values) - 1 for t in tensors if isinstance(t, Codebook))


@pytest.mark.slow
def test_bytes_that_are_left_over_make_values_more_precise() -> None:
    tight, wide = (nd.compress(*curve(), max_bytes=most, **QUICK) for most in (230, 900))
    assert tight.n_bytes <= 230 < wide.n_bytes <= 900
    assert wide.chosen.loss < tight.chosen.loss / 2
    assert wide.chosen.loss < 2 * wide.stages[0].loss
    assert most_values(wide) > 32
    # 3 bits leave 66 bytes, of which tables of values take a part: 5.7 bits are too many
    middle = nd.compress(*curve(), max_bytes=330, **QUICK)
    assert 0.97 * 330 <= middle.n_bytes <= 330
    assert middle.chosen.loss < 2 * wide.chosen.loss


@pytest.mark.slow
def test_values_are_not_more_than_was_said() -> None:
    found = nd.compress(*curve(), max_bytes=900, values=20, **QUICK)
    assert 8 < most_values(found) <= 20


@pytest.mark.slow
def test_a_loss_that_few_bits_do_not_meet_is_met_by_more() -> None:
    dense = nd.compress(*curve(), max_bytes=900, **QUICK).stages[0].loss
    found = nd.compress(*curve(), max_loss=dense, **QUICK)
    assert found.chosen.excess <= dense
    assert any(p.excess > dense for p in found.front)
    with pytest.raises(ConfigError, match=r"max_loss: no network.*more --values"):
        nd.compress(*curve(), max_loss=dense, values=4, **QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1.5, 4.0])
def test_values_have_as_many_bits_as_were_asked_for(bits: float) -> None:
    told: list[str] = []
    found = nd.compress(
        *curve(), max_bytes=330, bits=bits, report=lambda n, *_: told.append(n), **QUICK
    )
    weights = {
        n: Shared(t.codes, t.values, 0.0, 0.0)
        for n, t in found.chosen.tensors.items()
        if isinstance(t, Codebook) and n.endswith("weight")
    }
    assert found.n_bytes <= 330
    assert value_bits(weights) == pytest.approx(bits, abs=0.4)
    assert {name.rpartition("-")[2] for name in told if "-" in name} == {f"{bits:g}bits"}


def test_bits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"bits=3 with share='kmeans'.*--values"):
        CompressConfig(bits=3.0, share="kmeans")
    with pytest.raises(ConfigError, match=r"bits=3 with values=4.*2 bits at most"):
        CompressConfig(bits=3.0, values=4)
    with pytest.raises(ConfigError, match="bits"):
        CompressConfig(bits=9.0)
