"""Statistics buffers along λ: BatchNorm for a family.

The activations of a simple and of a complex member differ, so one set of running statistics would fit neither. The range
of the unit coordinate is divided into equal cells; each cell keeps running statistics of its own, updated by the groups
of examples whose λ falls into it, and a member's statistics are interpolated linearly between the centres of cells.
No data is needed to evaluate or export a member; ``netdial.evaluate.recalibrate`` measures them afresh for one member.

Shapes: M cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

CELLS = 8


class StatisticsBank(nn.Module):
    """Running statistics ``[M, *shape]`` of every normalisation layer that tracks them."""

    def __init__(self, net: nn.Module, cells: int = CELLS) -> None:
        super().__init__()
        self.names = [
            f"{path}.{name}" if path else name
            for path, module in net.named_modules()
            if isinstance(module, _NormBase) and module.track_running_stats
            for name, _ in module.named_buffers(recurse=False)
        ]
        self.cells = cells
        for index, name in enumerate(self.names):
            row = net.get_buffer(name).detach().clone()
            self.register_buffer(f"bank{index}", torch.stack([row] * cells))

    def cell(self, unit: float) -> dict[str, Tensor]:
        """Returns views of the statistics of the cell at a unit coordinate; training updates them in place."""
        index = min(int(unit * self.cells), self.cells - 1)
        return {name: self._bank(i)[index] for i, name in enumerate(self.names)}

    def at(self, unit: float) -> dict[str, Tensor]:
        """Returns statistics interpolated at a unit coordinate."""
        place = min(max(unit * self.cells - 0.5, 0.0), self.cells - 1.0)
        low = min(int(place), self.cells - 2) if self.cells > 1 else 0
        share, high = place - low, min(low + 1, self.cells - 1)
        found = {}
        for i, name in enumerate(self.names):
            bank = self._bank(i)
            if bank.is_floating_point():
                found[name] = torch.lerp(bank[low], bank[high], share)
            else:
                found[name] = bank[low if share < 0.5 else high].clone()
        return found

    def _bank(self, index: int) -> Tensor:
        return self.get_buffer(f"bank{index}")
