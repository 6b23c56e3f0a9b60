"""Time: how long calls take on this machine, measured and never derived.

All times come from one way of measuring: calls take turns, so that whatever else the machine does hits all of them; each turn
gives one reading for each call. What is made of the readings differs with the question:

``measure_latency``  time of one call as it is now, on a machine that may be busy: the median reading
``quiet_ms``         time of one call while nothing else runs: the lowest reading that a second one confirms
``quiet_readings``   the readings behind it, of any calls
``in_turns``         the readings themselves, for comparisons

A time holds for one machine; ``Machine`` says for which.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.core.outputs import evaluating

Call = Callable[[], Any]

_QUIET_S, _LEAST_WINDOWS, _MOST_WINDOWS, _SAME = 0.02, 5, 40, 0.02
"""Of ``quiet_ms``: seconds of a window and of a pause, windows at least and at most, how near two readings are the same."""

_WINDOW_S, _LEAST_READINGS = 1e-3, 5
"""Of ``measure_latency``: seconds of a reading, and readings at least."""


@dataclass(frozen=True)
class Machine:
    """What times were measured on.

    Attributes:
        processor: model of the processor.
        cores: processor cores that this process may use.
        threads: threads that torch uses.
        device: name of the GPU; empty on the processor.
        version: version of torch.
    """

    processor: str
    cores: int
    threads: int
    device: str
    version: str

    @classmethod
    def here(cls, device: torch.device | str = "cpu") -> Machine:
        """Returns this machine, for networks that run on a device."""
        device = torch.device(device)
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        sched = getattr(os, "sched_getaffinity", None)
        cores = len(sched(0)) if sched is not None else os.cpu_count() or 1
        return cls(_processor(), cores, torch.get_num_threads(), gpu, torch.__version__)

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that differ between machines whose times cannot be compared."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]


@cache
def _processor() -> str:
    """Returns the model of the processor as the system calls it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Latency:
    """Time of one call.

    Attributes:
        median_ms: median over readings, in milliseconds.
        iqr_ms: distance between the quartiles of the readings.
        batch_size: examples in a call.
        machine: what it was measured on.
    """

    median_ms: float
    iqr_ms: float
    batch_size: int
    machine: Machine

    @property
    def threads(self) -> int:
        """Threads that torch used."""
        return self.machine.threads


def in_turns(
    calls: Sequence[Call],
    *,
    more: Callable[[Sequence[Sequence[float]]], bool],
    window_s: float = 0.0,
    pause_s: float = 0.0,
    reading: Callable[[Sequence[float]], float] = statistics.median,
) -> list[list[float]]:
    """Returns readings of each call in seconds, one for each turn.

    Args:
        calls: what to time.
        more: readings so far -> whether there is another turn.
        window_s: seconds for which a call is repeated in a turn, after one that does not count; 0 makes one call, which does.
        pause_s: seconds between turns.
        reading: times of the calls in a window -> the reading.
    """
    readings: list[list[float]] = [[] for _ in calls]
    while more(readings):
        if pause_s and readings[0]:
            time.sleep(pause_s)
        for call, found in zip(calls, readings, strict=True):
            found.append(reading(_window(call, window_s)))
    return readings


def _window(call: Call, seconds: float) -> list[float]:
    """Returns the seconds of each call in a window."""
    finish = torch.cuda.synchronize if torch.cuda.is_initialized() else None
    taken: list[float] = []
    if seconds:
        call()
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        if finish is not None:
            finish()
        taken.append(time.perf_counter() - start)
    return taken


def until(seconds: float, least: int) -> Callable[[Sequence[Sequence[float]]], bool]:
    """Returns the rule that takes turns for some seconds, and a least number of turns however long they take."""
    end = time.perf_counter() + seconds
    return lambda readings: len(readings[0]) < least or time.perf_counter() < end


@checked
def measure_latency(net: nn.Module, x: Tensor, *, seconds: float = 0.3) -> Latency:
    """Returns the time of one call, measured here and now.

    The median over readings is not moved by the few that something else on the machine slowed down.

    Args:
        net: the network; it is run in evaluation mode without gradients.
        x: inputs ``[B, ...]``; their number is the batch size, and their device is where it runs.
        seconds: time to measure for.

    Raises:
        ConfigError: ``seconds`` is not positive, or there are no inputs.
    """
    if not seconds > 0 or len(x) < 1:
        raise ConfigError(
            f"measure_latency: seconds={seconds}, {len(x)} inputs; expected a positive time and at least one input"
        )
    with evaluating(net):
        more = until(seconds, _LEAST_READINGS)
        (found,) = in_turns([partial(net, x)], more=more, window_s=_WINDOW_S)
    low, middle, high = statistics.quantiles(found, n=4)
    return Latency(1e3 * middle, 1e3 * (high - low), len(x), Machine.here(x.device))


def quiet_ms(nets: Sequence[nn.Module], x: Tensor) -> list[float]:
    """Returns for each network the time of one call while nothing else keeps the machine busy, in milliseconds.

    What else runs only ever adds, for seconds at a time and by half or more. So calls are timed one by one in short windows
    with pauses between them; the fastest tenth of a window is its reading, and the lowest reading counts once a second
    window confirms it. On a busy machine it repeats to a few hundredths where medians differ by half.

    Args:
        nets: the networks; they are run in evaluation mode without gradients.
        x: inputs ``[B, ...]``.
    """
    with evaluating(*nets):
        return [1e3 * min(found) for found in quiet_readings([partial(net, x) for net in nets])]


def quiet_readings(calls: Sequence[Call], *, window_s: float | None = None) -> list[list[float]]:
    """Returns readings of each call in seconds, of which the lowest is its time while nothing else keeps the machine busy.

    Args:
        calls: what to time; ``quiet_ms`` says how.
        window_s: seconds of a window for each call, shorter ones for many calls; by default that of ``quiet_ms``.
    """
    return in_turns(
        calls,
        more=_unconfirmed,
        window_s=_QUIET_S if window_s is None else min(window_s, _QUIET_S),
        pause_s=_QUIET_S,
        reading=lambda taken: sorted(taken)[len(taken) // 10],
    )


def _unconfirmed(readings: Sequence[Sequence[float]]) -> bool:
    """Returns whether the lowest reading of a call has not been met a second time; there is an end to waiting."""
    count = len(readings[0])
    if count < _LEAST_WINDOWS or count >= _MOST_WINDOWS:
        return count < _LEAST_WINDOWS
    lowest = [sorted(found)[:2] for found in readings]
    return any(second > (1 + _SAME) * first for first, second in lowest)
