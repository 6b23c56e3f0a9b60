"""Neural garbage collection: removes channels that are the same for every input, exactly, with their optimiser states.

dead channels -> constants folded into the layers that read them -> plan -> surgery on parameters, gradients, buffers and
optimisers -> check. The outputs before and after are compared on an example each time; a collection that would change them is
refused and changes nothing.

Source: ShrinkNets (draft), section 3.5.2. What it leaves open and this settles: constants that a dead channel still
emits (BatchNorm's bias, a(0) ≠ 0) are folded or the removal is refused; a layer keeps at least ``minimum`` channels; where
an RMSNorm reads a channel, its weights are scaled (``norms.py``).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from netdial.channels.absorb import Shifts, add, blocked, shifts
from netdial.channels.constants import known
from netdial.channels.fold.exactness import as_double, default_tolerance, in_double, lost
from netdial.channels.fold.norms import norm_lengths, rescale, without_trace
from netdial.channels.graph import Graph
from netdial.channels.rules import Inner
from netdial.channels.sizes import strip, total
from netdial.channels.surgery import apply
from netdial.channels.trace.running import execute
from netdial.core.errors import ConfigError, TraceError, first_line, unknown
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan


@dataclass(frozen=True)
class Collection:
    """Result of one collection.

    Attributes:
        plan: what was cut.
        widths: channels of each group afterwards.
        n_params: numbers in all parameters afterwards, without switches.
        folded: biases that took up constants, and how many channels' worth.
        refused: group -> why channels that were asked for stayed.
        difference: largest difference of outputs, relative to the largest output.
        seconds: time that it took.
    """

    plan: Plan
    widths: Mapping[str, int]
    n_params: int
    folded: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    difference: float = 0.0
    seconds: float = 0.0


def removable(graph: Graph, *, continues: bool) -> dict[str, tuple[int, ...]]:
    """Returns for each group the channels that can go without changing any output.

    Args:
        graph: the network.
        continues: training goes on, so constants have to hold in training mode, too.
    """
    return _removable(graph, known(graph.traced, graph.example, continues=continues))[0]


def refusals(graph: Graph, *, continues: bool) -> dict[str, str]:
    """Returns for groups of which channels are constant, and cannot go all the same, why not."""
    return _removable(graph, known(graph.traced, graph.example, continues=continues))[1]


def collect(
    graph: Graph,
    *,
    only: Mapping[str, Iterable[int]] | None = None,
    minimum: int = 1,
    continues: bool = True,
    optimizers: Sequence[torch.optim.Optimizer] = (),
) -> tuple[Graph, Collection]:
    """Removes dead channels in place, and returns the graph of what is left.

    Args:
        graph: the network; its modules and everything in ``optimizers`` change in place.
        only: channels that may go; None for all that can.
        minimum: channels that every group keeps, at least 1.
        continues: training goes on, so constants have to hold in training mode, too.
        optimizers: whose states follow.

    Raises:
        TraceError: the outputs would change; nothing has been changed.
        ConfigError: a group or channel in ``only`` is unknown, or an optimiser's state cannot be cut; nothing has been
            changed.
    """
    started = time.perf_counter()
    wanted = None if only is None else _asked(graph, only)
    found = known(graph.traced, graph.example, continues=continues)
    chosen, refused = _choose(graph, found, wanted, max(minimum, 1))
    plan = graph.plan(chosen)
    folded = shifts(graph, chosen, found)
    difference = _trial(graph, plan, folded) if plan else 0.0
    _cut(graph.traced, plan, folded, optimizers)
    after = graph.after(plan)
    return after, Collection(
        plan,
        after.widths,
        total(strip(graph.traced)),
        {leaf: count for leaf, (_, count) in folded.items()},
        refused,
        difference,
        time.perf_counter() - started,
    )


def _asked(graph: Graph, only: Mapping[str, Iterable[int]]) -> dict[str, set[int]]:
    """Returns the channels that are asked for, or refuses those that do not exist."""
    asked = {name: set(channels) for name, channels in only.items()}
    for name, channels in asked.items():
        if name not in graph.widths:
            raise unknown("group", name, graph.widths)
        if channels and not (min(channels) >= 0 and max(channels) < graph.widths[name]):
            raise ConfigError(
                f"group {name}: channels {min(channels)}…{max(channels)} asked for, it has 0…{graph.widths[name] - 1}"
            )
    return asked


def _removable(
    graph: Graph, found: Mapping[fx.Node, Any]
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Returns channels that can go, and why constant ones of a group cannot."""
    alive: dict[str, set[int]] = {group.name: set() for group in graph.groups}
    refused: dict[str, str] = {}
    for reader, channels in graph.reads:
        for index, why in blocked(graph, reader, channels, found).items():
            name, channel = channels[index]
            alive[name].add(channel)
            if why:
                refused[name] = why
    for part, channels in graph.inner:
        for (name, channel), quiet in zip(channels, silent(graph, part), strict=True):
            if name and not quiet:
                alive[name].add(channel)
    dead = {}
    for group in graph.groups:
        free = tuple(c for c in range(group.size) if c not in alive[group.name])
        if free and group.mixed:
            free, why = without_trace(graph, group, free, found)
            if why:
                refused[group.name] = why
        if free:
            dead[group.name] = free
    return dead, refused


