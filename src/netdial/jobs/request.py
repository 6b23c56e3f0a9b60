"""Resolves the configuration of a run (options over stored over preset) and makes its folder whole or not at all.

Shared by all ways of training; a way has its class of settings. A run is a function of its configuration: ``Job.choices`` over
the stored configuration (when resuming) over the preset of the data.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from netdial.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    unknown,
)
from netdial.core.storage.container import load_tree
from netdial.data import Splits
from netdial.data.memory.weights import weighted
from netdial.data.tables.options import table_name
from netdial.jobs.presets import PRESETS
from netdial.jobs.problem import (
    LOAD_OPTIONS,
    Problem,
    by_index,
    check_meant,
    is_function,
    load_problem,
)
from netdial.jobs.records.watch import Watch
from netdial.jobs.ways import WAYS, Way, way_of
from netdial.runs import FIRST_WAY
from netdial.runs.folder import check_name, hold, is_half_made, taken, tidy_up
from netdial.runs.run import Run
from netdial.runs.schemas.done import check_models
from netdial.runs.settings import config_difference
from netdial.task import named, task_of
from netdial.train.config import TrainConfig, make

LAST = "last.safetensors"
"""The newest state, in the folder ``checkpoint`` of a run."""


@dataclass(frozen=True)
class Job:
    """Request of a run: data, way of training, settings that were asked for, and the run folder.

    Attributes:
        data: name of a data set, a table, or a user's function ``package.module:function``.
        choices: what was asked for by name: settings of the way, options on the data, ``model``; all else has its default.
        data_dir: folder of data files.
        name: name of the run; by default that of the data.
        runs_dir: folder that holds the runs.
        resume: go on with the run of that name, if there is one.
        overwrite: replace an earlier run of that name, once this one has saved its first state.
        name_of_way: name of the way of training.
        log: names of sinks that records go to, too (``jobs.records.sinks``).
        report: write the report when it is done, 1.5 to 2 MB; ``netdial report`` writes it later.
    """

    data: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    data_dir: str | None = None
    name: str | None = None
    runs_dir: Path = Path("runs")
    resume: bool = False
    overwrite: bool = False
    name_of_way: str = FIRST_WAY
    log: tuple[str, ...] = ()
    report: bool = True

    @property
    def way(self) -> Way:
        """The way of training."""
        return WAYS[self.name_of_way]

    @property
    def run_name(self) -> str:
        """Name of the run folder."""
        if self.name is not None:
            return self.name
        plain = self.data.replace(":", "-") if is_function(self.data) else table_name(self.data)
        return plain if self.name_of_way == FIRST_WAY else f"{plain}-{self.name_of_way}"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.runs_dir / self.run_name

    @property
    def again(self) -> str:
        """The command that goes on with it; its settings are in the run folder."""
        words = ["netdial", self.name_of_way, self.data]
        words += ["--name", self.name] if self.name is not None else []
        words += ["--runs-dir", str(self.runs_dir)] if self.runs_dir != Path("runs") else []
        return shlex.join([*words, "--resume"])


def process_rank() -> int:
    """Returns the number of this process among those that train together, 0 for the one that writes."""
    found = [os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")]
    return next((int(rank) for rank in found if rank is not None), 0)


@contextmanager
def working(job: Job) -> Iterator[None]:
    """Holds the run folder of a job against other processes; those that only help to train leave that to the first.

    Raises:
        BusyError: another process works there.
    """
    if process_rank() > 0:
        yield
        return
    with hold(job.path):
        yield


def resumable(job: Job) -> Run | None:
    """Returns the run to resume, after checking that its settings are those asked for; None for a new run."""
    check_name(job.run_name)
    fields = (name for settings in job.way.settings for name in settings.model_fields)
    known = ["model", *LOAD_OPTIONS, *fields]
    for name in job.choices:
        if name not in known:
            raise unknown("choice", name, known)
    job.way.check_model(job.choices.get("model"))
    if not os.path.lexists(job.path) or is_half_made(job.path):
        return None
    if not job.resume:
        if not job.overwrite and process_rank() == 0:
            raise ConfigError(taken(job.path))
        return None
    run = Run.open(job.path)
    if (way := way_of(run)) is not job.way:
        raise ConfigError(
            f"{run.path}: is a run of netdial {way.name}; go on with it by that command, or choose another name (--name)"
        )
    asked = {"data": job.data, **_plain(job.choices)}
    options = {key: asked.pop(key) for key in LOAD_OPTIONS if key in asked}
    refuse_difference(run, {**run.config, **asked, "load": {**run.config["load"], **options}})
    return run


def done_already(
    job: Job, watch: Watch, report: Callable[[Path], object] | None = None
) -> Run | None:
    """Returns the run that a job would go on with, if it is done.

    Args:
        job: the job.
        watch: told so.
        report: writes a report that is missing and asked for; without it, such a run does not count as done.
    """
    old = resumable(job)
    if old is None or not old.is_done:
        return None
    check_models(old.path)
    if job.report and not old.report_path.exists():
        if report is None:
            return None
        report(old.path)
    tidy_up(old.path)
    watch.say(f"{old.path}: done already")
    return old


def settle(job: Job, old: Run | None) -> tuple[TrainConfig, Problem]:
    """Returns all settings, made once, and the problem: what was asked for, over the stored or preset settings."""
    stored, chosen = old.config if old is not None else {}, _chosen(job, old)
    config = make(job.way.config(), _fields(job.way.config(), chosen))
    if job.way.extra is not None:
        make(job.way.extra(), _fields(job.way.extra(), chosen))
    options = {
        **stored.get("load", {}),
        **{k: v for k, v in job.choices.items() if k in LOAD_OPTIONS},
    }
    model = job.choices.get("model")
    if model is None and not is_function(job.data):
        model = stored.get("model") or job.way.model(job.data)
    problem = load_problem(
        job.data,
        options=options,
        model=model,
        data_dir=job.data_dir or stored.get("data_dir"),
        seed=config.seed,
    )
    if old is None and is_function(job.data) and options.get("kind") is None:
        check_meant(job.data, problem.net, problem.task)
    weights = by_index(config, problem.task).class_weight  # refuses names that no class has
    train = weighted(problem.task.train, weights, task_of(problem.task).targets)
    config = config.for_rows(len(train))  # rows of weight 0 take no steps
    if (noise_var := getattr(config, "noise_var", None)) is not None:
        named(problem.task.kind).assuming(noise_var)  # refuses a task that has no noise
    return config, problem


def _chosen(job: Job, old: Run | None) -> dict[str, Any]:
    """Returns what is known of a job by name: what was asked for, over what is stored, over the preset of the data."""
    stored = old.config if old is not None else {}
    return {**PRESETS.get(job.data, {}), **stored, **job.choices}


def _fields(settings: type[BaseModel], choices: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in choices.items() if key in settings.model_fields}


def folder(
    job: Job, old: Run | None, config: TrainConfig, problem: Problem, n_params: int
) -> tuple[Run, bool]:
    """Returns the run folder, made if it is new, and whether this process is the one that writes to it.

    Raises:
        ConfigError, DataError: the run that is resumed was made with other settings, or from other rows.
    """
    resolved = _resolved(job, old, config, problem, n_params)
    writes = config.devices == 1 or process_rank() == 0
    if old is not None:
        refuse_difference(old, resolved)
        refuse_other_rows(old, problem.task)
    if not writes:
        return Run(job.path, {**resolved, "name": job.run_name}), writes
    if old is not None:
        return old, writes
    run = Run.create(
        job.runs_dir,
        job.run_name,
        resolved,
        overwrite=job.overwrite,
        fill=lambda run: _write_splits(run, problem.task),
    )
    return run, writes


def _resolved(
    job: Job, old: Run | None, config: TrainConfig, problem: Problem, n_params: int
) -> dict[str, Any]:
    """Returns the configuration that the run folder holds."""
    stored, chosen, facts = (
        old.config if old is not None else {},
        _chosen(job, old),
        problem.facts(),
    )
    options = {key: job.choices.get(key) for key in LOAD_OPTIONS}
    return {
        "data": job.data,
        "model": problem.model,
        **config.model_dump(mode="json"),
        "way": job.way.name,
        **{name: chosen.get(name, value) for name, value in job.way.defaults(facts).items()},
        **facts,
        "n_params": n_params,
        "load": stored.get("load", {})
        | {k: v for k, v in _plain(options).items() if v is not None},
        "data_dir": str(Path(job.data_dir).resolve()) if job.data_dir else stored.get("data_dir"),
    }


_ASIDE = ("name", "data_dir", "metric", "proper", "compiled", "error_unit")
"""What does not make a run another one; metrics follow from the kind of task, and earlier runs do not hold them.

