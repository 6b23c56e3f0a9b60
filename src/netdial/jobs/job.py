"""The fit job: data -> network -> family -> training -> evaluation -> records -> report, in one run folder.

``fit_job`` is what ``netdial fit`` does, without the command line; ``open_family`` gives back what it made. On several
processes only the first one writes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netdial.config import FitConfig
from netdial.core.container import read_plain
from netdial.core.errors import CheckpointError, ConfigError
from netdial.data import Splits
from netdial.family import Domain, Family
from netdial.fitting import run as train_family
from netdial.jobs.problem import (
    Problem,
    by_index,
    check_trust,
    describe_net,
    is_function,
    load_net,
    load_problem,
    reading_lines,
)
from netdial.jobs.recorder import Recorder, Watch, member_records
from netdial.jobs.request import (
    LAST,
    Job,
    done_already,
    folder,
    refuse_difference,
    resolve,
    resumable,
    saved,
    saved_step,
    settle,
    tidy,
    way_of,
    working,
)
from netdial.measure import Path as LambdaPath
from netdial.measure import evaluate
from netdial.models.family import load_family, save_family
from netdial.models.use import read_use, use_of
from netdial.runs.curves import headline, members
from netdial.runs.run import Run

MODEL = "family.safetensors"
"""The trained family, in the folder ``model`` of a run."""

_NOT_TRAINING = ("name", "data_dir", "samples", "points")

_ON_TERMS = (
    "fit and complexity are means over all complexity values; fit may rise while training goes well, since members at large "
    "values give up fit for simplicity; valid is the objective on validation data and should fall"
)


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
    if (done := done_already(job, watch)) is not None:
        return done
    with working(job):
        if (done := done_already(job, watch, report)) is not None:
            return done
        old = resumable(job)
        watch.say(f"reading {job.data}")
        config, problem = settle(job, old)
        for line in reading_lines(problem.task):
            watch.say(line)
        assert isinstance(config, FitConfig)
        family = Family(problem.net, config.family())
        resolved = resolve(job, old, config, problem, family.n_params)
        run, writes = folder(job, old, config, resolved, problem.task)
        with tidy(job, run, writes=writes, fresh=old is None):
            step = _train(
                run, config, problem.task, family, watch, resuming=job.resume, writes=writes
            )
            if not writes:
                return None
            _conclude(run, family, problem, step, watch)
            report(run.path)
    return run


def open_family(run: Run, data_dir: str | None = None, *, trust: bool = False) -> Family:
    """Returns the trained family of a run.

    Args:
        run: the run.
        data_dir: folder of data files.
        trust: whether a function that the run folder names as its data may be called.

    Raises:
        ConfigError: it names one, and ``trust`` is not set.
        CheckpointError: the run is not done, or its model is damaged.
    """
    _check_family(run)
    if not run.is_done:
        raise CheckpointError(
            f"{run.path}: training has not finished; go on with it first (netdial fit … --resume)"
        )
    path = run.model_path / MODEL
    if not is_function(run.config["data"]) and read_plain(path)["meta"].get("net") is not None:
        return load_family(
            path
        )  # what the file describes is compared with what it holds before it is built
    return load_family(path, load_net(run.config, data_dir, trust=trust))


def open_run(
    run: Run,
    data_dir: str | None = None,
    lams: list[float] | None = None,
    *,
    trust: bool = False,
) -> tuple[Family, Splits]:
    """Returns the trained family of a run and its data; complexity values outside its range are refused before.

    Args:
        run: the run.
        data_dir: folder of data files.
        lams: complexity values that will be asked for.
        trust: whether a function that the run folder names as its data may be called.

    Raises:
        ConfigError: a value of ``lams`` lies outside the range that the run was trained for, or the folder names a function
            and ``trust`` is not set.
        CheckpointError: the run is not done, or its model is damaged.
        DataError: the data are not there, or no longer the same.
    """
    check_lams(run, lams or [])
    return open_family(run, data_dir, trust=trust), open_task(run, data_dir, trust=trust)


def use_at(run: Run, lam: float) -> dict[str, Any]:
    """Returns how the member at λ of a run's family is used, as plain values; nothing if the run does not say."""
    path = run.model_path / MODEL
    use = read_use(path, read_plain(path)["meta"])
    return {} if use is None else use.alone(lam).to_json()


