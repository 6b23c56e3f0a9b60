"""Slims a member of a run, and records it there.

What is recorded, and under which names, is said in ``runs.prunings``, which reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netdial.core.records import Place, Record
from netdial.core.size import Target
from netdial.jobs.analyses.slimmed import (
    BATCHES,
    COUNTED,
    SlimResult,
    Stage,
    ms_of,
    options_of,
    slim_model,
)
from netdial.jobs.analyses.slimming import Slimming
from netdial.jobs.analyses.subjects import ModelAndData
from netdial.pruning.channels.options import Options
from netdial.pruning.channels.retrain import RATE
from netdial.runs.prunings import METHOD, WIDTH
from netdial.runs.run import Run

_UNITS = {
    "params": "parameters",
    "macs": "macs",
    "bytes": "bytes",
    "nll": "nats/example",
}


def slim_run(
    run: Run,
    asked: ModelAndData,
    part: str,
    slimming: Slimming,
    options: Options,
    path: Path | None = None,
) -> SlimResult:
    """Slims a member of a run as ``slim_model`` does, and records what it is worth.

    Raises:
        ConfigError, TraceError, CheckpointError: as ``slim_model``; the run is as it was.
    """
    found = slim_model(asked, part, slimming, options, run.path, path)
    assert found.lam is not None
    options = options_of(asked, slimming, options)
    step, rows = run.last_step, list[Record]()
    for number, stage in enumerate(found.stages):
        if stage.network is None or stage.goal is None or stage.path is None:
            continue
        rounds = (slimming.rounds or 1) * (slimming.goals.index(stage.goal) + 1)
        criterion = stage.network.criterion
        done_so = how(criterion, stage.goal, options, rounds=rounds, training=slimming.training)
        rows += _rows(run, step, done_so, found.lam, part, found.stages[: number + 1])
    run.replace(rows)
    return found


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


def _rows(
    run: Run, step: int, how: Mapping[str, Place], lam: float, part: str, stages: Sequence[Stage]
) -> list[Record]:
    """Returns the records of all stages; those in between have a round."""
    first, last = stages[0], stages[-1]
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
            if name in COUNTED
        ]
        rows += [
            run.row(step, "ms", stage.costs[ms_of(batch)], "ms", batch=batch, **at)
            for batch in BATCHES
            if ms_of(batch) in stage.costs
        ]
        if not between:
            rows += [
                run.row(step, WIDTH, width, "channels", layer=group, **at)
                for group, width in stage.widths.items()
            ]
    return rows
