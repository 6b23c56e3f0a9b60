"""Ratios of times that survive a noisy machine: contenders take turns, and the median of their quotients counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from netdial.measure.latency import in_turns


def interleaved(
    contenders: dict[str, Callable[[], None]], *, baseline: str, rounds: int
) -> tuple[dict[str, float], dict[str, float], dict[str, tuple[float, float]]]:
    """Runs all contenders in turn, ``rounds`` times, after one round that does not count.

    Returns:
        Median seconds by label; median quotient to the baseline of the same round; lowest and highest quotient.
    """
    readings = in_turns(list(contenders.values()), more=lambda found: len(found[0]) <= rounds)
    seconds = {label: found[1:] for label, found in zip(contenders, readings, strict=True)}
    quotients = {
        label: [a / b for a, b in zip(times, seconds[baseline], strict=True)]
        for label, times in seconds.items()
        if label != baseline
    }
    return (
        {label: statistics.median(times) for label, times in seconds.items()},
        {label: statistics.median(values) for label, values in quotients.items()},
        {label: (min(values), max(values)) for label, values in quotients.items()},
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Has torch compute on one thread, and afterwards on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
