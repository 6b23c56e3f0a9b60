"""Removes channels of a member or a network, trains it further if asked to, measures and writes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from netdial.channels.fold.fold import fold
from netdial.channels.graph import Graph
from netdial.core.best import MEAN
from netdial.core.size import Target
from netdial.core.storage.files import check_writable
from netdial.core.storage.places import check_replaceable, free_path
from netdial.data import Splits
from netdial.family import Family
from netdial.jobs.analyses.slimming import Slimming
from netdial.jobs.analyses.subjects import ModelAndData
from netdial.measure import Path as LambdaPath
from netdial.measure import evaluate
from netdial.measure.compare import excess
from netdial.measure.cost import cost
from netdial.measure.latency import quiet_ms
from netdial.models.cut.recipe import PRUNED, save_network
from netdial.models.kinds import may_replace, stem_of
from netdial.models.use import use_of
from netdial.pruning.channels.latency import Rounding
from netdial.pruning.channels.member import (
    example_inputs,
    graph_of,
    member_of,
    tried,
    with_picks,
)
from netdial.pruning.channels.options import Options
from netdial.pruning.channels.reducing import Pruned, reduce
from netdial.pruning.channels.retrain import retrain_structured
from netdial.train.fit import learn_noise

BATCHES = (1, 64)
"""Batch sizes at which latency is measured."""

COUNTED = ("params", "macs", "bytes")
"""Costs that are counted, in place of measured."""


@dataclass(frozen=True)
class Stage:
    """Metrics and costs of a network at one stage.

    Attributes:
        label: ``before``, ``pruned``, ``round 1`` and so on.
        metrics: on the part of the data asked for.
        costs: ``params``, ``macs``, ``bytes``, and milliseconds measured with BatchNorm folded, ``ms_1`` and ``ms_64``;
            only parameters of what stands in between.
        widths: channels in each group.
        path: file that holds the network; None of the member, and of what stands in between.
        network: the network; None of the member.
        goal: share or size that it was to have; None of the member, and of what stands in between.
    """

    label: str
    metrics: Mapping[str, float]
    costs: Mapping[str, float]
    widths: Mapping[str, int]
    path: Path | None = None
    network: Pruned | None = field(default=None, repr=False, compare=False)
    goal: float | Target | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the stage as plain values, without the network."""
        names = ("label", "metrics", "costs", "widths")
        found = {name: getattr(self, name) for name in names}
        return {**found, "path": None if self.path is None else str(self.path)}


@dataclass(frozen=True, eq=False)
class SlimResult:
    """Result of slimming a member, or a network.

    Attributes:
        lam: its complexity value; None of a network that has none.
        pruned: the small network, the smallest of several.
        stages: from the member as it was to the end.
        path: file that holds the small network.
        columns: names of the inputs of a table that it still reads; None of other data, or where inputs were not to go.
    """

    lam: float | None
    pruned: Pruned
    stages: tuple[Stage, ...]
    path: Path
    columns: tuple[str, ...] | None = None


def slim_model(
    asked: ModelAndData,
    part: str,
    slimming: Slimming,
    options: Options,
    source: Path,
    path: Path | None = None,
) -> SlimResult:
    """Returns a network without some of its channels, having written its file.

    Args:
        asked: the network, or the member of a family, and its data.
        part: ``valid`` or ``test``; what metrics are of.
        slimming: how much of it goes, and how it is trained afterwards; the member is that of ``asked``.
        options: how; task, seed and rounding by time are those of ``asked`` and ``slimming``.
        source: run folder or file that the network is of.
        path: file to write; by default ``SOURCE-lamX-small.safetensors`` in the working folder, with a number where that is
            there. It holds the smallest of several networks; the size is in the names of the others.

    Raises:
        ConfigError, TraceError: as ``slim``.
        CheckpointError: the disk refused the file.
    """
    task, lam, ladder = asked.data, asked.lam, slimming.goals
    options = options_of(asked, slimming, options)
    paths = _paths(path, asked, source, ladder)
    for one in paths.values():
        check_writable(one)
    net, example = tried(asked.model, example_inputs(task.train, None))
    start = member_of(net, lam, example)
    found: list[tuple[str, float | Target | None, Pruned]]
    if slimming.training is None:
        (once,) = ladder
        check = (once,) if isinstance(once, Target) else ()
        member = with_picks(start, example) if options.inputs else start
        done = reduce(member, once, options, data=task.train, example=example, check=check)
        found = [("pruned", once, done)]
    else:
        reach: dict[str, Any] = {"share": ladder[0]}
        if isinstance(ladder[0], Target):
            reach = {"size": ladder}
        trained: dict[str, Any] = {"compiled": asked.compiled}
        if asked.batch_size is not None:
            trained |= {"batch_size": asked.batch_size}
        turns = retrain_structured(
            net, lam, task.train, rounds=slimming.rounds or 1, options=options,
            class_weight=asked.class_weight, **trained, **slimming.training, **reach,
        )  # fmt: skip
        found = [("pruned", None, turns[0].pruned)]
        found += [(f"round {i}", turn.goal, turn.trained) for i, turn in enumerate(turns, 1)]
        found[-1] = (found[-1][0], ladder[-1], found[-1][2])  # it may be as small as it gets
    before = graph_of(start, example, lenient=options.lenient, heads=options.heads)
    kept = [pruned for _, goal, pruned in found if goal in paths]
    first, *others = _costs([before, *(pruned.graph for pruned in kept)], task)
    costs = {id(pruned): values for pruned, values in zip(kept, others, strict=True)}
    whole = _path(start, task, part)
    stages = [Stage("before", dict(whole.members[0].metrics), first, before.widths)]
    for label, goal, pruned in found:
        cost_ = costs.get(id(pruned), {"params": float(pruned.n_params)})
        learn_noise(pruned.family, task.valid)
        measured = _against(whole, _path(pruned.family, task, part))
        place = None if goal is None else paths.get(goal)
        stages.append(Stage(label, measured, cost_, pruned.widths, place, pruned, goal))
        if place is not None:
            said = {**asked.meta, **asked.built, **use_of(task, pruned.net, lam=lam).to_json()}
            save_network(pruned, place, said, PRUNED)
    small = found[-1][2]
    return SlimResult(lam, small, tuple(stages), paths[ladder[-1]], _columns(small, task))


