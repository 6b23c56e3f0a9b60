"""A member of a run without some of its channels: pruned, trained further if asked, measured, recorded and written.

Records stand under the method ``structured``, with the share of parameters that is gone: ``valid/accuracy`` and the like, and
what the network costs; those of the member as it was have the share 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from netdial.core.errors import ConfigError
from netdial.core.records import Record
from netdial.data import Task
from netdial.evaluation import evaluate
from netdial.evaluation.cost import cost, measure_latency
from netdial.family import Family
from netdial.shrinking.control import Target
from netdial.shrinking.fold import fold
from netdial.shrinking.graph import Graph
from netdial.shrinking.recipe import save_shrunk
from netdial.shrinking.shrink import Shrunk
from netdial.structured.member import graph_of, member_of
from netdial.structured.prune import Options, Pruned, goal_of, inputs, reduce
from netdial.structured.retrain import retrain_structured
from netdial.study.curves import headline, members
from netdial.study.run import Run

METHOD = "structured"
BATCHES = (1, 64)
"""Batch sizes at which latency is measured."""

_UNITS = {
    "params": "parameters",
    "macs": "macs",
    "bytes": "bytes",
    "ms": "ms",
    "nll": "nats/example",
}


@dataclass(frozen=True)
class Stage:
    """What a network is worth and what it costs.

    Attributes:
        label: ``before``, ``pruned``, ``round 1`` and so on.
        metrics: on the part of the data asked for.
        costs: ``params``, ``macs``, ``bytes``, and milliseconds measured with BatchNorm folded, ``ms_1`` and ``ms_64``;
            only parameters between the first and the last.
    """

    label: str
    metrics: Mapping[str, float]
    costs: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was done to a member.

    Attributes:
        lam: its complexity value.
        pruned: the small network.
        stages: from the member as it was to the end.
        path: file that holds the small network.
    """

    lam: float
    pruned: Pruned
    stages: tuple[Stage, ...]
    path: Path


def best_lam(run: Run) -> float:
    """Returns the complexity value of the best member on validation data.

    Raises:
        ConfigError: nothing was measured.
    """
    answer = headline(members(run.records()), run.config)
    if answer is None:
        raise ConfigError(f"{run.path}: no member was measured on validation data; give --lam")
    return answer.best.lam


def prune_channels(
    run: Run,
    family: Family,
    task: Task,
    part: str,
    *,
    lam: float,
    share: float | None = None,
    target: Target | str | None = None,
    options: Options | None = None,
    rounds: int = 1,
    training: Mapping[str, Any] | None = None,
    path: Path | None = None,
) -> Outcome:
    """Prunes a member, writes it, and records what it is worth.

    Args:
        run: the run.
        family: its family.
        task: its data.
        part: ``valid`` or ``test``.
        lam: complexity value of the member.
        share: part of the channels to remove, in (0, 1).
        target: or the size to arrive at.
        options: how; kind and seed are those of the run.
        rounds: times to prune and train.
        training: settings of the training after each round; None does not train.
        path: file to write; ``RUN-lamX-small.safetensors`` in the working folder by default.

    Raises:
        ConfigError, TraceError: as ``prune_structured``; the run is as it was.
        CheckpointError: the disk refused the file.
    """
    options, goal = options or Options(), goal_of(share, target)
    example = inputs(task.train, None)
    start = member_of(family, lam, example)
    found: list[tuple[str, Pruned]]
    if training is None:
        check = goal if isinstance(goal, Target) else None
        done = reduce(start, goal, options, data=task.train, example=example, check=check)
        found = [("pruned", done)]
    else:
        turns = retrain_structured(
            family, lam, task.train, share=share, target=target, rounds=rounds, options=options, **training
        )  # fmt: skip
        found = [("pruned", turns[0].pruned)]
        found += [(f"round {i}", turn.trained) for i, turn in enumerate(turns, 1)]
    before = graph_of(start, example, lenient=options.lenient)
    stages = [Stage("before", _metrics(start, task, part), _costs(before, task))]
    for label, pruned in found:
        last = pruned is found[-1][1]
        costs = _costs(pruned.graph, task) if last else {"params": float(pruned.n_params)}
        stages.append(Stage(label, _metrics(pruned.family, task, part), costs))
    small = found[-1][1]
    path = path or Path(f"{run.name}-lam{lam:g}-small.safetensors")
    about = {"run": run.name, "data": run.config["data"], "kind": task.kind, "lam": lam}
    save_shrunk(
        Shrunk(small.graph, small.plan, {n: tuple(range(w)) for n, w in small.widths.items()}),
        path,
        {**about, "model": run.config["model"]},
    )
    _record(run, lam, part, stages)
    return Outcome(lam, small, tuple(stages), path)


def _metrics(member: Family, task: Task, part: str) -> dict[str, float]:
    lams = list(member.config.lams)
    (found,) = evaluate(member, task.part(part), lams=lams, kind=task.kind).members
    return dict(found.metrics)


def _costs(graph: Graph, task: Task) -> dict[str, float]:
    """Returns what a network costs; time is that of the folded network."""
    found = cost(graph.traced, graph.example, packed=False)
    costs = {"params": found.params, "macs": found.macs, "bytes": found.bytes}
    folded, _ = fold(graph.traced, graph.example)
    x = task.train.inputs(torch.arange(max(BATCHES)) % len(task.train), graph.example)
    ms = {f"ms_{b}": measure_latency(folded, x[:b], seconds=0.2).median_ms for b in BATCHES}
    return {**{name: float(value) for name, value in costs.items()}, **ms}


def _record(run: Run, lam: float, part: str, stages: list[Stage]) -> None:
    """Writes the first and the last stage into the run's records."""
    whole, step, seed = stages[0].costs["params"], run.last_step, run.config["seed"]
    rows = []
    for stage in (stages[0], stages[-1]):
        share = 1 - stage.costs["params"] / whole
        values = {f"{part}/{name}": value for name, value in stage.metrics.items()}
        for name, value in {**values, **stage.costs}.items():
            unit = _UNITS.get(name.split("/")[-1].split("_")[0], "")
            rows.append(Record(run.name, METHOD, lam, seed, step, name, value, unit, share))
    run.record(rows)
