"""KeptMembers of a family as a server keeps them: made once for each λ, the least recently used going when memory is full."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import nn

from netdial.core.errors import ConfigError
from netdial.family.family import Family
from netdial.models.use import Use
from netdial.task import Task

_RECENT = 8
"""Requests over which a pace is averaged."""
_LEAST = 1e-9
"""Seconds that no row takes less than, whatever a coarse clock says."""


class Pace:
    """Seconds that a row took lately, at first infinite: a geometric mean, which one request held up by others moves little."""

    def __init__(self) -> None:
        self.seconds = math.inf

    def took(self, seconds: float) -> None:
        """Notes the seconds of a row of one request."""
        seconds = max(seconds, _LEAST)
        if math.isinf(self.seconds):
            self.seconds = seconds
        else:
            self.seconds *= (seconds / self.seconds) ** (1 / _RECENT)


@dataclass(frozen=True)
class Ready:
    """A network ready to predict, how it is used, what it predicts, one of its tensors, and its size in bytes.

    Nothing of that ever changes, so threads may share it. ``pace`` is how quick it has been.
    """

    net: nn.Module
    use: Use
    task: Task
    like: torch.Tensor
    bytes: int
    pace: Pace = field(default_factory=Pace)


class KeptMembers:
    """Networks by λ.

    Args:
        model: a family, or one network.
        use: how it is used.
        most_bytes: what the networks kept may take up together; one is kept whatever it takes.
    """

    def __init__(self, model: nn.Module, use: Use, most_bytes: int) -> None:
        self._model, self._use, self._most = model, use, most_bytes
        self._kept: OrderedDict[float | None, Ready] = OrderedDict()
        self._lock = threading.Lock()
        self.made = 0

    @property
    def range(self) -> tuple[float, float] | None:
        """Least and largest λ; None for one network."""
        config = self._model.config if isinstance(self._model, Family) else None
        return None if config is None else (config.lo, config.hi)

    @property
    def kept(self) -> list[float]:
        """Complexity values of the members in memory."""
        with self._lock:
            return sorted(lam for lam in self._kept if lam is not None)

    @property
    def bytes(self) -> int:
        """What the networks in memory take up."""
        with self._lock:
            return sum(one.bytes for one in self._kept.values())

    def at(self, lam: float | None) -> Ready:
        """Returns the network at λ, made now unless it is kept.

        Raises:
            ConfigError: λ is missing, outside the range, or given for one network.
        """
        if not isinstance(self._model, Family):
            if lam not in (None, self._use.lam):
                raise ConfigError(f"lam={lam:g}: this is one network, not a family; leave lam out")
            return self._get(None)
        chosen = self._use.lam if lam is None else lam
        if chosen is None:
            low, high = self._model.config.lo, self._model.config.hi
            raise ConfigError(
                f"lam: which member? Give a complexity value from {low:g} to {high:g}"
            )
        return self._get(chosen)

    def waiting(self, lam: float | None) -> Ready | None:
        """Returns the network at λ if it is kept and can be had without waiting, else None."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            family = isinstance(self._model, Family)
            key = (self._use.lam if lam is None else lam) if family else None
            found = self._kept.get(key) if family or lam in (None, self._use.lam) else None
            if found is not None:
                self._kept.move_to_end(key)
            return found
        finally:
            self._lock.release()

    def _get(self, lam: float | None) -> Ready:
        with self._lock:  # also while one is made: two threads would make it twice, and a family is read by one at a time
            found = self._kept.get(lam)
            if found is None:
                found = self._kept[lam] = self._make(lam)
                self.made += 1
                self._make_room()
            self._kept.move_to_end(lam)
            return found

    def _make_room(self) -> None:
        taken = sum(one.bytes for one in self._kept.values())
        while len(self._kept) > 1 and taken > self._most:
            taken -= self._kept.popitem(last=False)[1].bytes

    def _make(self, lam: float | None) -> Ready:
        if lam is None:
            net, use = self._model.eval(), self._use
        else:
            assert isinstance(self._model, Family)
            self._model.lams([lam])  # refuses what lies outside before anything is made
            net, use = self._model.export(lam), self._use.alone(lam)
        for parameter in net.parameters():  # nothing trains here
            parameter.requires_grad = False
        tensors: list[torch.Tensor] = [*net.parameters(), *net.buffers()]
        size = sum(t.numel() * t.element_size() for t in tensors)
        return Ready(net, use, use.what(), tensors[0], size)
