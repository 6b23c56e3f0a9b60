"""Problem of a run: a network and its data, named by plain values that a run folder can hold.

Whatever can be wrong with the two together is found here, before a run folder is made: the network is run on two
examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, DataError, unknown
from netdial.data import Splits, load_data, load_user
from netdial.data.dataset import PARTS
from netdial.data.memory.weights import ClassWeight
from netdial.data.tables.options import TableOptions, is_table
from netdial.jobs.presets import default_model
from netdial.nets import build
from netdial.runs.run import Run
from netdial.task import Task, named, task_of
from netdial.task.loss import Loss
from netdial.task.own_loss import asked
from netdial.task.registry import deduce, dense_form
from netdial.task.rehearsal import in_order_of, rehearse, suited
from netdial.train.config import TrainConfig

SPLIT_OPTIONS = ("valid", "test", "split_seed")
"""Choices that say which rows go to which part, of any data."""

LOAD_OPTIONS = ("target", "kind", *SPLIT_OPTIONS, *TableOptions.model_fields)
"""Choices that concern the data alone; they are stored together under ``load``."""

Config = TypeVar("Config", bound=TrainConfig)


@dataclass(frozen=True)
class Problem:
    """A network and its data.

    Attributes:
        net: freshly initialised.
        model: its specification, or the class of a user's own module.
        task: the data.
    """

    net: nn.Module
    model: str
    task: Splits

    def facts(self) -> dict[str, Any]:
        """Returns what a run folder says about the problem, as plain JSON."""
        task, predicted = self.task, named(self.task.kind)
        return {
            "kind": task.kind,
            "metric": predicted.metric,
            "proper": predicted.proper,
            "input_shape": list(task.input_shape),
            "input_type": str(example(task).dtype).removeprefix("torch."),
            "n_outputs": task.n_outputs,
            **(
                {
                    "units": ", ".join(task.source.get("targets", [])),
                    "error_unit": task_of(task).unit(predicted.proper),
                }
                if predicted.targets == "numbers"
                else {}
            ),
            "n_train": len(task.train),
            "n_valid": len(task.valid),
            "n_test": len(task.test),
            "files": _digests(task.source.get("files", [])),
        }


def _digests(files: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the SHA-256 of files by name; those whose name another one has got a number.

    >>> _digests([{"name": "a.csv", "sha256": "0"}, {"name": "a.csv", "sha256": "1"}])
    {'a.csv': '0', 'a.csv (2)': '1'}
    """
    found: dict[str, str] = {}
    for file in files:
        name, number = file["name"], 1
        while name in found:
            number += 1
            name = f"{file['name']} ({number})"
        found[name] = file["sha256"]
    return found


def reading_lines(splits: Splits) -> list[str]:
    """Returns how a table was read: a line for each column, and one for each remark."""
    if splits.schema is None or "columns" not in splits.source:
        return []
    rows = splits.schema.describe()
    wide, kinds = (max(len(row[i]) for row in rows) for i in range(2))
    lines = [
        f"  {name:<{min(wide, 30)}}  {what:<{kinds}}  {how}".rstrip() for name, what, how in rows
    ]
    return [*lines, *(f"  note: {note}" for note in splits.source["notes"])]


def by_index(config: Config, splits: Splits) -> Config:
    """Returns settings whose weights of classes, given by name, are by index.

    Raises:
        ConfigError: there is no class of that name.
    """
    return config.model_copy(update={"class_weight": weights_by_index(config.class_weight, splits)})


def weights_by_index(weights: ClassWeight, splits: Splits) -> ClassWeight:
    """Returns weights of classes by index, where they are given by name; errors are those of ``by_index``."""
    if not isinstance(weights, Mapping) or not splits.classes:
        return weights
    place = {name: str(index) for index, name in enumerate(splits.classes)}
    for name in weights:
        if name not in place:
            raise unknown("class in class_weight", name, place)
    return {place[name]: value for name, value in weights.items()}


def is_function(data: str) -> bool:
    """Returns whether ``data`` names a function of the user's, ``package.module:function``."""
    return ":" in data and not is_table(data)


def load_problem(
    data: str,
    *,
    options: dict[str, Any],
    model: str | None = None,
    data_dir: str | Path | None = None,
    seed: int = 0,
) -> Problem:
    """Returns the network and the data of a run.

    Args:
        data: name of a data set, a table, or a user's function.
        options: values for ``LOAD_OPTIONS``; absent or None means the data's own default.
        model: specification of the network; None for the preset, or for the module that a user's function gives.
        data_dir: folder of data files.
        seed: seed of the network's initial weights.

    Raises:
        NetdialError: the data or the network cannot be used, or do not fit each other.
    """
    if is_function(data):
        given, split_seed, asked = _told(options)
        problem = _from_function(data, given, model, split_seed, seed)
        task = _of_task(problem.task, asked)
    else:
        model = model or default_model(data)
        flat = model.partition(":")[0] in ("mlp", "linear")
        task = load_parts(data, options, data_dir, flat=flat)
        net = build(model, input_shape=task.input_shape, n_outputs=task.n_outputs, seed=seed)
        problem = Problem(net, model, task)
    problem = replace(problem, task=task)
    rehearse(problem.net, example(task), named(task.kind), task.n_outputs, task.train.y[:2])
    return problem