def silent(graph: Graph, part: Inner) -> list[bool]:
    """Returns which inner channels are 0, since all rows that make them are."""
    leaves = dict(graph.traced.named_parameters())
    off = [
        (leaves[name].detach()[torch.from_numpy(at)] == 0).flatten(1).all(1).cpu()
        for name, at in part.rows.items()
    ]
    found: list[bool] = torch.stack(off).all(0).tolist()
    return found


def _choose(
    graph: Graph,
    found: Mapping[fx.Node, Any],
    wanted: Mapping[str, set[int]] | None,
    minimum: int,
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Returns the channels to remove (dead, asked for, ``minimum`` kept), and why others stay."""
    dead, reasons = _removable(graph, found)
    chosen: dict[str, tuple[int, ...]] = {}
    refused: dict[str, str] = {}
    for group in graph.groups:
        free = set(dead.get(group.name, ()))
        asked = free if wanted is None else wanted.get(group.name, set())
        take = sorted(free & asked)[: max(group.size - minimum, 0)]
        if wanted is None and group.name in reasons:
            refused[group.name] = reasons[group.name]
        elif asked - free:
            refused[group.name] = reasons.get(group.name, "not the same for every input")
        elif len(take) < len(asked):
            refused[group.name] = f"keeps at least {minimum} of {group.size} channels"
        if take:
            chosen[group.name] = tuple(take)
    return chosen, refused


def _cut(
    traced: fx.GraphModule,
    plan: Plan,
    folded: Shifts,
    optimizers: Sequence[torch.optim.Optimizer] = (),
) -> None:
    """Removes channels in place, and moves what they emit into biases and the weights of norms."""
    lengths = norm_lengths(traced)
    apply(plan, traced, optimizers=optimizers)
    add(traced, folded, plan)
    rescale(traced, lengths)


def _trial(graph: Graph, plan: Plan, folded: Shifts) -> float:
    """Returns the largest difference of outputs, relative to the largest, on a cut copy; or refuses."""
    trial = copy.deepcopy(graph.traced)
    _cut(trial, plan, folded)
    try:
        found = same_outputs(
            evaluated(graph.traced, graph.example), evaluated(trial, graph.example)
        )
    except (RuntimeError, ValueError, IndexError) as error:
        raise TraceError(
            f"collect: without its dead channels the network does not run ({first_line(error)}); nothing was "
            "changed; look for sizes that are written in the code"
        ) from error
    if not found and found.difference > (allowed := _rounding(graph)):
        raise TraceError(
            f"collect: removing dead channels would change the outputs by {found.difference:.1e} of the largest, "
            f"allowed are {allowed:.0e}; nothing was changed; this is a bug in netdial's rule for one "
            "of the operations: please report it with the network"
        )
    return found.difference


def _rounding(graph: Graph) -> float:
    """Returns the difference of outputs that rounding may make: a network of large slopes loses more by itself."""
    exact = in_double(copy.deepcopy(graph.traced))
    wanted = execute(exact, as_double(graph.example), double=True)
    loss = lost(wanted, execute(graph.traced, graph.example))
    dtypes = {p.dtype for p in graph.traced.parameters() if p.is_floating_point()}
    return default_tolerance(dtypes, loss)
