"""Neural garbage collection: channels that are the same for every input are removed, exactly, and everything follows.

dead channels -> constants folded into whoever reads them -> plan -> surgery on parameters, gradients, buffers and optimisers
-> check. The outputs before and after are compared on an example each time; a collection that would change them is refused
and changes nothing.

Source: ShrinkNets (draft), section 3.5.2. What it leaves open and this settles: constants that a dead channel still
emits (BatchNorm's bias, a(0) ≠ 0) are folded or the removal is refused; a layer keeps at least ``minimum`` channels.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netdial.core.errors import TraceError
from netdial.core.plan import Plan
from netdial.shrink.constants import known, respond
from netdial.shrink.graph import Channels, Graph
from netdial.shrink.rules import Reader
from netdial.shrink.surgery import apply

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Largest difference of outputs relative to the largest output; other types are compared as float32."""


@dataclass(frozen=True)
class Collection:
    """What one collection did.

    Attributes:
        plan: what was cut.
        widths: channels of each group afterwards.
        n_params: numbers in all parameters afterwards.
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


def collect(
    graph: Graph,
    *,
    only: Mapping[str, Iterable[int]] | None = None,
    minimum: int = 1,
    continues: bool = True,
    optimizers: Sequence[torch.optim.Optimizer] = (),
    copies: Sequence[nn.Module] = (),
) -> tuple[Graph, Collection]:
    """Removes dead channels in place, and returns the graph of what is left.

    Args:
        graph: the network; its modules and everything in ``optimizers`` and ``copies`` change in place.
        only: channels that may go; None for all that can.
        minimum: channels that every group keeps, at least 1.
        continues: training goes on, so constants have to hold in training mode, too.
        optimizers: whose states follow.
        copies: modules with the same leaves (moving averages) that follow.

    Raises:
        TraceError: the outputs would change; nothing has been changed.
        ConfigError: an optimiser's state cannot be cut; nothing has been changed.
    """
    started = time.perf_counter()
    found = known(graph.traced, graph.example, continues=continues)
    dead, refused = _removable(graph, found)
    chosen = _choose(graph, dead, only, minimum, refused)
    plan = graph.plan(chosen)
    if not plan:
        return graph, _report(graph, plan, refused=refused, seconds=time.perf_counter() - started)
    shifts = _shifts(graph, chosen, found)
    trial = copy.deepcopy(graph.traced)
    _fold(trial, shifts)
    apply(plan, trial)
    difference = _compare(graph, trial)
    _fold(graph.traced, shifts)
    apply(plan, graph.traced, optimizers=optimizers, copies=copies)
    after = graph.after(plan)
    folded = {name: count for name, (_, count) in shifts.items()}
    seconds = time.perf_counter() - started
    return after, _report(after, plan, folded, refused, difference, seconds)


def _report(graph: Graph, plan: Plan, *rest: Any, **more: Any) -> Collection:
    count = sum(p.numel() for p in graph.traced.parameters())
    return Collection(plan, graph.widths, count, *rest, **more)


def _removable(
    graph: Graph, found: dict[fx.Node, Any]
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Returns channels that can go, and why constant ones of a group cannot."""
    alive: dict[str, set[int]] = {
        group.name: set(range(group.size)) if group.mixed else set() for group in graph.groups
    }
    refused = {g.name: f"normalised over by {g.mixed[0]}" for g in graph.groups if g.mixed}
    for reader, channels in graph.reads:
        for index, why in _blocked(graph, reader, channels, found).items():
            name, channel = channels[index]
            if name:
                alive[name].add(channel)
                if why:
                    refused[name] = why
    leaves = dict(graph.traced.named_parameters())
    for part, channels in graph.inner:
        silent = torch.stack(
            [
                (leaves[n].detach()[torch.from_numpy(at)] == 0).flatten(1).all(1)
                for n, at in part.rows.items()
            ]
        ).all(0)
        for (name, channel), quiet in zip(channels, silent.tolist(), strict=True):
            if name and not quiet:
                alive[name].add(channel)
    dead = {
        group.name: tuple(c for c in range(group.size) if c not in alive[group.name])
        for group in graph.groups
    }
    return {name: channels for name, channels in dead.items() if channels}, refused


def _blocked(
    graph: Graph, reader: Reader, channels: Channels, found: dict[fx.Node, Any]
) -> dict[int, str]:
    """Returns the indices that a reader does not let go; with a reason where they are constant and yet cannot be taken up."""
    x: Tensor = found[reader.source]
    lines = x.movedim(reader.dim, 0).flatten(1)
    unknown = lines.isnan().any(1)
    constant = ~unknown & (lines != 0).any(1)
    blocked = {int(i): "" for i in unknown.nonzero().flatten()}
    if not constant.any():
        return blocked
    where = constant.nonzero().flatten()
    why = _why_not(graph, reader, _only(x, reader.dim, where), found)
    blocked.update({int(i): why for i in where if why})
    return blocked


