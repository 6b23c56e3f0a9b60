"""Channels that are removed: what they send goes into biases, exactly where it is the same for every input."""

from __future__ import annotations

import torch
from torch import nn

import netdial as nd

from .situations import refused, right

X = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))


def net(activation: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), activation or nn.Sigmoid(), nn.Linear(8, 3))


@right
def test_a_channel_of_a_bias_alone_goes_exactly() -> None:
    """Four channels with zero weights send σ(b): without them the network computes the same to 1e-6."""
    whole = net()
    with torch.no_grad():
        whole[0].weight[::2] = 0
        whole[0].bias[::2] = torch.tensor([0.2, -0.1, 0.05, 0.3])
        whole[2].weight[:, ::2] *= 0.1
    small = nd.slim(whole, share=0.5, example=X, criterion="magnitude")
    assert list(small.widths.values()) == [4]
    torch.testing.assert_close(small.net(X), whole(X), rtol=1e-5, atol=1e-6)


@right
def test_what_varies_is_folded_by_its_mean() -> None:
    """Channels that vary: with ``fold`` the mean of the outputs over the data stays, and the row says "measured mean"."""
    whole = net()
    small = nd.slim(whole, share=0.5, example=X, emission="fold")
    torch.testing.assert_close(small.net(X).mean(0), whole(X).mean(0), rtol=1e-4, atol=1e-5)
    assert any("measured mean" in row.sent for row in small.rows)


@right
def test_what_is_dropped_is_dropped() -> None:
    """With ``drop`` the outputs are those of the network with the channels' columns set to zero."""
    whole = net()
    small = nd.slim(whole, share=0.5, example=X, emission="drop")
    kept = [
        int((whole[0].weight == row).all(1).nonzero()[0])
        for row in dict(small.net.named_parameters())["0.weight"]
    ]
    with torch.no_grad():
        zeroed = net()
        zeroed[2].weight[:, [i for i in range(8) if i not in kept]] = 0
    torch.testing.assert_close(small.net(X), zeroed(X), rtol=1e-5, atol=1e-6)


@right
def test_a_channel_through_normalisation_goes_exactly() -> None:
    """A channel whose BatchNorm has scale 0 sends its shift through ReLU: exact without it."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        whole[0].weight[:4] = 0
        whole[0].bias[:4] = 0
        whole[1].weight[:4] = 0
        whole[1].bias[:4] = torch.tensor([0.1, -0.1, 0.03, 0.2])
        whole[3].weight[:, :4] *= 0.1
    small = nd.slim(whole, share=0.5, example=X, criterion="magnitude")
    torch.testing.assert_close(small.net(X), whole(X), rtol=1e-5, atol=1e-5)


@right
def test_folding_weights_of_constant_inputs() -> None:
    """Pruning half of the weights of a family leaves half of its numbers, and the same member exports."""
    family = nd.fit(net(), (X, (X[:, 0] > 0).long()), epochs=2, batch_size=50)
    pruned = nd.prune(family, 1.0, 0.5)
    values = torch.cat([p.flatten() for p in pruned.export(1.0).parameters()])
    assert abs(int((values != 0).sum()) / len(values) - 0.5) < 0.1


@right
def test_shrinking_counts_what_is_left() -> None:
    """``size="40 params"``: what is left, 8 numbers a channel and 3, misses it by half of a channel at most."""
    small = nd.shrink(
        net(nn.ReLU()), (X, (X[:, 0] > 0).long()), size="40 params", epochs=6, batch_size=50
    )
    (width,) = small.widths.values()
    assert abs(8 * width + 3 - 40) <= 4
    assert bool(small.net(X).isfinite().all())


@refused("share")
def test_a_share_of_all_channels() -> None:
    """``share=1.5``."""
    nd.slim(net(), share=1.5, example=X)


@refused("params")
def test_a_size_that_cannot_be_reached() -> None:
    """One channel leaves 4 + 1 + 3 + 3 numbers; "2 params" cannot be."""
    nd.slim(net(), size="2 params", example=X)
