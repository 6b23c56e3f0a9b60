"""Statistics buffers along λ: BatchNorm for a family.

The activations of a simple and of a complex member differ, so one set of running statistics would fit neither. The range
of the unit coordinate is divided into equal cells; each cell keeps running statistics of its own, updated by the groups
of examples whose λ falls into it, and a member's statistics are interpolated linearly between the centres of cells.
Directly trained networks (a table map) have a cell for each λ, so that none sees the statistics of another.
No data is needed to evaluate or export a member; ``netdial.measure.recalibrate`` measures them afresh for one member.

Shapes: M cells, K complexity values of a step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

CELLS = 8


class StatisticsBank(nn.Module):
    """Running statistics ``[M, *shape]`` of every normalisation layer that tracks them.

    Args:
        net: the network; its statistics are the starting point of every cell.
        rows: unit coordinates of directly trained networks; empty for the whole range.
        held: paths of layers whose statistics are frozen, and so the same for every λ.
    """

    def __init__(
        self, net: nn.Module, rows: Sequence[float] = (), held: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.names = [
            f"{path}.{name}" if path else name
            for path, module in net.named_modules()
            if isinstance(module, _NormBase) and module.track_running_stats and path not in held
            for name, _ in module.named_buffers(recurse=False)
        ]
        self.centres = sorted(set(rows)) or [(cell + 0.5) / CELLS for cell in range(CELLS)]
        for index, name in enumerate(self.names):
            row = net.get_buffer(name).detach().clone()
            self.register_buffer(f"bank{index}", torch.stack([row] * len(self.centres)))

    def cell(self, unit: float) -> dict[str, Tensor]:
        """Returns views of the statistics of the cell at a unit coordinate; training updates them in place."""
        index = self._nearest(unit)
        return {name: self._bank(i)[index] for i, name in enumerate(self.names)}

    def at(self, unit: float) -> dict[str, Tensor]:
        """Returns statistics interpolated at a unit coordinate."""
        high = min(bisect_right(self.centres, unit), len(self.centres) - 1)
        low = max(high - 1, 0)
        gap = self.centres[high] - self.centres[low]
        share = min(max((unit - self.centres[low]) / gap, 0.0), 1.0) if gap > 0 else 0.0
        found = {}
        for i, name in enumerate(self.names):
            bank = self._bank(i)
            if bank.is_floating_point():
                found[name] = torch.lerp(bank[low], bank[high], share)
            else:
                found[name] = bank[low if share < 0.5 else high].clone()
        return found

    def spread(self, unit: float) -> None:
        """Gives every cell the statistics of the cell at a unit coordinate."""
        for index in range(len(self.names)):
            bank = self._bank(index)
            bank.copy_(bank[self._nearest(unit)].expand_as(bank))

    def exchange(
        self, unit: Tensor, ranks: Sequence[int], rank: int, sum_: Callable[[list[Tensor]], None]
    ) -> None:
        """Takes each cell, after a step on several processes, from the process whose group updated it last.

        Args:
            unit: unit coordinates of all groups of the step ``[K]``, the same on every process.
            ranks: for each group, the process that ran it.
            rank: this process.
            sum_: replaces each tensor of a list by its sum over the processes.
        """
        owner = [0] * len(self.centres)
        for place, runner in zip(unit.tolist(), ranks, strict=True):
            owner[self._nearest(place)] = runner
        others = [cell for cell, runner in enumerate(owner) if runner != rank]
        banks = [self._bank(i) for i in range(len(self.names))]
        for bank in banks:
            bank[others] = 0
        sum_(banks)

    def _nearest(self, unit: float) -> int:
        edges = [(a + b) / 2 for a, b in zip(self.centres, self.centres[1:], strict=False)]
        return bisect_right(edges, unit)

    def _bank(self, index: int) -> Tensor:
        return self.get_buffer(f"bank{index}")