def options_of(asked: ModelAndData, slimming: Slimming, options: Options) -> Options:
    """Returns options with the task and the seed of what is slimmed, and widths rounded by time where that was asked for."""
    rounding = Rounding() if slimming.by_time else None
    return replace(options, rounding=rounding, kind=asked.data.kind, seed=asked.seed)


def _columns(small: Pruned, task: Splits) -> tuple[str, ...] | None:
    """Returns the names of the inputs that a network still reads, where inputs were to go and have names."""
    if small.inputs is None or task.schema is None:
        return None
    return tuple(task.schema.names[at] for at in small.inputs)


def _paths(
    given: Path | None, asked: ModelAndData, source: Path, ladder: Sequence[float | Target]
) -> dict[float | Target, Path]:
    """Returns where the network of each size is written; the last has the name itself, the others the size in theirs.

    Raises:
        ConfigError: something else would be lost in a place that was given.
    """
    at = "" if asked.lam is None else f"-lam{asked.lam:g}"
    path = free_path(Path(f"{stem_of(source)}{at}-small.safetensors")) if given is None else given
    places = {goal: path.with_stem(f"{path.stem}-{_named(goal)}") for goal in ladder[:-1]}
    places[ladder[-1]] = path
    if given is None:
        return {goal: free_path(place) for goal, place in places.items()}
    is_one = may_replace("safetensors")
    return {
        goal: check_replaceable(place, "a network in safetensors", is_one, [source])
        for goal, place in places.items()
    }


def _named(goal: float | Target) -> str:
    """Returns a size as part of a file's name.

    >>> _named(Target("params", 20_000.0))
    '20000-params'
    """
    return str(goal).replace(" ", "-")


def _path(member: Family, task: Splits, part: str) -> LambdaPath:
    lams = list(member.config.lams)
    return evaluate(
        member, task.part(part), lams=lams, kind=task.kind, n_samples=0, train=task.train.y
    )


def _against(whole: LambdaPath, small: LambdaPath) -> dict[str, float]:
    """Returns the metrics of a small network, its loss above that of the whole member, and the paired error of that."""
    terms = torch.cat([path.scores[MEAN].terms for path in (whole, small)])
    gaps, errors = excess(terms, 0)
    compared = {"excess": float(gaps[1]), "excess_error": float(errors[1])}
    known = {name: value for name, value in compared.items() if math.isfinite(value)}
    return {**small.members[0].metrics, **known}


def _costs(graphs: Sequence[Graph], task: Splits) -> list[dict[str, float]]:
    """Returns what each network costs; time is that of the folded network."""
    costs = []
    for graph in graphs:
        found = cost(graph.traced, graph.example, packed=False)
        costs.append({n: float(getattr(found, n)) for n in COUNTED})
    nets = [fold(graph.traced, graph.example)[0] for graph in graphs]
    x = task.train.inputs(torch.arange(max(BATCHES)) % len(task.train), graphs[0].example)
    for batch in BATCHES:
        for values, ms in zip(costs, quiet_ms(nets, x[:batch]), strict=True):
            values[ms_of(batch)] = ms
    return costs


def ms_of(batch: int) -> str:
    """Returns the name of the time of a batch among the costs."""
    return f"ms_{batch}"
