"""Inputs of the kinds that networks of several samples take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Maker = Callable[[], tuple[nn.Module, Any]]
"""Makes a network and its inputs."""


class Inputs(NamedTuple):
    """Inputs of the kinds that a sample of networks takes, in the order in which they are drawn."""

    images: Tensor
    grey: Tensor
    volumes: Tensor
    clips: Tensor
    series: Tensor
    waves: Tensor
    mels: Tensor
    tokens: Tensor
    other_tokens: Tensor
    numbers: Tensor
    fields: Tensor
    nodes: Tensor
    edges: Tensor
    points: Tensor
    traffic: Tensor


def drawn(source: torch.Generator) -> Inputs:
    """Returns images to traffic; each draw follows the one before."""
    return Inputs(
        torch.randn(2, 3, 32, 32, generator=source),
        torch.randn(2, 1, 16, 16, generator=source),
        torch.randn(2, 1, 8, 16, 16, generator=source),
        torch.randn(2, 3, 8, 16, 16, generator=source),
        torch.randn(2, 24, 4, generator=source),
        torch.randn(2, 1, 320, generator=source),
        torch.randn(2, 10, 30, generator=source),
        torch.randint(1, 30, (2, 8), generator=source),
        torch.randint(1, 30, (2, 6), generator=source),
        torch.randn(4, 6, generator=source),
        torch.randint(0, 10, (4, 5), generator=source),
        torch.randn(2, 6, 5, generator=source),
        (torch.rand(2, 6, 6, generator=source) > 0.5).float(),
        torch.randn(2, 16, 3, generator=source),
        torch.randn(2, 2, 12, 6, generator=source),
    )


def fed(networks: Mapping[str, Callable[[], nn.Module]], x: Tensor) -> dict[str, Maker]:
    """Returns what makes each network and its inputs, where all have the same."""

    def make(network: Callable[[], nn.Module]) -> Maker:
        return lambda: (network(), x)

    return {name: make(network) for name, network in networks.items()}
