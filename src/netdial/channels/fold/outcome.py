"""Report of a folding: what was merged, what stayed and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Merged:
    """A module that was folded into its neighbours.

    Attributes:
        node: name of its node in the graph.
        module: its name in the network.
        into: names of the modules that took it up.
    """

    node: str
    module: str
    into: tuple[str, ...]


@dataclass(frozen=True)
class Left:
    """A module that stays, and why."""

    node: str
    module: str
    reason: str


@dataclass(frozen=True)
class FoldReport:
    """What folding did.

    Attributes:
        merged: in the order of merging.
        left: switches and batch normalisations still in the network, in the order of execution.
        n_flushed: count of numbers too small for a normal float that became 0.
        difference: largest change of an output on the example, relative to the largest output, in the network's own type.
        difference_float64: the same in double precision: the algebra alone, without rounding and flushing.
    """

    merged: tuple[Merged, ...]
    left: tuple[Left, ...]
    n_flushed: int
    difference: float
    difference_float64: float
