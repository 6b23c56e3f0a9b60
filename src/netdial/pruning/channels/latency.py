"""Measures the time of the layers around a group at several widths, and chooses widths by it.

Measured are the calls of the layers that make or read the group's channels, each alone on the inputs that it gets, with the
channels cut and everything else as wide as it is; normalisations and switches are left out, for inference merges them. A
whole network would be the truer measure, and what one layer gains would drown in the noise of the others. Widths take turns,
so that whatever else the machine does hits all of them; medians over turns are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.modules.batchnorm import _NormBase

from netdial.channels.graph import Graph
from netdial.channels.layers.switch import Switch
from netdial.channels.trace.running import execute
from netdial.core.arguments import checked, checked_fields
from netdial.core.errors import ConfigError, unknown
from netdial.core.plan import Group
from netdial.measure.latency import Machine, in_turns, until
from netdial.pruning.channels.choosing import Chosen, without
from netdial.pruning.channels.scores import Scores

_WINDOW_S, _TURNS = 1e-3, 5
"""Seconds of a reading, and turns at least."""


@checked_fields
@dataclass(frozen=True)
class Rounding:
    """Settings of the choice of widths by measured time.

    Attributes:
        batch: examples in a call.
        grid: widths measured are multiples of this.
        tolerance: two times this near, relatively, are the same.
        seconds: time for all groups together.
    """

    batch: int = 64
    grid: int = 8
    tolerance: float = 0.03
    seconds: float = 3.0

    def __post_init__(self) -> None:
        """Refuses what is out of range."""
        bad = [n for n in ("batch", "grid", "seconds") if not getattr(self, n) > 0]
        if bad or self.tolerance < 0:
            raise ConfigError(
                f"{self}: {bad[0] if bad else 'tolerance'} has to be positive; give for example grid=8, seconds=3"
            )


@dataclass(frozen=True)
class LatencyTable:
    """Measured time of the layers around a group, by width.

    Attributes:
        group: its name.
        batch: examples in a call.
        widths: widths measured, ascending.
        ms: median time of all calls of its layers, in milliseconds, for each width.
        machine: what they were measured on; None if that is not known.
    """

    group: str
    batch: int
    widths: tuple[int, ...]
    ms: tuple[float, ...]
    machine: Machine | None = None

    def pick(self, width: int, *, tolerance: float = 0.0) -> int:
        """Returns the width to take in place of another one.

        The widest that is as fast as anything at least that wide; if the width itself was not measured, from the nearest
        narrower one on. A larger width never gives a smaller one, and nothing is slower than what it takes the place of.

        >>> table = LatencyTable("conv1", 1, (8, 16, 24), (1.0, 1.0, 2.0))
        >>> [table.pick(width) for width in (8, 13, 16, 23, 24)]
        [16, 16, 16, 16, 24]
        """
        start = max((i for i, w in enumerate(self.widths) if w <= width), default=0)
        fastest = min(self.ms[start:])
        near = [i for i, ms in enumerate(self.ms) if i >= start and ms <= fastest * (1 + tolerance)]
        return self.widths[near[-1]]


def candidates(width: int, size: int, *, grid: int, minimum: int = 1) -> tuple[int, ...]:
    """Returns widths to measure around one: multiples of the grid at most one step away, and the whole if it is as near.

    >>> candidates(13, 40, grid=8)
    (8, 16)
    """
    near = {w for w in range(grid, size + 1, grid) if abs(w - width) <= grid and w >= minimum}
    if size - width <= grid:
        near.add(size)
    if not any(w <= width for w in near):
        near.add(width)
    return tuple(sorted(near))


@checked
def latency_table(
    graph: Graph,
    group: str,
    widths: Sequence[int],
    *,
    batch: int = 64,
    seconds: float = 0.5,
    chosen: Chosen | None = None,
) -> LatencyTable:
    """Measures the layers around a group at several widths.

    Args:
        graph: the network; it is left as it is.
        group: whose width varies.
        widths: channels it has, from 1 to what it has now.
        batch: examples in a call.
        seconds: time to measure for; a few turns are made however little it is.
        chosen: channels of other groups that are gone.

    Raises:
        ConfigError: the group is unknown, or a width is outside it.
    """
    if group not in graph.widths:
        raise unknown("group", group, graph.widths)
    size, wanted = graph.widths[group], sorted(set(widths))
    if not wanted or wanted[0] < 1 or wanted[-1] > size:
        raise ConfigError(f"group {group}: widths {wanted} asked for, expected 1…{size}")
    x = graph.example[torch.arange(batch) % len(graph.example)]
    others = {name: channels for name, channels in (chosen or {}).items() if name != group}
    slots = next(found for found in graph.groups if found.name == group)
    with torch.no_grad():
        calls = [
            _calls(without(graph, {**others, group: tuple(range(width, size))}), slots, x)
            for width in wanted
        ]
        readings = in_turns(calls, more=until(seconds, _TURNS), window_s=_WINDOW_S)
    times = tuple(1e3 * median(found) for found in readings)
    return LatencyTable(group, batch, tuple(wanted), times, Machine.here(x.device))


def round_widths(
    graph: Graph,
    widths: Mapping[str, int],
    rounding: Rounding,
    *,
    chosen: Chosen | None = None,
    minimum: int = 1,
) -> tuple[dict[str, int], tuple[LatencyTable, ...]]:
    """Returns the chosen width of each group, and the measured times; groups that lose no channel keep their width.

    Args:
        graph: the network before anything goes.
        widths: group -> width that is wanted.
        rounding: how to measure and choose.
        chosen: channels that are to go, for the sizes of the other groups.
        minimum: channels that every group keeps.
    """
    shrinking = [name for name, width in widths.items() if width < graph.widths[name]]
    found, tables = dict(widths), []
    for name in shrinking:
        near = candidates(widths[name], graph.widths[name], grid=rounding.grid, minimum=minimum)
        table = latency_table(
            graph, name, near, batch=rounding.batch, seconds=rounding.seconds / len(shrinking), chosen=chosen
        )  # fmt: skip
        tables.append(table)
        found[name] = table.pick(widths[name], tolerance=rounding.tolerance)
    return found, tuple(tables)


def _calls(traced: fx.GraphModule, group: Group, x: Tensor) -> Callable[[], None]:
    """Returns one call of all layers that hold slots of a group, each on the inputs that it gets."""
    traced.eval()
    found: list[Callable[[], Any]] = []
    leaves = {slot.leaf for slot in group.slots}
    results = execute(traced, x)
    for node in traced.graph.nodes:
        if not node.op.startswith("call") or not leaves & _held(traced, node):
            continue
        args = fx.node.map_arg(node.args, results.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, results.__getitem__)
        found.append(_call(traced, node, args, kwargs))

    def all_of_them() -> None:
        for call in found:
            call()

    return all_of_them


def _call(traced: fx.GraphModule, node: fx.Node, args: Any, kwargs: Any) -> Callable[[], Any]:
    if node.op == "call_module":
        layer = traced.get_submodule(str(node.target))
        return lambda: layer(*args, **kwargs)
    run = fx.Interpreter(traced)
    return lambda: getattr(run, node.op)(node.target, args, kwargs)


def _held(traced: fx.GraphModule, node: fx.Node) -> set[str]:
    """Returns the leaves that a node uses."""
    if node.op == "call_module":
        layer = traced.get_submodule(str(node.target))
        if isinstance(layer, _NormBase | Switch):
            return set()
        own = {id(leaf) for leaf in layer.parameters()}
        return {name for name, leaf in traced.named_parameters() if id(leaf) in own}
    return {str(source.target) for source in node.all_input_nodes if source.op == "get_attr"}


def rounded(
    graph: Graph, scores: Scores, chosen: Chosen, rounding: Rounding, *, minimum: int
) -> tuple[Chosen, tuple[LatencyTable, ...]]:
    """Returns the channels to remove for widths chosen by measured time, and the measurements.

    Args:
        graph: the network.
        scores: what the channels are worth.
        chosen: channels that would go without regard to time.
        rounding: how widths are chosen.
        minimum: channels that every group keeps.
    """
    wanted = {name: len(score) - len(chosen.get(name, ())) for name, score in scores.items()}
    widths, tables = round_widths(graph, wanted, rounding, chosen=chosen, minimum=minimum)
    out: Chosen = {}
    for name, width in widths.items():
        worst = scores[name].argsort(stable=True).tolist()[: len(scores[name]) - width]
        if worst:
            out[name] = tuple(sorted(worst))
    return out, tables
