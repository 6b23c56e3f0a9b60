"""What is asked of a run, settled: a job's own choices over stored ones over presets, and a folder that is never half a run.

Shared by all ways of training; a way has its class of settings. A run is a function of its configuration: ``Job.choices`` over
the stored configuration (when resuming) over the preset of the data.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdial.config import FitConfig, TrainConfig, make
from netdial.core.container import load_tree
from netdial.core.errors import CheckpointError, ConfigError, unknown
from netdial.core.files import write_text
from netdial.data import Splits
from netdial.data.tables.options import table_name
from netdial.jobs.presets import POINTS, default_samples, large_model, preset
from netdial.jobs.problem import LOAD_OPTIONS, Problem, is_function, load_problem
from netdial.runs.run import Run, config_difference
from netdial.shrinking.config import ShrinkConfig

CHOICES = {"fit": ("model", "samples", "points", *LOAD_OPTIONS), "shrink": ("model", *LOAD_OPTIONS)}
"""Choices of a job beside the fields of its settings, by way of training."""

SETTINGS: dict[str, type[TrainConfig]] = {"fit": FitConfig, "shrink": ShrinkConfig}
"""Class of settings, by way of training."""

LAST = "last.safetensors"
"""The newest state, in the folder ``checkpoint`` of a run."""

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        data: name of a data set, a table, or a user's function ``package.module:function``.
        choices: what was asked for by name: fields of the settings and ``CHOICES``; everything else has its default.
        data_dir: folder of data files.
        name: name of the run; by default that of the data.
        runs_dir: folder that holds the runs.
        resume: go on with the run of that name, if there is one.
        overwrite: delete an earlier run of that name.
        way: way of training, ``fit`` or ``shrink``.
    """

    data: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    data_dir: str | None = None
    name: str | None = None
    runs_dir: Path = Path("runs")
    resume: bool = False
    overwrite: bool = False
    way: str = "fit"

    @property
    def settings(self) -> type[TrainConfig]:
        """Class of its settings."""
        return SETTINGS[self.way]

    @property
    def run_name(self) -> str:
        """Name of the run folder."""
        if self.name is not None:
            return self.name
        plain = self.data.replace(":", "-") if is_function(self.data) else table_name(self.data)
        return plain if self.way == "fit" else f"{plain}-{self.way}"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.runs_dir / self.run_name


def process_rank() -> int:
    """Returns the number of this process among those that train together, 0 for the one that writes."""
    found = [os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")]
    return next((int(rank) for rank in found if rank is not None), 0)


def way_of(run: Run) -> str:
    """Returns the way of training of a run."""
    return str(run.config.get("way", "fit"))


def resumable(job: Job) -> Run | None:
    """Returns the run to go on with, whose settings are not contradicted, or None for a new one."""
    known = [*CHOICES[job.way], *job.settings.model_fields]
    for name in job.choices:
        if name not in known:
            raise unknown("choice", name, known)
    if not job.path.exists():
        return None
    if not job.resume:
        if not job.overwrite and process_rank() == 0:
            raise ConfigError(
                f"{job.path}: exists already; go on with it (--resume), replace it (--overwrite), "
                "or choose another name (--name)"
            )
        return None
    run = Run.open(job.path)
    if way_of(run) != job.way:
        raise ConfigError(
            f"{run.path}: is a run of netdial {way_of(run)}; go on with it by that command, or choose another name (--name)"
        )
    asked = {"data": job.data, **_plain(job.choices)}
    options = {key: asked.pop(key) for key in LOAD_OPTIONS if key in asked}
    refuse_difference(run, {**run.config, **asked, "load": {**run.config["load"], **options}})
    return run


def settle(job: Job, old: Run | None) -> tuple[TrainConfig, Problem]:
    """Returns all settings and the problem: what was asked for, over the stored or preset settings."""
    stored = old.config if old is not None else {}
    chosen = {**stored, **job.choices}
    options = {
        **stored.get("load", {}),
        **{k: v for k, v in job.choices.items() if k in LOAD_OPTIONS},
    }
    make(job.settings, _fields(job, chosen))
    model = None if is_function(job.data) and "model" not in job.choices else chosen.get("model")
    if model is None and job.way == "shrink" and not is_function(job.data):
        model = large_model(job.data)
    problem = load_problem(
        job.data,
        options=options,
        model=model,
        data_dir=job.data_dir or stored.get("data_dir"),
        seed=chosen.get("seed", 0),
    )
    start = preset(job.data, len(problem.task.train))
    return make(job.settings, _fields(job, {**start, **chosen})), problem


def _fields(job: Job, choices: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in choices.items() if key in job.settings.model_fields}


def resolve(
    job: Job, old: Run | None, config: TrainConfig, problem: Problem, n_params: int
) -> dict[str, Any]:
    """Returns the configuration that the run folder holds; it has to be that of the run that is resumed."""
    stored = old.config if old is not None else {}
    facts = problem.facts()
    chosen = {**preset(job.data, facts["n_train"]), **stored, **job.choices}
    options = {key: job.choices.get(key) for key in LOAD_OPTIONS}
    resolved = {
        "data": job.data,
        "model": problem.model,
        **config.model_dump(mode="json"),
        **_of_the_way(job, chosen, facts),
        **facts,
        "n_params": n_params,
        "load": stored.get("load", {})
        | {k: v for k, v in _plain(options).items() if v is not None},
        "data_dir": str(Path(job.data_dir).resolve()) if job.data_dir else stored.get("data_dir"),
    }
    if old is not None:
        refuse_difference(old, resolved)
    return resolved


def folder(
    job: Job, old: Run | None, config: TrainConfig, resolved: dict[str, Any]
) -> tuple[Run, bool]:
    """Returns the run folder, made if it is new, and whether this process is the one that writes to it."""
    writes = config.devices == 1 or process_rank() == 0
    if not writes:
        return Run(job.path, {**resolved, "name": job.run_name}), writes
    if old is not None:
        return old, writes
    return Run.create(job.runs_dir, job.run_name, resolved, overwrite=job.overwrite), writes


def _of_the_way(job: Job, chosen: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what only runs of one way of training hold."""
    if job.way != "fit":
        return {"way": job.way}
    samples = default_samples(facts["n_valid"] + facts["n_test"])
    return {"samples": chosen.get("samples", samples), "points": chosen.get("points", POINTS)}


def refuse_difference(run: Run, wanted: dict[str, Any]) -> None:
    """Raises ConfigError if a run was made with other settings than those wanted."""
    old, new = (
        {k: v for k, v in c.items() if k not in ("name", "data_dir")} for c in (run.config, wanted)
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


def write_splits(run: Run, task: Splits) -> None:
    """Writes which rows went to which part."""
    parts = {name: rows.tolist() for name, rows in task.rows.items()}
    write_text(run.splits_path, json.dumps({"source": task.source, "parts": parts}) + "\n")


@contextmanager
def tidy(run: Run, *, writes: bool, fresh: bool) -> Iterator[None]:
    """Removes the folder of a new run that failed before it saved anything, and explains a full disk."""
    try:
        yield
    except Exception as error:
        saved = (run.checkpoint_path / LAST).exists()
        if writes and fresh and not saved:
            shutil.rmtree(run.path, ignore_errors=True)
        if not (isinstance(error, OSError) and error.errno in _FULL):
            raise
        advice = "the last checkpoint is intact; free some space and go on with --resume"
        raise CheckpointError(
            f"{run.path}: could not be written ({error.strerror}); "
            f"{advice if saved else 'free some space and start again'}"
        ) from None
