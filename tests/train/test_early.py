"""Early stopping: what belongs to the best epoch comes back, buffers and all; and it counts what training counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.train.loop import Epoch

G = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=G)
Y, OTHER = (X[:, 0] > 0).long(), (X[:, 0] < 0).long()


class Centred(nn.Module):
    """Subtracts a running mean that it keeps by itself, and counts its steps."""

    def __init__(self, *, persistent: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 2)
        self.mean: Tensor
        self.steps: Tensor
        self.register_buffer("mean", torch.zeros(5), persistent=persistent)
        self.register_buffer("steps", torch.zeros(()), persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.steps += 1
                self.mean.lerp_(x.mean(0), 0.1)
        found: Tensor = self.last(torch.relu(self.first(x - self.mean)))
        return found


@pytest.mark.filterwarnings("ignore:buffer")
@pytest.mark.parametrize("persistent", [True, False])
def test_buffers_of_the_best_epoch_come_back_with_its_weights(persistent: bool) -> None:
    """The validation labels are the other way round, so that the first epoch is the best."""
    seen: list[Epoch] = []
    family = nd.fit(
        Centred(persistent=persistent),
        (X, Y),
        (X, OTHER),
        epochs=6,
        batch_size=20,
        patience=2,
        lr=0.05,
        report=seen.append,
    )
    values = [epoch.valid for epoch in seen]
    assert min(values) == values[0] and len(seen) == 3  # type: ignore[type-var]
    net: Any = family.export(1.0)
    assert float(net.steps) == seen[0].step
