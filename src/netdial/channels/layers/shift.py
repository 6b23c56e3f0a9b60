"""Shift: a number for each channel that is added to it; what is left of a residual branch that always gives the same.

Shapes: B batch, C channels, D other dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Shift(nn.Module):
    """Adds its number to every channel.

    Attributes:
        shift: ``[C]``, a parameter.
        dim: dimension of the channels, negative: -1 for ``[B, T, C]``, -3 for ``[B, C, H, W]``.
    """

    def __init__(self, constant: Tensor, *, dim: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(constant.detach().clone(memory_format=torch.contiguous_format))
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Returns x + shift in the shape and number type of x ``[B, C, *D]`` (C stands at ``dim``)."""
        return x + self.shift.type_as(x).view(-1, *[1] * (-1 - self.dim))

    def extra_repr(self) -> str:
        """Returns what ``print`` shows of a shift."""
        return f"{len(self.shift)}, dim={self.dim}"
