"""What the tests of structural pruning share: small networks of several kinds in evaluation mode, with inputs."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from netdial.family.config import FamilyConfig
from netdial.family.family import Family


class Residual(nn.Module):
    """Convolutions with BatchNorm around a shortcut."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.one, self.other = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 3, padding=1)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.other(torch.sigmoid(self.one(x))))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def network(seed: int) -> tuple[nn.Module, Tensor]:
    """Returns a random small network, and inputs for it."""
    choose = random.Random(seed)
    a, b = choose.randint(3, 9), choose.randint(2, 7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if seed % 3 == 0:
            act = choose.choice([nn.ReLU, nn.Sigmoid, nn.Tanh])
            layers = [nn.Linear(5, a), act(), nn.Linear(a, b), act(), nn.Linear(b, 3)]
            return stirred(nn.Sequential(*layers)), torch.randn(6, 5)
        if seed % 3 == 1:
            pad = choose.choice([0, 1])
            return stirred(
                nn.Sequential(
                    nn.Conv2d(2, a, 3, bias=False), nn.BatchNorm2d(a), nn.ReLU(),
                    nn.Conv2d(a, b, 3, padding=pad), nn.ReLU(), nn.Flatten(),
                    nn.Linear(b * (2 + 2 * pad) ** 2, 3),
                )
            ), torch.randn(6, 2, 6, 6)  # fmt: skip
        return stirred(Residual(a, b)), torch.randn(6, 2, 5, 5)


def stirred(net: nn.Module) -> nn.Module:
    """Gives vectors and running statistics random numbers."""
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.3 * torch.randn_like(tensor))
    return net.eval()


def family_of(net: nn.Module, posterior: str = "normal") -> Family:
    """Returns a family of random maps around a network."""
    family = Family(net, FamilyConfig(map="piecewise", regions=3, posterior=posterior))  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=source))
    return family.eval()
