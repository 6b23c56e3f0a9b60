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


@pytest.mark.parametrize("train", [nd.fit, nd.shrink])
def test_classes_weigh_the_same_in_training_and_in_the_validation_objective(train: Any) -> None:
    """As examples do, each with the weight of its class."""
    weight, held = 1.0 + 4.0 * Y, 1.0 + 4.0 * OTHER
    seen: list[list[float]] = []
    for data, valid, settings in (
        ((X, Y), (X, OTHER), {"class_weight": {0: 1.0, 1: 5.0}}),
        ((X, Y, weight), (X, OTHER, held), {}),
        ((X, Y, weight), (X, OTHER), {}),
    ):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
        values: list[float] = []
        more = {"patience": 5} if train is nd.fit else {}
        more |= {"report": lambda epoch, *_, values=values: values.append(epoch.valid)}
        train(net, data, valid, epochs=3, batch_size=20, **settings, **more)
        seen.append(values)
    assert seen[0] == pytest.approx(seen[1], rel=1e-5) != pytest.approx(seen[2], rel=1e-3)