Compiled steps come to what others come to but for rounding; training says where it goes on with the other kind.
"""


def refuse_difference(run: Run, wanted: dict[str, Any]) -> None:
    """Raises ConfigError if a run was made with other settings than those wanted, or from files that are others now."""
    was, now = run.config.get("files") or {}, wanted.get("files") or {}
    if changed := [name for name in was if now.get(name, was[name]) != was[name]]:
        raise ConfigError(
            f"{run.path}: the data have changed since the run was made ({', '.join(changed)}: other contents); put back what "
            "it was made from, or start a new run (--name, or --overwrite)"
        )
    old, new = (
        {"way": FIRST_WAY, "posterior": {}} | {k: v for k, v in c.items() if k not in _ASIDE}
        for c in (run.config, wanted)
    )
    lines = config_difference(old, new)
    if lines:
        raise ConfigError(
            f"{run.path}: was made with other settings ({'; '.join(lines)}); leave these options out to go on with it, "
            "or start a new run (--name, or --overwrite)"
        )


def _plain(choices: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in choices.items()
    }


def saved_step(checkpoint: Path) -> int:
    """Returns the optimiser step of a checkpoint, 0 if there is none."""
    if not checkpoint.exists():
        return 0
    try:
        return int(load_tree(checkpoint, "checkpoint")["state"]["step"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint}: is damaged ({error}); start again with --overwrite"
        ) from None


def saved(run: Run) -> Path:
    """Puts a run that has saved a state in place of an earlier one; returns the file for the next state."""
    run.put_in_place()
    return run.checkpoint_path / LAST


def _write_splits(run: Run, task: Splits) -> None:
    """Writes which rows went to which part."""
    run.write_splits(task.source, rows_of(task))


def rows_of(task: Splits) -> dict[str, list[int]]:
    """Returns the rows of the source that went to each part."""
    return {name: rows.tolist() for name, rows in task.rows.items()}


def refuse_other_rows(run: Run, task: Splits) -> None:
    """Refuses data that are split into other rows than those that a run was made with.

    Raises:
        DataError: they are; the part is named.
        CheckpointError: the split that the run stored is damaged or was changed.
    """
    stored, now = run.parts(), rows_of(task)
    for part in stored:
        if stored[part] != now.get(part):
            raise DataError(
                f"{run.path}: the {part} part is not made of the rows that it was made of in training (splits.json); use the "
                "netdial that made the run, or run again with --overwrite"
            )