def load_parts(
    data: str,
    options: Mapping[str, Any],
    data_dir: str | Path | None = None,
    *,
    flat: bool = False,
) -> Splits:
    """Returns the data of a run, read and split as its ``options`` say; arguments as of ``load_problem``.

    Args:
        data: name of a data set, a table, or a user's function.
        options: values for ``LOAD_OPTIONS``.
        data_dir: folder of data files.
        flat: images as vectors.
    """
    given, split_seed, asked = _told(options)
    parts = load_data(data, data_dir=data_dir, seed=split_seed, flat=flat, **given)
    return _of_task(parts, asked)


def _told(options: Mapping[str, Any]) -> tuple[dict[str, Any], int, Task | None]:
    """Returns arguments of ``load_data`` among options, the seed of the split, and the task, None unless it is asked for."""
    given = {key: value for key, value in options.items() if value is not None}
    split_seed: int = given.pop("split_seed", 0)
    asked = named(given["kind"]) if "kind" in given else None
    if asked is not None:
        given["kind"] = (
            "classification" if asked.targets in ("classes", "class maps") else "regression"
        )
    return given, split_seed, asked


def _of_task(splits: Splits, asked: Task | None) -> Splits:
    """Returns data with the task that was asked for, and the outputs that it needs."""
    asked = asked and dense_form(asked, splits.train.y)
    if asked is None or splits.kind == asked.name:
        return splits
    return replace(splits, kind=asked.name, n_outputs=asked.outputs(splits.n_outputs))


def load_net(
    config: dict[str, Any], data_dir: str | Path | None = None, *, trust: bool = False
) -> nn.Module:
    """Returns the network of a run, whose weights do not matter; data are read only for a user's own function.

    Args:
        config: the run's configuration.
        data_dir: folder of data files.
        trust: whether a function that the configuration names may be called.

    Raises:
        ConfigError: it names one, and ``trust`` is not set.
    """
    if is_function(config["data"]):
        check_trust(config, trust=trust)
        return load_problem(config["data"], options=config["load"], data_dir=data_dir).net
    return build(config["model"], input_shape=config["input_shape"], n_outputs=config["n_outputs"])


def origin_of(run: Run) -> dict[str, Any]:
    """Returns what the file of a model says of its training: data, how they are split, kind of task, weights of classes."""
    config = run.config
    split = {name: at for name, at in config["load"].items() if name in SPLIT_OPTIONS}
    weights = {"class_weight": config["class_weight"]} if config.get("class_weight") else {}
    return {
        "data": config["data"],
        "kind": config["kind"],
        **({"split": split} if split else {}),
        **weights,
    }


def describe_net(run: Run) -> dict[str, Any]:
    """Returns what lets a model be loaded without the run folder; nothing for a user's own network."""
    if is_function(run.config["data"]):
        return {}
    shape, count = run.config["input_shape"], run.config["n_outputs"]
    return {"net": {"spec": run.config["model"], "input_shape": shape, "n_outputs": count}}


def check_trust(config: dict[str, Any], *, trust: bool) -> None:
    """Refuses to run code only because a run folder names it.

    Raises:
        ConfigError: the data of the run come from a function, and nobody said that it may be called.
    """
    if is_function(config["data"]) and not trust:
        raise ConfigError(
            f"the data of run {config['name']!r} come from the function {config['data']!r}: going on would import that module "
            "and call it. A run folder may be anybody's; if you know the function, add --trust (trust=True)"
        )


def example(task: Splits) -> Tensor:
    """Returns the first two training inputs as the network sees them."""
    return task.train.inputs(torch.arange(2))


def check_meant(data: str, net: nn.Module, task: Splits) -> None:
    """Refuses a network with a loss of its own, and classes written as numbers, where nobody said what the targets are.

    Raises:
        ConfigError: the network computes another loss than that of the task which its targets suggest.
        DataError: targets are numbers that are 0 and 1 alone.
    """
    if isinstance(asked(net, task.train, None, None), Loss):
        raise ConfigError(
            f"data {data!r}: network {type(net).__name__} computes a loss of its own from labels, and commands train by that "
            f"of {task.kind}; train it in Python, nd.fit, or say that this is meant: --kind {task.kind}"
        )
    try:
        deduce(task.train.y)
    except DataError as error:
        raise DataError(f"data {data!r}: {error} (of a command: --kind regression)") from None


def _from_function(
    data: str, given: dict[str, Any], model: str | None, split_seed: int, seed: int
) -> Problem:
    kind = given.pop("kind", None)
    taken = [*given, *(["model"] if model is not None else [])]
    if taken:
        raise ConfigError(
            f"data {data!r} takes no {' and no '.join(taken)}: the function gives network and parts; leave it out"
        )
    net, task = load_user(data, kind=kind, seed=split_seed, start=seed)
    net = suited(net, task.train)
    parts: dict[str, Any] = {
        part: in_order_of(net, task.part(part), f"{data}, {part}") for part in PARTS
    }
    return Problem(net, type(net).__name__, replace(task, **parts))
