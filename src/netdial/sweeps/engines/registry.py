"""The registry of engines."""

from __future__ import annotations

from collections.abc import Callable

from netdial.core.registry import Registry
from netdial.runs.store import Cell
from netdial.sweeps.conductor import Conductor
from netdial.sweeps.trials.making import TrialEnd

Make = Callable[[Cell], TrialEnd]
"""Makes a piece of work; pickles, so that it can be called on another machine."""

ENGINES: Registry[Callable[[Conductor, Make, int], None]] = Registry("engine")
"""Engines by name: (conductor, how a piece of work is made, workers)."""
