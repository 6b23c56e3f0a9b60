"""Opens the family and data of a run, and evaluates as the run itself does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.storage.container import read_plain
from netdial.data import Splits
from netdial.family import Domain, Family
from netdial.jobs.problem import check_trust, is_function, load_net, load_problem, weights_by_index
from netdial.jobs.records.scoring import constant_scores, scores
from netdial.jobs.request import refuse_difference, refuse_other_rows
from netdial.jobs.ways import way_of
from netdial.measure import Path, evaluate
from netdial.models.door import open_model
from netdial.models.family import load_family
from netdial.models.use import read_use
from netdial.runs.run import Run
from netdial.runs.schemas.done import FAMILY_FILE, check_models


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
    check_models(run.path)
    path = run.model_path / FAMILY_FILE
    if not is_function(run.config["data"]) and read_plain(path)["meta"].get("net") is not None:
        # what the file describes is compared with what it holds before it is built
        return load_family(path)
    return load_family(path, load_net(run.config, data_dir, trust=trust))


def open_network(run: Run, data_dir: str | None = None, *, trust: bool = False) -> nn.Module:
    """Returns the one network that a run without a family left: shrunken, or found by a search.

    Args:
        run: the run.
        data_dir: folder of data files.
        trust: whether a function that the run folder names as its data may be called.

    Raises:
        ConfigError: it names one, and ``trust`` is not set; or the way of training leaves no network in a file.
        CheckpointError: the run is not done, or its model is damaged.
    """
    check_trust(run.config, trust=trust)
    way = way_of(run).name
    if not run.is_done:
        raise CheckpointError(
            f"{run.path}: training has not finished; go on with it first (netdial {way} … --resume)"
        )
    check_models(run.path)
    if not any(run.model_path.glob("*")):
        raise ConfigError(
            f"{run.path}: is a run of netdial {way}, which left no model; look at it with netdial report, or fit a family"
        )
    own = load_net(run.config, data_dir, trust=trust) if is_function(run.config["data"]) else None
    model: nn.Module = open_model(run.path, own)
    return model


def evaluate_network(net: nn.Module, task: Splits, part: str) -> dict[str, dict[str, float]]:
    """Returns the ``metrics`` of a network on one part of its data, and those of a ``constant``."""
    return {"metrics": scores(net, task, part, error=True), "constant": constant_scores(task, part)}


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
    path = run.model_path / FAMILY_FILE
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
    way = way_of(run)
    if not way.makes_family:
        left = sorted(str(path) for path in run.model_path.glob("*.safetensors"))
        network = f"its network is {left[0]} (nd.load_model opens it); " if len(left) == 1 else ""
        raise ConfigError(
            f"{run.path}: is a run of netdial {way.name}, which has one network and no family; {network}"
            "netdial evaluate, predict, export, slim, compress, serve and report take this run, netdial fit trains a family"
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
    run.records()  # what is found could not be recorded beside damaged ones
    config = run.config
    check_trust(config, trust=trust)
    where = data_dir or config.get("data_dir")
    model = None if is_function(config["data"]) else config["model"]
    problem = load_problem(config["data"], options=config["load"], model=model, data_dir=where)
    refuse_difference(run, {**config, **problem.facts()})
    refuse_other_rows(run, problem.task)
    return problem.task


def as_trained(run: Run, task: Splits) -> dict[str, Any]:
    """Returns settings of training that networks of a run keep when they are trained further, by the names of ``TrainConfig``.

    Args:
        run: the run.
        task: its data.
    """
    config = run.config
    return {
        "batch_size": config["batch_size"],
        "class_weight": weights_by_index(config.get("class_weight"), task),
    }


def evaluate_run(
    run: Run,
    family: Family,
    part: str,
    task: Splits,
    *,
    lams: list[float] | int | None = None,
    n_samples: int | None = None,
    on_member: Callable[[float, Tensor], object] | None = None,
) -> Path:
    """Returns the path of a run's family on one part of its data, as the run itself evaluates it.

    Args:
        run: the run; its configuration gives what is not given here.
        family: its family.
        part: ``valid`` or ``test``.
        task: its data.
        lams: complexity values, or how many.
        n_samples: draws of the posterior predictive.
        on_member: called with λ and the outputs of each member.
    """
    config = run.config
    return evaluate(
        family,
        task.part(part),
        lams=config["points"] if lams is None else lams,
        kind=task.kind,
        objective=config["objective"],
        n_data=family.n_data or len(task.train),
        n_samples=config["samples"] if n_samples is None else n_samples,
        seed=config["seed"],
        train=task.train.y,
        on_member=on_member,
    )
