"""Switches: a number for each channel that multiplies it, so that a channel with the number 0 is off.

Source: ShrinkNets (draft), section 3.2, eq. 1: ``Switch(I; θ) = diag(θ) I`` with θ raw, sign and all. The draft says
besides that ``θ_k <= 0`` deactivates a channel; with eq. 1 that holds for ``θ_k = 0`` alone. Eq. 1 is kept: a channel is
dead when its θ is exactly 0, and a negative θ is as alive as a positive one.

A switch keeps its input for the backward pass, as any product does.

Shapes: B batch, T positions, C channels, D other dimensions.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError, unknown

Start = Literal["unit", "sampled"]


class Switch(nn.Module):
    """Multiplies every channel by its θ (draft, eq. 1).

    Attributes:
        theta: θ ``[C]``; 0 is off.
        dim: dimension of the channels.
        copies: see below.

    Args:
        channels: C, at least 1.
        dim: dimension of the channels: 1 for ``[B, C, *D]``, -1 for ``[B, T, C]``.
        copies: how often x may hold the channels, one copy behind another (units of a recurrence in both directions);
            it may hold them once in any case.
        start: ``unit`` is 1 everywhere and changes nothing at all; ``sampled`` draws from N(0, 1) as the draft does, either
            sign allowed.
        generator: source of the ``sampled`` numbers, on the processor.
        dtype: of θ.
        device: of θ.

    Raises:
        ConfigError: there is no channel, or the start is unknown.
    """

    def __init__(
        self,
        channels: int,
        *,
        dim: int = 1,
        copies: int = 1,
        start: Start = "unit",
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ConfigError(f"Switch(channels={channels}): expected at least 1")
        if start not in ("unit", "sampled"):
            raise unknown("start of a switch", start, ("unit", "sampled"))
        drawn = torch.ones(channels)
        if start == "sampled":
            drawn = torch.randn(channels, generator=generator, dtype=torch.float32)
        self.theta = nn.Parameter(drawn.to(device=device, dtype=dtype))
        self.dim, self.copies = dim, copies

    def forward(self, x: Tensor) -> Tensor:
        """Returns θ x in the shape, number type and memory format of x ``[B, C, *D]`` (C stands at ``dim``).

        Raises:
            ShapeError: x has another number of channels.
        """
        return x * self.numbers(x).type_as(x)

    def numbers(self, x: Tensor) -> Tensor:
        """Returns θ in a shape that multiplies x.

        Raises:
            ShapeError: x has another number of channels.
        """
        theta: Tensor = self.theta
        if isinstance(x, Tensor) and x.shape[self.dim] != len(theta):
            found = x.shape[self.dim]
            if found != self.copies * len(theta):
                raise ShapeError(
                    f"switch of {len(theta)} channels: x is {list(x.shape)}, {found} along dimension {self.dim}"
                )
            theta = theta.repeat(self.copies)
        behind = -1 - self.dim if self.dim < 0 else x.ndim - 1 - self.dim
        return theta.view(-1, *[1] * behind)

    def extra_repr(self) -> str:
        """Returns what ``print`` shows of a switch."""
        return f"{len(self.theta)}, dim={self.dim}"
