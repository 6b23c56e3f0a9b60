"""The fit job: data -> network -> family -> training -> evaluation -> records -> report, in one run folder.

``fit_job`` is what ``netdial fit`` does, without the command line; ``open_family`` gives back what it made. A run is a
function of its configuration: ``Job.choices`` over the stored configuration (when resuming) over the preset of the
data. On several processes only the first one writes.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netdial.config import FitConfig, make_config
from netdial.core.errors import CheckpointError, ConfigError, unknown
from netdial.core.files import write_text
from netdial.data import Task
from netdial.evaluation import Path as LambdaPath
from netdial.evaluation import evaluate
from netdial.family import Domain, Family
from netdial.fitting import run as train_family
from netdial.saving import load_family, save_family
from netdial.study.presets import POINTS, default_samples, preset
from netdial.study.problem import LOAD_OPTIONS, Problem, is_function, load_net, load_problem
from netdial.study.recorder import Recorder, Watch, member_records
from netdial.study.run import Run, config_difference
from netdial.train.checkpoint import load_tree

CHOICES = ("model", "samples", "points", *LOAD_OPTIONS)
"""Choices of a job beside the fields of ``FitConfig``."""

MODEL = "family.safetensors"
"""The trained family, in the folder ``model`` of a run."""

LAST = "last.safetensors"
"""The newest state, in the folder ``checkpoint`` of a run."""

_NOT_TRAINING = ("name", "data_dir", "samples", "points")
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        data: name of a data set, a table, or a user's function ``package.module:function``.
        choices: what was asked for by name: fields of ``FitConfig`` and ``CHOICES``; everything else has its default.
        data_dir: folder of data files.
        name: name of the run; by default that of the data.
        runs_dir: folder that holds the runs.
        resume: go on with the run of that name, if there is one.
        overwrite: delete an earlier run of that name.
    """

    data: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    data_dir: str | None = None
    name: str | None = None
    runs_dir: Path = Path("runs")
    resume: bool = False
    overwrite: bool = False

    @property
    def run_name(self) -> str:
        """Name of the run folder."""
        if self.name is not None:
            return self.name
        return self.data.replace(":", "-") if is_function(self.data) else Path(self.data).stem

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.runs_dir / self.run_name


def fit_job(job: Job, watch: Watch, report: Callable[[Path], object]) -> Run | None:
    """Does the job and returns its run, or returns a run that is done already when resuming.

    Args:
        job: what to do.
        watch: told how it goes.
        report: writes the report of a run folder.

    Returns:
        The run; None on a process that only helped another one to train.

    Raises:
        NetdialError: something the caller can mend; a run that has not saved any state yet leaves no folder.
        Interrupted: a signal asked for it; the state is saved.
    """
    old = _resumable(job)
    if old is not None and old.is_done:
        watch.say(f"{old.path}: done already")
        return old
    watch.say(f"reading {job.data}")
    config, problem = _settle(job, old)
    family = Family(problem.net, config.family())
    resolved = _resolve(job, old, config, problem, family.n_params)
    writes = config.devices == 1 or process_rank() == 0
    if not writes:
        run = Run(job.path, {**resolved, "name": job.run_name})
    elif old is not None:
        run = old
    else:
        run = Run.create(job.runs_dir, job.run_name, resolved, overwrite=job.overwrite)
    with _tidy(run, writes=writes, fresh=old is None):
        step = _train(run, config, problem.task, family, watch, resuming=job.resume, writes=writes)
        if not writes:
            return None
        _conclude(run, family, problem, step, watch)
    report(run.path)
    return run


