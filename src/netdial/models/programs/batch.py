"""What a network is traced on, and batches of which sizes it takes."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.outputs import contents_kept

Parts = tuple[Tensor, ...]


def rows(x: Parts, size: int) -> Parts:
    """Returns a batch of another size, with the examples again and again."""
    return tuple(part[torch.arange(size) % len(part)] for part in x)


@dataclass(frozen=True)
class ExampleBatch:
    """Inputs to trace a network on.

    Attributes:
        x: the inputs, each ``[B, ...]``.
        unit: what the size of each batch that the network takes is a multiple of; 0 if it takes B examples alone.
        sizes: sizes of batches to compare outputs for, all of which it takes.
    """

    x: Parts
    unit: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, net: nn.Module, x: Parts) -> ExampleBatch:
        """Returns inputs for a network, of which it takes ``x``."""

        def takes(size: int) -> bool:
            try:
                with torch.no_grad(), torch.random.fork_rng(devices=[]):
                    net(*rows(x, size))
            except (RuntimeError, ValueError, IndexError):
                return False
            return True

        size = len(x[0])
        with contents_kept(net):
            most = next((other for other in (5, 4, 3, 6, 8) if other != size and takes(other)), 0)
            if not most:
                return cls(x, 0, (size,))
            unit = 1 if takes(size + 1) else gcd(size, most)
            sizes = tuple(n for n in (unit, 2 * unit, most) if n in (size, most) or takes(n))
        return cls(rows(x, 2 * unit) if unit > 1 else x, unit, sizes)

    @property
    def dimension(self) -> Any:
        """The first dimension of inputs, as torch.export takes it; None for a size that stays."""
        if not self.unit:
            return None
        dim: Any = torch.export.Dim("batch")
        return dim if self.unit == 1 else self.unit * dim
