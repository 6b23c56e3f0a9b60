"""Engines: where the trials of a sweep are made.

An engine is a function (conductor, how one piece of work is made, number of workers) that returns when the sweep is over; to
add one, register it in ``ENGINES``.
"""

from __future__ import annotations

from netdial.sweeps.engines import local as local  # engines register themselves
from netdial.sweeps.engines import on_ray as on_ray
from netdial.sweeps.engines.registry import ENGINES

__all__ = ["ENGINES"]
