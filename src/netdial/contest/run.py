"""``nd.benchmark``: a leaderboard for a data set, every contender with the same splits, seeds and processor time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netdial.contest import contenders
from netdial.contest.board import Leaderboard, ranked
from netdial.contest.match import CONTENDERS, Match
from netdial.core.arguments import Count, checked
from netdial.core.errors import ConfigError, MissingExtra, NetdialError, NonFiniteError
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import PARTS
from netdial.data.tables.files.frame import Frame
from netdial.data.tables.source import kept_as_file
from netdial.jobs.pool import Made, make_all
from netdial.jobs.problem import Problem, is_function, load_problem, reading_lines
from netdial.jobs.trial import content_of, digests_of, refuse_changed, sources_of
from netdial.nets import build
from netdial.nets.foreign import copy_network
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.task import task_of

assert contenders.__all__  # they are registered


FOLDER = "runs/benchmark"
"""Where results are kept by default."""


@dataclass(frozen=True)
class ContestEntry(Cell):
    """One contender on one data set from one seed.

    Attributes:
        contender: name in ``CONTENDERS``.
        data: name of a data set, a table, or a user's function.
        options: on the data and ``model``, by name.
        seconds: processor time.
        seed: seed of the split and of everything random.
        digests: name of a table -> SHA-256 of its bytes.
        content: digest of the tables, empty for other data.
    """

    contender: str
    data: str
    options: Mapping[str, Any]
    seconds: float
    seed: int
    digests: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    content: str = field(init=False)

    def __post_init__(self) -> None:
        """Joins the digests of all that the data come from."""
        object.__setattr__(self, "content", content_of(self.data, self.options, self.digests))

    @property
    def label(self) -> str:
        """Contender, data and seed."""
        return f"{self.contender} {Path(self.data).stem} seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, Any]:
        """Returns what the contender reached on test data, or why it failed.

        Raises:
            DataError: a table is no longer what it was when the benchmark began.
        """
        refuse_changed(sources_of(self.data, self.options), self.digests, store.data_dir)
        problem = opened(self.data, self.options, self.seed, store.data_dir)
        contender, match = CONTENDERS[self.contender], _match(problem, self)
        try:
            contender(match.small())  # what is loaded at the first call is not counted
            began = time.process_time()
            guess = contender(match)
            seconds = time.process_time() - began
            task, test = task_of(problem.task), problem.task.test
            metrics = task.metrics(guess.outputs(test), test.y)
            if not math.isfinite(metrics[task.proper]):
                raise NonFiniteError("it predicts numbers for test rows that are not finite")
        except MissingExtra:
            raise  # the same command finds it once it is installed: nothing is kept
        except NetdialError as error:
            return {"failed": str(error)}
        return {
            "loss": metrics.pop(task.proper),
            "valid": guess.valid,
            "metrics": metrics,
            "seconds": seconds,
            "params": guess.params if math.isfinite(guess.params) else None,
            "chosen": dict(guess.chosen),
        }


@checked
@in_usual_modes
def benchmark(
    data: str | Path | Frame,
    *,
    seconds: float = 10.0,
    seeds: Count = 3,
    contenders: Sequence[str] | None = None,
    data_dir: str | None = None,
    folder: str | Path = FOLDER,
    report: Callable[[Made], None] | None = None,
    reading: Callable[[str], None] | None = None,
    **options: Any,
) -> Leaderboard:
    """Returns a leaderboard: families, shrinking and search against plain networks, boosted trees and a linear model.

    For each seed the data are split anew, unless the parts are files of their own, or follow from time or a column. All
    contenders have the same parts and processor time; each makes its choices on the validation part; the test part is measured
    once, at the end. Results are kept, so an interrupted benchmark goes on where it was.

    Args:
        data: name of a data set, a table, a user's function ``package.module:function``, or a frame (pandas, polars,
            pyarrow), which is kept in the folder as Parquet; ``valid`` and ``test`` may be frames, too.
        seconds: processor time for each contender and seed. At least one training is always finished, so a slow contender can
            take more; what it took is in the leaderboard.
        seeds: how many splits and starts.
        contenders: names in ``netdial.contest.match.CONTENDERS``; all by default, without those whose package is missing.
        data_dir: folder of data files.
        folder: where results are kept.
        report: told after every contender and seed.
        reading: told how a table was read, a line for each column and each remark.
        **options: on the data (``target``, ``kind``, ``valid``, ``test``, …) and ``model``, as for ``netdial fit``.

    Raises:
        ConfigError: a contender is not known, or the time is none.
        DataError: the data cannot be used.
    """
    if not 0 < seconds < math.inf:
        raise ConfigError(f"seconds={seconds}; expected a processor time above 0")
    names = list(CONTENDERS) if contenders is None else list(dict.fromkeys(contenders))
    for name in names:
        CONTENDERS[name]
    given = {key: value for key, value in options.items() if value is not None}
    data = kept_as_file(data, Path(folder))
    for part in ("valid", "test"):
        if part in given and not isinstance(given[part], float | int):
            given[part] = kept_as_file(given[part], Path(folder))
    if "split_seed" in given:
        raise ConfigError("split_seed: a benchmark splits by its seeds; give seeds= in its place")
    digests = digests_of(sources_of(data, given), data_dir)
    problem = opened(data, given, 0, data_dir)
    if reading is not None and (lines := reading_lines(problem.task)):
        for line in (f"reading {data}", *lines):
            reading(line)
    store = Store(Path(folder), data_dir)
    found: dict[str, list[dict[str, Any]]] = {}
    notes = []
    for name in names:
        entries = [ContestEntry(name, data, given, seconds, seed, digests) for seed in range(seeds)]
        try:
            make_all(entries, store, workers=1, report=report)
        except MissingExtra as error:
            if contenders is not None:
                raise
            notes.append(f"{name}: left out, {error}")
            continue
        found[name] = [store.read(entry) for entry in entries]
    if all("failed" in one for ones in found.values() for one in ones):
        why = next(one["failed"] for ones in found.values() for one in ones)
        raise ConfigError(f"no contender has a result; the first said: {why}")
    task = task_of(problem.task)
    parts = {part: len(problem.task.part(part)) for part in ("train", "valid", "test")}
    unit = task.unit(task.proper)
    if task.targets == "numbers":  # its nll has a noise of variance 1: no contender tells its own
        for one in (one for ones in found.values() for one in ones):
            one.get("metrics", {}).pop("nll", None)
    places = ranked(found)
    source = problem.task.source
    alike = seeds > 1 and _are_alike(problem, opened(data, given, 1, data_dir))
    return Leaderboard(
        data, task.proper, unit, seconds, range(seeds), parts, places, notes,
        source.get("columns", []), source.get("notes", []), alike,
    )  # fmt: skip


def opened(data: str, options: Mapping[str, Any], seed: int, data_dir: str | None) -> Problem:
    """Returns network and data, split by a seed."""
    rest = {key: value for key, value in options.items() if key != "model"}
    return load_problem(
        data,
        options={**rest, "split_seed": seed},
        model=options.get("model"),
        data_dir=data_dir,
        seed=seed,
    )


def _are_alike(one: Problem, other: Problem) -> bool:
    """Returns whether two splits of the data have the same rows in each part."""
    pairs = [(one.task.part(part), other.task.part(part)) for part in PARTS]
    return all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in pairs)


def _match(problem: Problem, entry: ContestEntry) -> Match:
    splits = problem.task

    def net(seed: int) -> nn.Module:
        if is_function(entry.data):  # a user's own network, which has one start
            return copy_network(problem.net)
        shape, count = splits.input_shape, splits.n_outputs
        return build(problem.model, input_shape=shape, n_outputs=count, seed=seed)

    return Match.of(splits, net, entry.seconds, entry.seed)
