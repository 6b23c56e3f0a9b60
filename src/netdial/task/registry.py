"""Registered tasks: found by name, by stored settings, or by the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from netdial.core.errors import ConfigError, DataError
from netdial.core.registry import Registry
from netdial.data import Splits
from netdial.task.base import Task
from netdial.task.loss import Loss

TASKS: Registry[type[Task]] = Registry("task")


def metric_names() -> tuple[str, ...]:
    """Returns the names of the metrics of all registered tasks."""
    return tuple(dict.fromkeys(name for task in TASKS for name in TASKS[task].METRICS))


def is_higher_better(metric: str) -> bool:
    """Returns whether more of a metric of any registered task is better.

    >>> is_higher_better("auc"), is_higher_better("nll")
    (True, False)
    """
    found = [TASKS[task].METRICS.get(metric) for task in TASKS]
    return any(each is not None and each.higher for each in found)


def restore(settings: Mapping[str, Any]) -> Task:
    """Returns the task that ``Task.settings`` described.

    Raises:
        ConfigError: the task is unknown, or its settings do not fit.
    """
    fields = {key: value for key, value in settings.items() if key != "name"}
    name = str(settings.get("name"))
    made = Loss if name == Loss.name else TASKS[name]
    unexpected = set(fields) - {each.name for each in dataclass_fields(made)}
    try:
        if unexpected:
            raise ValueError(f"no field {', '.join(sorted(unexpected))}")
        found: Task = _reader(made).validate_python(fields)
        return found
    except ValueError as error:  # pydantic's is one
        raise ConfigError(f"task {made.name!r}: {' '.join(str(error).split())}") from None


@cache
def _reader(made: type[Task]) -> TypeAdapter[Task]:
    """Returns what checks the settings of a task; making one takes milliseconds."""
    return TypeAdapter(made)


def named(kind: str | Task) -> Task:
    """Returns a task as it is, or by its name.

    Raises:
        ConfigError: the name is unknown.
    """
    return kind if isinstance(kind, Task) else TASKS[kind]()


def deduce(targets: Tensor) -> Task:
    """Returns the task that targets suggest: columns of numbers a regression, everything else a classification.

    Targets of the shape of images or texts suggest the dense forms of both.

    Raises:
        DataError: numbers that are classes as other libraries write them, one-hot rows, a column of 0 and 1, labels or masks:
            as numbers to fit they are hardly meant.

    >>> import torch
    >>> deduce(torch.tensor([0, 2, 1])).name, deduce(torch.zeros(3, 1)).name
    ('classification', 'regression')
    """
    numbers = targets.is_floating_point() and targets.ndim >= 2
    if numbers and len(targets) > 1:
        _refuse_classes(targets)
    return dense_form(TASKS["regression" if numbers else "classification"](), targets)


def _refuse_classes(targets: Tensor) -> None:
    """Refuses numbers ``[N, T]`` or ``[N, ...]`` that are 0 and 1 alone: one-hot rows, two classes, labels or masks.

    Raises:
        DataError: they are.
    """
    ones = targets == 1
    if not ones.any() or ones.all() or not bool((ones | (targets == 0)).all()):
        return
    shape = f"targets {list(targets.shape)} of {targets.dtype}"
    own = "loss=torch.nn.functional.binary_cross_entropy_with_logits"
    columns = targets.shape[1] if targets.ndim == 2 else 0
    if columns > 1 and bool((ones.sum(dim=1) == 1).all()):
        raise DataError(
            f"{shape} are one-hot rows; for classes give their indices, y.argmax(1), to fit them as numbers kind='regression'"
        )
    if columns == 1:
        raise DataError(
            f"{shape} are 0 and 1 only; for two classes give y[:, 0].long() and a network of two outputs, or your own loss "
            f"({own}); to fit them as numbers kind='regression'"
        )
    what = "several labels of an example" if columns else "a mask"
    raise DataError(
        f"{shape} are 0 and 1 only; for {what} give the loss that is meant ({own}); to fit them as numbers kind='regression'"
    )


def task_of(splits: Splits) -> Task:
    """Returns the task of a data set, in the units of its targets."""
    return named(splits.kind).in_units(splits.train.target)


def dense_form(task: Task, targets: Tensor) -> Task:
    """Returns the task of a class, or of numbers, at each place, if targets are such and the task is asked for by its kind."""
    places = targets.ndim > 2 or (
        targets.ndim == 2 and targets.shape[1] > 1 and not targets.is_floating_point()
    )
    if places and task == TASKS["classification"]() and not targets.is_floating_point():
        return TASKS["dense-classification"]()
    if targets.ndim > 2 and task == TASKS["regression"]():
        return TASKS["dense-regression"]()
    return task


def settle(
    kind: str | Task | None, known: Task | None = None, targets: Tensor | None = None
) -> Task:
    """Returns the task to work with: the one known of a family, else the one asked for, else the one of the targets.

    Args:
        kind: what was asked for; None asks for nothing.
        known: the task that a family was trained for, if it is known.
        targets: what will be scored, ``[N]`` or ``[N, T]``; checked against the task.

    Raises:
        ConfigError: the task asked for is unknown, or another than the known one.
        DataError: the targets are not of the task.
    """
    asked = None if kind is None else named(kind)
    same = known is None or asked is None or asked.name == known.name
    if not same and known is not None and isinstance(kind, str):
        same = f"dense-{kind}" == known.name
    if asked is not None and known is not None and not same:
        raise ConfigError(
            f"kind={asked.name!r}, but the family was trained for {known.name}; leave kind out, or give the family that "
            f"was trained for {asked.name}"
        )
    task = (asked if isinstance(kind, Task) else None) or known or asked
    if task is None:
        task = TASKS["classification"]() if targets is None else deduce(targets)
    if targets is not None and len(targets):
        task.check(targets)
    return task
