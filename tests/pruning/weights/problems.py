"""What the tests of pruning share: families of random maps on small networks, and the one-at-a-time way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netdial.family.config import FamilyConfig
from netdial.family.family import Family

LAMS = [0.01, 1.0, 50.0]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def family_of(net: nn.Module | None = None, *, double: bool = False, **options: object) -> Family:
    """Returns a family of random maps, standard deviations and all."""
    torch.manual_seed(0)
    family = Family(net or mlp(), FamilyConfig(map="piecewise", regions=3, **options))  # type: ignore[arg-type]
    family = family.double() if double else family
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=source).to(parameter))
    return family.eval()


def with_dead_input(
    data: tuple[Tensor, Tensor], column: int = 2, value: float = -1.5
) -> tuple[Tensor, Tensor]:
    """Returns data in which one input is the same for every example."""
    x = data[0].clone()
    x[:, column] = value
    return x, data[1]
