"""Frozen layers of a network that shrinks: what is left of them keeps its values and statistics."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError, DataError


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU()),
        *(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)),
    )


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(64, 4)
    return x, (x[:, 0] > 0).long()


@pytest.mark.parametrize("by_pattern", [False, True])
def test_what_is_left_of_frozen_layers_keeps_every_bit(
    by_pattern: bool, data: tuple[Tensor, Tensor]
) -> None:
    start = net()
    start[:2].requires_grad_(by_pattern)
    freeze = ("0", "BatchNorm1d") if by_pattern else ()
    done = nd.shrink(start, data, epochs=8, batch_size=16, lam=0.3, freeze=freeze)
    before, after = start.state_dict(), done.net.state_dict()
    weight = after["0.weight"]
    kept = [int((before["0.weight"] == row).all(1).nonzero()[0]) for row in weight]
    for name in ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        assert torch.equal(after[name], before[name][kept]), name
    assert sum(tensor.numel() for tensor in after.values()) < sum(
        p.numel() for p in before.values()
    )
    trained = {name: p.requires_grad for name, p in done.net.named_parameters()}
    assert not any(trained[name] for name in ("0.weight", "0.bias", "1.weight", "1.bias"))
    assert trained["3.weight"] and trained["5.weight"]


def test_a_pattern_that_means_nothing_is_refused(data: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match=r"freeze pattern 'nothing'"):
        nd.shrink(net(), data, epochs=1, batch_size=16, lam=0.3, freeze=("nothing",))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the compressed network predicts")
@pytest.mark.parametrize("frozen", [False, True])
def test_batches_of_one_do_where_no_batch_is_normalised(
    frozen: bool, data: tuple[Tensor, Tensor]
) -> None:
    """Statistics of a frozen layer are not those of the batch; of another, one example has no variance."""
    start, few = net(), (data[0][:6], data[1][:6])
    start[1].requires_grad_(not frozen)
    ways: tuple[Callable[[], object], ...] = (
        lambda: nd.shrink(start, few, epochs=1, batch_size=1, lam=0.01),
        lambda: nd.compress(start, few, few, epochs=1, batch_size=1),
    )
    for way in ways:
        if frozen:
            assert way()
        else:
            with pytest.raises(
                DataError, match=r"6 example.s. in batches of 1; this training needs 2"
            ):
                way()