def _why_not(graph: Graph, reader: Reader, x: Tensor, found: dict[fx.Node, Any]) -> str:
    """Returns why a reader cannot take up constants, or nothing."""
    if not reader.foldable:
        return f"node {reader.node.name!r} reads constants other than 0, and has no bias to take them up"
    if reader.bias is None and _norm_after(graph.traced, reader.node) is None:
        return f"node {reader.node.name!r} has no bias, and no BatchNorm behind it, to take up constants"
    if _uniform(respond(graph.traced, reader.node, x, found), reader.made) is None:
        return (
            f"node {reader.node.name!r} pads with zeros, so that constants count less at the border"
        )
    return ""


def _choose(
    graph: Graph,
    dead: Mapping[str, Sequence[int]],
    only: Mapping[str, Iterable[int]] | None,
    minimum: int,
    refused: dict[str, str],
) -> dict[str, tuple[int, ...]]:
    """Returns the channels to remove: dead, asked for, and so that each group keeps ``minimum``."""
    chosen: dict[str, tuple[int, ...]] = {}
    for group in graph.groups:
        wanted = set(dead.get(group.name, ()))
        if only is not None:
            wanted &= set(only.get(group.name, ()))
        spare = max(group.size - max(minimum, 1), 0)
        if len(wanted) > spare:
            refused[group.name] = f"keeps at least {max(minimum, 1)} of {group.size} channels"
        if take := sorted(wanted)[:spare]:
            chosen[group.name] = tuple(take)
    return chosen


def _shifts(
    graph: Graph, chosen: Mapping[str, Sequence[int]], found: dict[fx.Node, Any]
) -> dict[str, tuple[Tensor, int]]:
    """Returns what is added to which leaf: leaf -> (numbers ``[C]``, count of channels taken up)."""
    gone = {(name, channel) for name, channels in chosen.items() for channel in channels}
    shifts: dict[str, tuple[Tensor, int]] = {}
    for reader, channels in graph.reads:
        where = torch.tensor([i for i, at in enumerate(channels) if at in gone], dtype=torch.long)
        if not reader.foldable or not len(where):
            continue
        x = _only(found[reader.source], reader.dim, where)
        count = int((x.movedim(reader.dim, 0).flatten(1) != 0).any(1).sum())
        if not count:
            continue
        shift = _uniform(respond(graph.traced, reader.node, x, found), reader.made)
        assert shift is not None
        leaf = reader.bias
        if leaf is None:
            leaf, shift = f"{_norm_after(graph.traced, reader.node)}.running_mean", -shift
        before, already = shifts.get(leaf, (torch.zeros_like(shift), 0))
        shifts[leaf] = before + shift, already + count
    return shifts


def _fold(traced: fx.GraphModule, shifts: Mapping[str, tuple[Tensor, int]]) -> None:
    leaves = {**dict(traced.named_parameters()), **dict(traced.named_buffers())}
    with torch.no_grad():
        for name, (shift, _) in shifts.items():
            leaves[name] += shift


def _compare(graph: Graph, trial: fx.GraphModule) -> float:
    """Returns the largest difference of outputs relative to the largest, or refuses."""
    before, after = _outputs(graph.traced, graph.example), _outputs(trial, graph.example)
    scale = max((float(one.abs().max()) for one in before), default=0.0)
    worst = max(
        (float((one - other).abs().max()) for one, other in zip(before, after, strict=True)),
        default=0.0,
    )
    difference = worst / max(scale, torch.finfo(torch.float32).tiny)
    allowed = TOLERANCE.get(before[0].dtype if before else torch.float32, 1e-5)
    if not difference <= allowed:
        raise TraceError(
            f"collect: removing dead channels would change the outputs by {difference:.1e} of the largest, "
            f"allowed are {allowed:.0e}; "
            "nothing was changed; an operation treats constants differently than its rule says"
        )
    return difference


def _outputs(traced: fx.GraphModule, example: Tensor) -> list[Tensor]:
    was = [(module, module.training) for module in traced.modules()]
    try:
        with torch.no_grad():
            out = traced.eval()(example)
    finally:
        for module, training in was:
            module.training = training
    parts = out if isinstance(out, tuple | list) else [out]
    return [part for part in parts if isinstance(part, Tensor)]


def _only(x: Tensor, dim: int, where: Tensor) -> Tensor:
    """Returns x at the given indices of a dimension, 0 elsewhere."""
    out = torch.zeros_like(x)
    return out.index_copy(dim, where, x.index_select(dim, where))


def _uniform(response: Tensor, dim: int) -> Tensor | None:
    """Returns ``[C]`` if a response is the same for all examples and positions, else None."""
    lines = response.movedim(dim, 0).flatten(1)
    first = lines[:, 0]
    spread = (lines - first[:, None]).abs().max()
    limit = 1e-12 if response.dtype == torch.float64 else 1e-6
    return first if float(spread) <= limit * max(float(lines.abs().max()), 1e-30) else None


def _norm_after(traced: fx.GraphModule, node: fx.Node) -> str | None:
    """Returns the BatchNorm with running statistics that alone reads a node, by name."""
    users = list(node.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None
    module = traced.get_submodule(str(users[0].target))
    keeps = isinstance(module, _BatchNorm) and module.running_mean is not None
    return str(users[0].target) if keeps else None
