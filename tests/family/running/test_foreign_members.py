"""Members of families of networks whose layers torch runs at once, or does not run at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netdial as nd

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(16, 4, 8, generator=G), torch.arange(16) % 3


class Encoder(nn.Module):
    """torch's own transformer, and layers that are not run."""

    def __init__(self, *, unused: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.hidden, self.head = nn.Linear(8, 10), nn.Linear(10, 3)
        self.spare = nn.Linear(10, 10) if unused else None

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.hidden(self.encoder(x).mean(1)))
        found: Tensor = self.head(h)
        return found


class Aside(nn.Module):
    """Its second layer's result is thrown away, as the last backcast of N-BEATS is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x.mean(1)))
        self.b(h)
        found: Tensor = self.c(h)
        return found


class AsideNormed(Aside):
    """Besides, it has a normalisation that is not run, of its own and within a part."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.BatchNorm1d(4)
        self.part = nn.Sequential(nn.Linear(12, 5), nn.BatchNorm1d(5))


class AsideByHand(Aside):
    """Besides, it gives the numbers of a normalisation to the function."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(12)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm
        h = F.batch_norm(
            self.a(x.mean(1)), n.running_mean, n.running_var, n.weight, n.bias, self.training
        )
        self.b(torch.relu(h))
        found: Tensor = self.c(torch.relu(h))
        return found


NETS: dict[str, Callable[[], nn.Module]] = {
    "torch's encoder": lambda: Encoder(unused=False),
    "an encoder with a spare layer": lambda: Encoder(unused=True),
    "a result that nobody reads": Aside,
    "a result that nobody reads, and normalisations that are not run": AsideNormed,
    "a result that nobody reads, behind a normalisation by hand": AsideByHand,
}


@pytest.mark.parametrize("name", list(NETS))
def test_members_are_trained_cut_and_trained_on(name: str) -> None:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 8}
    family = nd.fit(NETS[name](), (X, Y), **settings)
    member = family.export(1.0)
    slimmed = nd.slim(family, 1.0, share=0.4, scope="layer", data=(X, Y))
    assert slimmed.n_params < sum(p.numel() for p in member.parameters())
    small = slimmed.family.export(1.0)
    assert torch.allclose(small(X), slimmed.net(X), atol=1e-5)
    again = nd.finetune(slimmed.family, 1.0, (X, Y), **settings)
    assert again.export(1.0)(X).shape == (16, 3)
