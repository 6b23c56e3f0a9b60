"""Removes channels of a member of a run, trains it further if asked to, measures, records and writes it.

What is recorded, and under which names, is said in ``runs.prunings``, which reads it.
"""

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
from netdial.core.errors import ConfigError
from netdial.core.records import Place
from netdial.core.size import Target
from netdial.core.storage.files import check_writable
from netdial.core.storage.places import check_replaceable, free_path
from netdial.data import Splits
from netdial.family import Family
from netdial.jobs.analyses.slimming import Slimming
from netdial.jobs.opening import as_trained
from netdial.jobs.problem import describe_net, origin_of
from netdial.measure import Path as LambdaPath
from netdial.measure import evaluate
from netdial.measure.compare import excess
from netdial.measure.cost import cost
from netdial.measure.latency import quiet_ms
from netdial.models.kinds import may_replace
from netdial.models.recipe import PRUNED, save_network
from netdial.models.use import use_of
from netdial.pruning.channels.latency import Rounding
from netdial.pruning.channels.member import (
    example_inputs,
    graph_of,
    member_of,
    with_picks,
)
from netdial.pruning.channels.options import Options
from netdial.pruning.channels.reducing import Pruned, reduce
from netdial.pruning.channels.retrain import RATE, retrain_structured
from netdial.runs.curves import headline, members
from netdial.runs.prunings import METHOD, WIDTH
from netdial.runs.run import Run
from netdial.train.fit import learn_noise

BATCHES = (1, 64)
"""Batch sizes at which latency is measured."""

_COUNTED = ("params", "macs", "bytes")
"""Costs that are counted, in place of measured."""

_UNITS = {
    "params": "parameters",
    "macs": "macs",
    "bytes": "bytes",
    "nll": "nats/example",
}


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
    """

    label: str
    metrics: Mapping[str, float]
    costs: Mapping[str, float]
    widths: Mapping[str, int]
    path: Path | None = None
    network: Pruned | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Returns the stage as plain values, without the network."""
        found = {name: value for name, value in vars(self).items() if name != "network"}
        return {**found, "path": None if self.path is None else str(self.path)}


@dataclass(frozen=True, eq=False)
class SlimResult:
    """Result of slimming a member.

    Attributes:
        lam: its complexity value.
        pruned: the small network, the smallest of several.
        stages: from the member as it was to the end.
        path: file that holds the small network.
        columns: names of the inputs of a table that it still reads; None of other data, or where inputs were not to go.
    """

    lam: float
    pruned: Pruned
    stages: tuple[Stage, ...]
    path: Path
    columns: tuple[str, ...] | None = None


def best_lam(run: Run) -> float:
    """Returns the complexity value of the best member on validation data.

    Raises:
        ConfigError: nothing was measured.
    """
    answer = headline(members(run.records()), run.config)
    if answer is None:
        raise ConfigError(f"{run.path}: no member was measured on validation data; give --lam")
    return answer.best.lam


