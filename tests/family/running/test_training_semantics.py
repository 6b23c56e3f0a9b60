"""A family trains as the code of its network says: blocks without gradients, and functions with a backward of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import netdial as nd

X, Y = torch.randn(32, 8), torch.randint(0, 3, (32,))


class Sign(torch.autograd.Function):
    """A sign with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Net(nn.Module):
    """A layer, something between, and a head."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen, self.a, self.b = frozen, nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.frozen:
            with torch.no_grad():
                h = torch.relu(self.a(x))
        else:
            h = Sign.apply(self.a(x))  # type: ignore[no-untyped-call]
        found: Tensor = self.b(h)
        return found


def moved(net: Net) -> float:
    """Returns how far training without a penalty worth the name moves the first layer."""
    settings: dict[str, Any] = {
        "objective": "l2",
        "lam": (1e-9, 1e-8),
        "epochs": 3,
        "lr": 0.05,
        "joint": 0.0,
    }
    family = nd.fit(net, (X, Y), batch_size=16, **settings)
    after = family.at(1e-8)["a.weight"]
    return float((after - net.a.weight.detach()).abs().max())


def test_what_runs_without_gradients_stays() -> None:
    assert moved(Net(frozen=True)) < 1e-3 < moved(Net(frozen=False))
