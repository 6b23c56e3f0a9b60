"""Sweeps: many runs of any way of training over ranges of its settings, on one machine or many.

A `SweepSpec` says what is varied. Optuna's samplers propose trials, an engine makes them as cells of a store, and what came out
is read from their run folders. Loads no torch.
"""

from __future__ import annotations

from netdial.sweeps.result import Sweep
from netdial.sweeps.run import open_sweep, sweep
from netdial.sweeps.spec import SweepSpec, read_spec

__all__ = ["Sweep", "SweepSpec", "open_sweep", "read_spec", "sweep"]