def slim_run(
    run: Run,
    family: Family,
    task: Splits,
    part: str,
    asked: Slimming | None = None,
    options: Options | None = None,
    *,
    path: Path | None = None,
) -> SlimResult:
    """Prunes whole channels of a member, writes it, and records what it is worth.

    Args:
        run: the run.
        family: its family.
        task: its data.
        part: ``valid`` or ``test``.
        asked: which member, how much of it goes, and how it is trained afterwards.
        options: how; task, seed and rounding by time are those of the run and of ``asked``.
        path: file to write; ``RUN-lamX-small.safetensors`` in the working folder by default, with a number where that is
            there. It holds the smallest of several networks; the size is in the names of the others.

    Raises:
        ConfigError, TraceError: as ``slim``; the run is as it was.
        CheckpointError: the disk refused the file.
    """
    asked = asked or Slimming()
    options = replace(
        options or Options(),
        rounding=Rounding() if asked.by_time else None,
        kind=task.kind,
        seed=run.config["seed"],
    )
    ladder, example = asked.goals, example_inputs(task.train, None)
    lam = best_lam(run) if asked.lam is None else asked.lam
    paths = _paths(path, f"{run.name}-lam{lam:g}-small.safetensors", ladder)
    path = paths[ladder[-1]]
    for one in paths.values():
        check_writable(one)
    start = member_of(family, lam, example)
    found: list[tuple[str, float | Target | None, Pruned]]
    if asked.training is None:
        (once,) = ladder
        check = (once,) if isinstance(once, Target) else ()
        member = with_picks(start, example) if options.inputs else start
        done = reduce(member, once, options, data=task.train, example=example, check=check)
        found = [("pruned", once, done)]
    else:
        sized = isinstance(ladder[0], Target)
        reach: dict[str, Any] = {"size": ladder} if sized else {"share": ladder[0]}
        turns = retrain_structured(
            family, lam, task.train, rounds=asked.rounds or 1, options=options,
            **as_trained(run, task), **asked.training, **reach,
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
    about = {"run": run.name, **origin_of(run), "lam": lam}
    about |= {"model": run.config["model"], **describe_net(run)}
    for label, goal, pruned in found:
        cost_ = costs.get(id(pruned), {"params": float(pruned.n_params)})
        learn_noise(pruned.family, task.valid)
        measured = _against(whole, _path(pruned.family, task, part))
        place = None if goal is None else paths.get(goal)
        stages.append(Stage(label, measured, cost_, pruned.widths, place, pruned))
        if place is None or goal is None:
            continue
        said = {**about, **use_of(task, pruned.net, lam=lam).to_json()}
        save_network(pruned, place, said, PRUNED)
        rounds = (asked.rounds or 1) * (ladder.index(goal) + 1)
        done_so = how(pruned.criterion, goal, options, rounds=rounds, training=asked.training)
        _record(run, done_so, lam, part, stages)
    small = found[-1][2]
    return SlimResult(lam, small, tuple(stages), path, _columns(small, task))


def _columns(small: Pruned, task: Splits) -> tuple[str, ...] | None:
    """Returns the names of the inputs that a network still reads, where inputs were to go and have names."""
    if small.inputs is None or task.schema is None:
        return None
    return tuple(task.schema.names[at] for at in small.inputs)


def _paths(
    given: Path | None, otherwise: str, ladder: Sequence[float | Target]
) -> dict[float | Target, Path]:
    """Returns where the network of each size is written; the last has the name itself, the others the size in theirs.

    Raises:
        ConfigError: something else would be lost in a place that was given.
    """
    path = free_path(Path(otherwise)) if given is None else given
    places = {goal: path.with_stem(f"{path.stem}-{_named(goal)}") for goal in ladder[:-1]}
    places[ladder[-1]] = path
    if given is None:
        return {goal: free_path(place) for goal, place in places.items()}
    is_one = may_replace("safetensors")
    return {
        goal: check_replaceable(place, "a network in safetensors", is_one)
        for goal, place in places.items()
    }


def _named(goal: float | Target) -> str:
    """Returns a size as part of a file's name.

    >>> _named(Target("params", 20_000.0))
    '20000-params'
    """
    return str(goal).replace(" ", "-")


def how(
    criterion: str,
    goal: float | Target,
    options: Options,
    *,
    rounds: int = 1,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Place]:
    """Returns how a member was pruned, as axes of records: criterion, goal, and what differs from the default.

    >>> how("density", 0.5, Options())
    {'criterion': 'density', 'share': 0.5, 'refit': True}
    >>> how("taylor", Target("ms", 0.4), Options(per="macs"), rounds=2, training={"epochs": 1, "lr": 1e-3})
    {'criterion': 'taylor', 'size': '0.4 ms', 'per': 'macs', 'rounds': 2, 'epochs': 1, 'lr': 0.001}
    """
    limits, training = options.limits, training or {}
    least, emission = limits.minimum, options.emission or ("fold" if training else "refit")
    others: dict[str, tuple[Place, bool]] = {
        "scope": ("layer", limits.scope == "layer"),
        "per": (options.per, options.per != "channel"),
        "minimum": (least, least > 1),
        "fold": (False, emission == "drop"),
        "refit": (True, emission == "refit"),
        "by_time": (True, options.rounding is not None),
        "exact": (False, not options.exact),
        "lenient": (True, options.lenient),
        "inputs": (True, options.inputs),
        "heads": (options.heads, options.heads != "whole"),
        "steps": (options.steps, options.steps > 1),
        "rounds": (rounds, bool(training)),
        "epochs": (training.get("epochs", 1), bool(training)),
        "lr": (training.get("lr", RATE), bool(training)),
    }
    asked: dict[str, Place] = {"size": str(goal)} if isinstance(goal, Target) else {"share": goal}
    said = {axis: place for axis, (place, differs) in others.items() if differs}
    return {"criterion": criterion, **asked, **said}


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
        costs.append({n: float(getattr(found, n)) for n in _COUNTED})
    nets = [fold(graph.traced, graph.example)[0] for graph in graphs]
    x = task.train.inputs(torch.arange(max(BATCHES)) % len(task.train), graphs[0].example)
    for batch in BATCHES:
        for values, ms in zip(costs, quiet_ms(nets, x[:batch]), strict=True):
            values[_ms(batch)] = ms
    return costs


def _ms(batch: int) -> str:
    """Returns the name of the time of a batch among the costs."""
    return f"ms_{batch}"


def _record(
    run: Run, how: Mapping[str, Place], lam: float, part: str, stages: Sequence[Stage]
) -> None:
    """Writes all stages into the run's records; those in between have a round."""
    first, last, step = stages[0], stages[-1], run.last_step
    gone = 1 - last.costs["params"] / first.costs["params"]
    rows = []
    for number, stage in enumerate(stages, -1):
        at: dict[str, Any] = {"method": METHOD, **how, "lam": lam}
        at |= {"sparsity": 0.0 if stage is first else gone}
        between = stage is not first and stage is not last
        at |= {"round": number} if between else {}
        rows += [
            run.row(step, name, value, _UNITS.get(name, ""), part=part, **at)
            for name, value in stage.metrics.items()
        ]
        rows += [
            run.row(step, name, value, _UNITS.get(name, ""), **at)
            for name, value in stage.costs.items()
            if name in _COUNTED
        ]
        rows += [
            run.row(step, "ms", stage.costs[_ms(batch)], "ms", batch=batch, **at)
            for batch in BATCHES
            if _ms(batch) in stage.costs
        ]
        if not between:
            rows += [
                run.row(step, WIDTH, width, "channels", layer=group, **at)
                for group, width in stage.widths.items()
            ]
    run.replace(rows)