def process_rank() -> int:
    """Returns the number of this process among those that train together, 0 for the one that writes."""
    found = [os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")]
    return next((int(rank) for rank in found if rank is not None), 0)


def open_family(run: Run, data_dir: str | None = None) -> Family:
    """Returns the trained family of a run.

    Raises:
        CheckpointError: the run is not done, or its model is damaged.
    """
    if not run.is_done:
        raise CheckpointError(
            f"{run.path}: training has not finished; go on with it first (netdial fit … --resume)"
        )
    return load_family(run.model_path / MODEL, load_net(run.config, data_dir))


def open_run(
    run: Run, data_dir: str | None = None, lams: list[float] | None = None
) -> tuple[Family, Task]:
    """Returns the trained family of a run and its data; complexity values outside its range are refused before.

    Raises:
        ConfigError: a value of ``lams`` lies outside the range that the run was trained for.
        CheckpointError: the run is not done, or its model is damaged.
        DataError: the data are not there, or no longer the same.
    """
    check_lams(run, lams or [])
    return open_family(run, data_dir), open_task(run, data_dir)


def describe_net(run: Run) -> dict[str, Any]:
    """Returns what lets the family be loaded without the run folder; nothing for a user's own network."""
    if is_function(run.config["data"]):
        return {}
    shape, count = run.config["input_shape"], run.config["n_outputs"]
    return {"net": {"spec": run.config["model"], "input_shape": shape, "n_outputs": count}}


def check_lams(run: Run, lams: list[float]) -> None:
    """Refuses complexity values outside the range that a run was trained for.

    Raises:
        ConfigError: a value lies outside; the message gives the range.
    """
    Domain(run.config["lo"], run.config["hi"]).unit(torch.tensor(lams, dtype=torch.float64))


def example_input(run: Run) -> Tensor:
    """Returns two inputs, all zeros, of the shape that a run's network takes."""
    kind: torch.dtype = getattr(torch, run.config["input_type"])
    return torch.zeros(2, *run.config["input_shape"], dtype=kind)


def open_task(run: Run, data_dir: str | None = None) -> Task:
    """Returns the data of a run, read and split again as they were.

    Raises:
        DataError: the data are not there, or no longer the same.
    """
    config = run.config
    where = data_dir or config.get("data_dir")
    model = None if is_function(config["data"]) else config["model"]
    problem = load_problem(config["data"], options=config["load"], model=model, data_dir=where)
    _refuse_difference(run, {**config, **problem.facts()})
    return problem.task


def evaluate_run(
    run: Run,
    family: Family,
    part: str,
    task: Task,
    *,
    lams: list[float] | int | None = None,
    n_samples: int | None = None,
) -> LambdaPath:
    """Returns the path of a run's family on one part of its data, as the run itself evaluates it.

    Args:
        run: the run; its configuration gives what is not given here.
        family: its family.
        part: ``valid`` or ``test``.
        task: its data.
        lams: complexity values, or how many.
        n_samples: draws of the posterior predictive.
    """
    config = run.config
    return evaluate(
        family,
        task.part(part),
        lams=config["points"] if lams is None else lams,
        kind=task.kind,
        objective=config["objective"],
        n_data=len(task.train),
        n_samples=config["samples"] if n_samples is None else n_samples,
        seed=config["seed"],
    )


def _resumable(job: Job) -> Run | None:
    """Returns the run to go on with, whose settings are not contradicted, or None for a new one."""
    for name in job.choices:
        if name not in CHOICES and name not in FitConfig.model_fields:
            raise unknown("choice", name, [*CHOICES, *FitConfig.model_fields])
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
    asked = {"data": job.data, **_plain(job.choices)}
    options = {key: asked.pop(key) for key in LOAD_OPTIONS if key in asked}
    _refuse_difference(run, {**run.config, **asked, "load": {**run.config["load"], **options}})
    return run


def _settle(job: Job, old: Run | None) -> tuple[FitConfig, Problem]:
    """Returns all settings and the problem: what was asked for, over the stored or preset settings."""
    stored = old.config if old is not None else {}
    chosen = {**stored, **job.choices}
    options = {
        **stored.get("load", {}),
        **{k: v for k, v in job.choices.items() if k in LOAD_OPTIONS},
    }
    make_config(**_fields(chosen))
    model = None if is_function(job.data) and "model" not in job.choices else chosen.get("model")
    problem = load_problem(
        job.data,
        options=options,
        model=model,
        data_dir=job.data_dir or stored.get("data_dir"),
        seed=chosen.get("seed", 0),
    )
    return make_config(**_fields({**preset(job.data, len(problem.task.train)), **chosen})), problem


def _fields(choices: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in choices.items() if key in FitConfig.model_fields}


def _resolve(
    job: Job, old: Run | None, config: FitConfig, problem: Problem, n_params: int
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
        "samples": chosen.get("samples", default_samples(facts["n_valid"] + facts["n_test"])),
        "points": chosen.get("points", POINTS),
        **facts,
        "n_params": n_params,
        "load": stored.get("load", {}) | {k: v for k, v in options.items() if v is not None},
        "data_dir": str(Path(job.data_dir).resolve()) if job.data_dir else stored.get("data_dir"),
    }
    if old is not None:
        _refuse_difference(old, resolved)
    return resolved


def _refuse_difference(run: Run, wanted: dict[str, Any]) -> None:
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


def _train(
    run: Run,
    config: FitConfig,
    task: Task,
    family: Family,
    watch: Watch,
    *,
    resuming: bool,
    writes: bool,
) -> int:
    """Trains the family and returns the optimiser step that it ends at."""
    checkpoint = run.checkpoint_path / LAST
    step = _saved_step(checkpoint) if resuming else 0
    if writes:
        _write_splits(run, task)
        run.truncate(step)
        size = f"{family.n_params} parameters, {len(task.train)} training examples"
        start = f", going on at step {step}" if step else ""
        watch.say(f"training {run.config['model']} ({size}){start}")
    recorder = Recorder(run, run.config, watch, step=step, write=writes)
    train_family(
        family,
        task.train,
        task.valid,
        kind=task.kind,
        config=config,
        report=recorder,
        advance=watch.advance,
        augment=task.augment,
        checkpoint=checkpoint,
        resuming=resuming,
        identity={key: value for key, value in run.config.items() if key not in _NOT_TRAINING},
    )
    return recorder.step


def _saved_step(checkpoint: Path) -> int:
    """Returns the optimiser step of a checkpoint, 0 if there is none."""
    if not checkpoint.exists():
        return 0
    try:
        return int(load_tree(checkpoint, "checkpoint")["state"]["step"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint}: is damaged ({error}); start again with --overwrite"
        ) from None


def _write_splits(run: Run, task: Task) -> None:
    parts = {name: rows.tolist() for name, rows in task.splits.items()}
    write_text(run.splits_path, json.dumps({"source": task.source, "parts": parts}) + "\n")


def _conclude(run: Run, family: Family, problem: Problem, step: int, watch: Watch) -> None:
    """Evaluates the family, records and saves it, and marks the run as done."""
    task = problem.task
    watch.say(f"evaluating on {len(task.valid)} validation and {len(task.test)} test examples")
    paths = {part: evaluate_run(run, family, part, task) for part in ("valid", "test")}
    run.record(member_records(run, step, paths))
    save_family(
        family,
        run.model_path / MODEL,
        {"data": run.config["data"], "kind": task.kind, **describe_net(run)},
    )
    run.finish()


@contextmanager
def _tidy(run: Run, *, writes: bool, fresh: bool) -> Iterator[None]:
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
