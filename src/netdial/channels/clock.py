"""Measures the milliseconds of a network while it shrinks, on a machine that is not idle.

Channels that go because of a busy moment do not come back. So times are those of a quiet machine (``quiet_ms``), a
network is no slower than one with more multiplications, and a time far above what the last one lets expect is taken again.

A call costs something however narrow the layers are: that is the *floor*, the time of the network with the fewest
channels. What lies above it is shared among multiplications. A floor that is too high would take too many channels, so that
network is timed again with every other, and the lowest time counts.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from netdial.channels.fold.fold import fold
from netdial.channels.graph import Graph
from netdial.measure.cost import count_macs
from netdial.measure.latency import quiet_ms

NOISE = 0.01
"""Two times this near, relatively, are the same."""

_FAR, _TRIES = 0.05, 3


class Clock:
    """Times networks that are cut from one: one example in a call, switches and BatchNorm folded.

    Args:
        start: the network at the start.
        least: the same with the fewest channels; by default calls are taken to cost nothing.
        agree: mean over processes of what each of them measured.

    Attributes:
        start: milliseconds of the network at the start.
        floor: milliseconds of the one with the fewest channels; 0 without.
        looks: how often the last network that was timed has been timed.
    """

    def __init__(
        self, start: Graph, least: Graph | None = None, *, agree: Callable[[float], float] = float
    ) -> None:
        self._agree, self._example = agree, start.example
        self._rest = [] if least is None else [_folded(least)]
        self._least = 0 if least is None else _macs(least)
        self.floor, self.looks = 0.0 if least is None else float("inf"), 0
        self.start = max(self._look(start), self.floor)
        self._seen = {_macs(start): (self.start, 0)}

    def ms(self, graph: Graph) -> float:
        """Returns the milliseconds of a network."""
        macs = _macs(graph)
        nearest = min((seen for seen in self._seen if seen >= macs), default=max(self._seen))
        before, looks = self._seen[nearest]
        expected = self.floor + self.each(before, nearest) * (macs - self._least)
        found = float("inf")
        for _ in range(_TRIES):
            found = min(found, self._look(graph))
            if found <= (1 + _FAR) * expected:
                break
        found = min(found, before) if nearest >= macs else found
        self.looks = looks + 1 if nearest == macs else 1
        self._seen[macs] = found, self.looks
        return found

    def each(self, ms: float, macs: float) -> float:
        """Returns what one multiplication adds to a network of so many milliseconds and multiplications."""
        return max(ms - self.floor, 0.0) / max(macs - self._least, 1)

    def _look(self, graph: Graph) -> float:
        """Returns the milliseconds of a network now, and lowers the floor where it was too high."""
        found, *floor = quiet_ms([_folded(graph), *self._rest], self._example[:1])
        self.floor = min([self.floor, *map(self._agree, floor)])
        return self._agree(found)


def _folded(graph: Graph) -> nn.Module:
    return fold(graph.traced, graph.example)[0]


def _macs(graph: Graph) -> int:
    return count_macs(graph.traced, graph.example)[0]
