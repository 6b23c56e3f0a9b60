"""One way of several that code takes by its numbers (``if labels.ge(0).any():``): what is in its graph, and what is told of it.

A graph has the way of the example. What was asked on it is in the graph as a *check*, so inputs that would go another way are
an error. So are checks of the code's own. Related: ``example.py`` (how code is followed).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.fx.node import has_side_effect

from netdial.channels.trace.answers.questions import SHOWN, Place
from netdial.core.errors import TraceWarning, warn

_ONE_WAY = "goes one way of several"


class OtherWay(ValueError):
    """Inputs for which code goes another way than the graph that was taken of it."""


@has_side_effect
def checked(holds: Any, said: str) -> bool:
    """Returns True: an operation of traced graphs.

    In a program of ``torch.export`` it is a check as well.

    Raises:
        OtherWay: something that code asked of its numbers does not hold.
    """
    if isinstance(holds, torch.SymBool):
        torch._check(holds, lambda: said)
        return True
    if not holds:
        raise OtherWay(said)
    return True


def cure_of(error: BaseException) -> str:
    """Returns what mends code whose graph trains otherwise than its network on a larger batch."""
    if not isinstance(error.__cause__, OtherWay):
        return "make what is done in training independent of the size of the batch, or lower batch_size"
    place = str(error.__cause__).removeprefix("inputs: ").partition(", and this graph")[0]
    return f"{place}; let every batch go all ways, and choose among what they give by torch.where"


def what_holds(condition: fx.Node, message: str) -> str:
    """Returns what to say of inputs that fail a check."""
    sources, line = [condition], None
    while sources and not line:
        source = sources.pop(0)
        line, sources = source.stack_trace, [*sources, *source.all_input_nodes]
    file, _, number = (line or "").removeprefix('File "').partition('", line ')
    at = f" at {Path(file).name}:{number}" if line else ""
    asked = message.removeprefix("Runtime assertion failed for expression ").partition(" on node")[
        0
    ]
    return (
        f"inputs: the code goes by numbers{at}, and this graph holds where {asked} alone, as it was for the inputs that it was "
        "taken on; give such inputs, or use the network itself"
    )


def goes_one_way(traced: fx.GraphModule) -> tuple[Place, ...]:
    """Returns where a graph goes one way of several by its numbers; its network may do something else for other inputs."""
    found: tuple[Place, ...] = traced.meta.get(_ONE_WAY, ())
    return found


def tell_ways(traced: fx.GraphModule, kind: str, asked: Collection[Place]) -> None:
    """Notes the places where a network of a class was followed one way, and warns of them."""
    if not asked:
        return
    traced.meta[_ONE_WAY] = tuple(sorted(asked))
    lines = [f"{Path(file).name}:{line}" for file, line in sorted(asked)]
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    warn(
        f"network {kind}: goes one way or another by its numbers ({', '.join(lines[:SHOWN])}{more}); what is made of it is a "
        "graph that goes as the inputs did which it was taken on, and refuses those that go another way; leave out of the "
        "example what the network can do without, as labels are, if it asks about that",
        TraceWarning,
    )