def check_lams(run: Run, lams: list[float]) -> None:
    """Refuses complexity values outside the range that a run was trained for.

    Raises:
        ConfigError: a value lies outside; the message gives the range.
    """
    _check_family(run)
    Domain(run.config["lo"], run.config["hi"]).unit(torch.tensor(lams, dtype=torch.float64))


def _check_family(run: Run) -> None:
    """Refuses a run that trained no family."""
    if way_of(run) != "fit":
        raise ConfigError(
            f"{run.path}: is a run of netdial {way_of(run)}, which has one network and no family; "
            "look at it with netdial report, or fit a family (netdial fit)"
        )


def example_input(run: Run) -> Tensor:
    """Returns two inputs, all zeros, of the shape that a run's network takes."""
    kind: torch.dtype = getattr(torch, run.config["input_type"])
    return torch.zeros(2, *run.config["input_shape"], dtype=kind)


def open_task(run: Run, data_dir: str | None = None, *, trust: bool = False) -> Splits:
    """Returns the data of a run, read and split again as they were.

    Args:
        run: the run.
        data_dir: folder of data files.
        trust: whether a function that the run folder names as its data may be called.

    Raises:
        ConfigError: it names one, and ``trust`` is not set.
        DataError: the data are not there, or no longer the same.
    """
    config = run.config
    check_trust(config, trust=trust)
    where = data_dir or config.get("data_dir")
    model = None if is_function(config["data"]) else config["model"]
    problem = load_problem(config["data"], options=config["load"], model=model, data_dir=where)
    refuse_difference(run, {**config, **problem.facts()})
    return problem.task


def evaluate_run(
    run: Run,
    family: Family,
    part: str,
    task: Splits,
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
        train=task.train.y,
    )


def _train(
    run: Run,
    config: FitConfig,
    task: Splits,
    family: Family,
    watch: Watch,
    *,
    resuming: bool,
    writes: bool,
) -> int:
    """Trains the family and returns the optimiser step that it ends at."""
    checkpoint = run.checkpoint_path / LAST
    step = saved_step(checkpoint) if resuming else 0
    if writes:
        run.truncate(step if step else -1)
        size = f"{family.n_params} parameters, {len(task.train)} training examples"
        start = f", going on at step {step}" if step else ""
        watch.say(f"training {run.config['model']} ({size}){start}")
        watch.say(_ON_TERMS)
    recorder = Recorder(run, run.config, watch, step=step, write=writes)
    train_family(
        family,
        task.train,
        task.valid,
        kind=task.kind,
        config=by_index(config, task),
        report=recorder,
        advance=watch.advance,
        augment=task.augment,
        checkpoint=checkpoint,
        saved=partial(saved, run),
        resuming=resuming,
        identity={key: value for key, value in run.config.items() if key not in _NOT_TRAINING},
    )
    return recorder.step


def _conclude(run: Run, family: Family, problem: Problem, step: int, watch: Watch) -> None:
    """Evaluates the family, records and saves it, and marks the run as done."""
    task = problem.task
    watch.say(f"evaluating on {len(task.valid)} validation and {len(task.test)} test examples")
    paths = {part: evaluate_run(run, family, part, task) for part in ("valid", "test")}
    run.replace(member_records(run, step, paths))
    best = headline(members(run.records()), run.config)
    use = use_of(
        task,
        family,
        lam=None if best is None else best.best.lam,
        lams=[row["lam"] for row in paths["valid"].table()],
    )
    about = {"data": run.config["data"], "kind": task.kind, **describe_net(run), **use.to_json()}
    save_family(family, run.model_path / MODEL, about)
    run.finish()
