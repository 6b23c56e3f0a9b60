"""Inputs of the kinds that networks of several samples of the zoo take."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn(source: torch.Generator) -> tuple[Tensor, ...]:
    """Returns images to traffic, in the order in which samples name them; each draw follows the one before."""
    return (
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
