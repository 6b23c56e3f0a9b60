"""Rivals of a run: what others reach on the very rows that it was trained and judged on, recorded beside its members."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from netdial.contest import contenders
from netdial.contest.match import CONTENDERS, Guess, Match
from netdial.core.errors import ConfigError, NetdialError
from netdial.core.records import Record
from netdial.data import Splits
from netdial.jobs.opening import open_task
from netdial.jobs.problem import is_function
from netdial.nets import build
from netdial.runs.curves import RIVAL
from netdial.runs.run import Run

assert contenders.__all__  # they are registered

USUAL = ("linear model", "boosted trees", "one network", "grid of 8")
"""Contenders that are run unless others are named; networks only where the run's own is built by name."""
_LEAST_SECONDS = 2.0
_UNITS = {"nll": "nats/example"}


def run_rivals(
    run: Run,
    names: Sequence[str] | None = None,
    *,
    seconds: float | None = None,
    data_dir: str | None = None,
    trust: bool = False,
    report: Callable[[str], object] | None = None,
) -> dict[str, dict[str, float]]:
    """Runs rivals on the parts of a run's data, records what they are worth, and returns it: name -> column -> value.

    Each trains on the training part, makes its choices on the validation part, and is measured on the test part once.

    Args:
        run: the run.
        names: names in ``CONTENDERS``; by default ``USUAL``.
        seconds: processor time of each; by default as long as the run trained, and at least 2.
        data_dir: folder of data files.
        trust: whether a function that the run folder names as its data may be called.
        report: told of each before it starts.

    Raises:
        ConfigError: a rival is not known, or none of them could be trained.
    """
    networks = not is_function(run.config["data"])
    chosen = [n for n in USUAL if networks or n in USUAL[:2]] if names is None else list(names)
    for name in chosen:
        CONTENDERS[name]
    splits = open_task(run, data_dir, trust=trust)
    records = run.records()
    match = _match(run, splits, seconds or _spent(records))
    step = max((record.step for record in records), default=0)
    found, made, failed = dict[str, dict[str, float]](), list[Record](), list[str]()
    for name in dict.fromkeys(chosen):
        if report is not None:
            report(name)
        try:
            guess = CONTENDERS[name](match)
        except NetdialError as error:
            failed.append(f"{name}: {error}")
            continue
        found[name] = _worth(guess, match, splits)
        made += [
            run.row(
                step, metric, value, _UNITS.get(metric, ""), method=RIVAL, rival=name, part=part
            )
            for column, value in found[name].items()
            for part, metric in [column.split("/")]
        ]
    if not found:
        raise ConfigError(f"{run.path}: no rival has a result ({'; '.join(failed)})")
    run.replace(made)
    return found


def _match(run: Run, splits: Splits, seconds: float) -> Match:
    shape, count = splits.input_shape, splits.n_outputs

    def net(seed: int) -> nn.Module:
        return build(run.config["model"], input_shape=shape, n_outputs=count, seed=seed)

    return Match.of(splits, net, seconds, int(run.config["seed"]))


def _worth(guess: Guess, match: Match, splits: Splits) -> dict[str, float]:
    """Returns its metrics on validation and test data; not the NLL of a regression, as the law of its errors is not known."""
    found = {}
    for part in ("valid", "test"):
        data = splits.part(part)
        with torch.no_grad():
            metrics = match.task.metrics(guess.outputs(data), data.y)
        for name, value in metrics.items():
            if math.isfinite(value) and not (name == "nll" and match.task.targets == "numbers"):
                found[f"{part}/{name}"] = value
    return found


def _spent(records: Sequence[Record]) -> float:
    """Returns the seconds that training took."""
    taken = {r.step: r.value for r in records if r.name == "epoch_seconds" and r.method == "train"}
    return max(_LEAST_SECONDS, sum(taken.values()))
