"""Test loss of the network that a search finds on real tables, beside random search and a fixed network in the same time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.common.problems import Problem, file_problem, oes_problem
from benchmarks.common.result import Result
from benchmarks.common.timing import one_thread
from netdial.core.errors import DataError
from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset
from netdial.nets import build
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.searching import prepare
from netdial.structure.search.training import losses, mean_loss, train_network, weighted_mean
from netdial.structure.spaces import ready_space
from netdial.task import TASKS, Task
from netdial.train.config import make

TABLES: dict[str, Callable[[int], Problem]] = {
    "wine": file_problem("wine", None, 130),
    "breast-cancer": file_problem("breast-cancer", None, 400),
    "diabetes": file_problem("diabetes", None, 300),
    "digits": file_problem("digits", None, 1000),
    "covertype": file_problem("covertype_15120.parquet", "Cover_Type", 1500),
    "gas drift": file_problem("gas_sensor_drift_8of10.parquet", "gas", 1000),
    "oes97": oes_problem,
}
"""Real tables; three quarters of the rows said are trained on, the others validate, up to 2,000 more are the test part."""

_STRATEGIES = ("halving", "darts")
"""A strategy by trials and one by gradient, with their defaults."""


@dataclass(frozen=True)
class _Found:
    """Test losses in nats.

    Attributes:
        found: of the network that was found.
        random: of the best random structure by validation loss, in the same processor time.
        fixed: of the best 64-64 network by validation loss, trained with one seed after another in the same time.
        seconds: processor time of the search.
        params: of the network that was found.
    """

    found: float
    random: float
    fixed: float
    seconds: float
    params: int


def measure(*, quick: bool) -> Result:
    """Searches on seven tables with five seeds; the quick version on one with one, briefly."""
    with one_thread():
        return _measured(range(1 if quick else 5), quick)


def _measured(seeds: range, quick: bool) -> Result:
    rows, value = [], dict[str, float]()
    absent = []
    for strategy in _STRATEGIES:
        verdicts = []
        for name in ("wine",) if quick else TABLES:
            try:
                problems = [TABLES[name](seed) for seed in seeds]
            except DataError:
                absent.append(name)
                continue
            found = [
                _searched(p, strategy, seed, quick) for seed, p in zip(seeds, problems, strict=True)
            ]
            row = _row(name, strategy, found)
            rows.append(row)
            verdicts.append((row["beside random"], row["beside 64-64"]))
        for place, rival in enumerate(("random", "64-64")):
            value[f"{strategy}, worse than {rival}"] = sum(v[place] == "worse" for v in verdicts)
            value[f"{strategy}, better than {rival}"] = sum(v[place] == "better" for v in verdicts)
    return Result(
        "search-tables",
        value,
        "tables",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="random search, and a 64-64 network trained with one seed after another, in the processor time of the search; "
        "of each the best by validation loss",
        floor="worse: 0. Better and worse: the mean difference of the test losses over seeds is more than two standard errors "
        f"from 0, else tied{'; absent: ' + ', '.join(sorted(set(absent))) if absent else ''}",
        rows=rows,
    )


def _searched(problem: Problem, strategy: str, seed: int, quick: bool, **more: Any) -> _Found:
    """Returns what one search, and its rivals in the same time, came to."""
    space = ready_space(
        "mlp", input_shape=tuple(problem.train.x.shape[1:]), n_outputs=problem.n_outputs
    )
    settings: Mapping[str, Any] = {
        "strategy": strategy,
        "seed": seed,
        "epochs": 2 if quick else 20,
        "batch_size": 64,
    }
    config = make(SearchConfig, {**settings, **more})
    task = TASKS[problem.kind]()
    job = prepare(space, problem.train, problem.valid, config, kind=problem.kind)
    outcome = job.run(problem.test)
    assert outcome.baseline is not None
    found = _loss(outcome.network, problem.test, task.in_training())
    fixed = _fixed(problem, task.in_training(), job.config, outcome.seconds)
    return _Found(
        found, found - outcome.baseline.difference, fixed, outcome.seconds, outcome.cost.params
    )


def _fixed(problem: Problem, task: Task, config: SearchConfig, seconds: float) -> float:
    """Returns the test loss of the best 64-64 network by validation loss, of those that can be trained in some time."""
    shape = tuple(problem.train.x.shape[1:])
    best, spent, last, number = (math.inf, math.nan), 0.0, 0.0, 0
    while not number or spent + last <= seconds:
        begun = time.process_time()
        seeded = config.training(config.passes).changed(seed=1000 * number + config.seed)
        net = build("mlp:64-64", input_shape=shape, n_outputs=problem.n_outputs, seed=seeded.seed)
        train_network(net, problem.train, task, seeded)
        valid = mean_loss(net, problem.valid, task)
        last = time.process_time() - begun
        best = min(best, (valid, _loss(net, problem.test, task)))
        spent, number = spent + last, number + 1
    return best[1]


def _loss(net: torch.nn.Module, part: Dataset, task: Task) -> float:
    with evaluating(net):
        return weighted_mean(losses(net, part, task), part)


def _row(name: str, strategy: str, found: list[_Found]) -> dict[str, Any]:
    """Returns means over seeds and verdicts."""
    row: dict[str, Any] = {"table": name, "strategy": strategy}
    for what in ("found", "random", "fixed"):
        row[what] = statistics.fmean(getattr(each, what) for each in found)
    for rival, label in (("random", "beside random"), ("fixed", "beside 64-64")):
        differences = [each.found - getattr(each, rival) for each in found]
        mean = statistics.fmean(differences)
        error = (
            statistics.stdev(differences) / math.sqrt(len(differences))
            if len(found) > 1
            else math.inf
        )
        row[f"less {rival}"], row[f"error, {rival}"] = mean, error if len(found) > 1 else None
        row[label] = "tied" if abs(mean) <= 2 * error else "better" if mean < 0 else "worse"
    row["s"] = statistics.fmean(each.seconds for each in found)
    row["parameters"] = statistics.median(each.params for each in found)
    return row
