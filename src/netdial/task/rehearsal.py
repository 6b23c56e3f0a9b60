"""Rehearsal: a network meets two examples before any work starts, so that what does not fit is said in words and at once.

``admit`` is the door for data to be evaluated, ``admit_training`` for data to be trained on, which may be a ``DataLoader``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netdial.core.errors import ConfigError, DataError, ShapeError, TraceError, warn
from netdial.core.inputs import AnyOneTensor, InputColumns, Packing, one_tensor, packing_of
from netdial.core.outputs import contents_kept, failing_in_words, modes_kept, without_gradients
from netdial.data.dataset import Dataset, match
from netdial.data.memory import Data, Loader, as_dataset, as_loader, is_loader
from netdial.data.memory.columns import check_columns
from netdial.data.memory.targets import NOT_COUNTED
from netdial.task.base import Task
from netdial.task.loss import Loss
from netdial.task.registry import deduce, dense_form, settle

_FAR, _LOOKED_AT = 30.0, 4096
"""Standard deviation of inputs, or mean over it, above which they are far from unit scale; and how many rows are looked at."""

_LARGE = 300.0
"""Root mean square of a single input above which it drowns all others."""


def admit(
    net: nn.Module,
    data: Data,
    kind: str | Task | None = None,
    known: Task | None = None,
    part: str = "data",
    columns: InputColumns | None = None,
) -> tuple[Dataset, Task]:
    """Returns data in memory, in the number type of a network that has been tried on two of the examples, and their task.

    Whole numbers are handed over as they are (tokens) to a network that takes them, else as floating point.

    Args:
        net: the network; its mode, its buffers and the random numbers stay as they are.
        data: in any form (see ``as_dataset``).
        kind: the task asked for, by name or as a value; by default ``known``, else the one that the targets suggest.
        known: the task that a family was trained for.
        part: what the data are, for messages.
        columns: the columns that the network was trained on, see ``Varying.columns``.

    Raises:
        DataError: the data cannot be used, or there are none.
        ConfigError, TraceError, ShapeError: as ``settle`` and ``rehearse``.
    """
    check_columns(columns, data, part)
    found, task = with_task(data, kind, known, part)
    if len(found) == 0:
        raise DataError(f"the {part} is empty; give at least one example")
    found = _in_type_of(net, in_order_of(net, found, part))
    like = _like(net, found.x)
    few = match(found.inputs(torch.arange(min(2, len(found)), device=found.x.device)), like)
    y = match(found.y[: len(few)], like)
    taken, outputs = _try(net, few, task, _counted(task, found.y, part), y)
    if taken.dtype != few.dtype:
        found = replace(found, x=found.x.to(taken.dtype))
    return found, _seen(task, outputs, y, part, weighed=found.weight is not None)


def admit_training(
    net: nn.Module, data: Data, kind: str | Task | None = None, known: Task | None = None
) -> tuple[Dataset | Loader, Task]:
    """Returns training data and their task: a ``DataLoader`` stays one, checked; anything else is as for ``admit``."""
    part = "training part"
    loader = hold(data, part)
    if isinstance(loader, Dataset):
        found, task = admit(net, loader, kind, known, part)
        few = torch.arange(min(2, len(found)), device=found.x.device)
        _check_training(net, found.inputs(few), task)
        return found, task
    task = settle_task(kind, loader, known)
    loader = loader.suited(task.targets, packing=packing_of(net))
    first = loader.first()
    like = _like(net, first.x)
    few, y = match(first.x[:2], like), match(first.y[:2], like)
    taken, outputs = _try(net, few, task, _counted(task, first.y, part), y)
    task = _seen(task, outputs, y, part, weighed=first.weight is not None)
    _check_training(net, taken, task)
    return loader.suited(task.targets, taken.dtype, task.classes_of(outputs)), task


def advise(task: Task, data: Dataset | Loader) -> None:
    """Warns of training targets that are constant, and of targets or inputs far from unit scale, but for those of a loader."""
    if not isinstance(data, Dataset):
        return
    for advice in (task.advice(data.y), _input_advice(data)):
        if advice:
            warn(advice)


def _input_advice(data: Dataset) -> str:
    """Returns what to mend about inputs that are far from unit scale; empty if there is nothing, or they are several."""
    several = data.packing is not None and data.packing.is_several
    if several or not data.x.is_floating_point() or len(data) < 2:
        return ""
    x = data.inputs(torch.arange(min(_LOOKED_AT, len(data)), device=data.x.device))
    lines = x.double().flatten(1)
    mean, std = lines.mean(0), lines.std(0)
    there = std > 0
    if not bool(there.any()):
        return ""
    middle, spread = mean[there].abs().median(), std[there].median()
    said = f"inputs have mean {float(middle):.3g} and standard deviation {float(spread):.3g} (medians over inputs)"
    if 1 / _FAR <= spread <= _FAR and middle <= _FAR * spread:
        worst = int(lines.square().mean(0).argmax())
        alone = lines[:, worst]
        if alone.square().mean().sqrt() <= _LARGE:
            return ""
        if bool((alone == alone[0]).all()):
            return (
                f"input {worst} is {float(alone[0]):.3g} in each row, as {x.dtype} holds it, and drowns all others; leave "
                "it out, or standardise it in double precision if it differs there"
            )
        said = f"input {worst} has mean {float(mean[worst]):.3g} and standard deviation {float(std[worst]):.3g}"
    return (
        f"{said}; learning "
        "rates, penalties and priors are of unit scale, so standardise inputs ((x - mean) / std), or use "
        "FamilyClassifier, FamilyRegressor or a table, which do it"
    )


def _seen(task: Task, outputs: Tensor, targets: Tensor, part: str, *, weighed: bool) -> Task:
    """Returns the task with what outputs of a few examples tell of it."""
    task = task.seen(outputs, targets)
    if weighed and isinstance(task, Loss) and task.whole:
        raise DataError(
            f"{part}: the examples have weights, and the loss gives one number for a batch; let it give one for each example "
            "(reduction='none'), or leave the weights out"
        )
    return task


def suited(net: nn.Module, data: Dataset | Loader) -> nn.Module:
    """Returns a network as one from one tensor to one tensor, if its inputs are several or it gives something else.

    Args:
        net: the network; it is not changed, and shares its layers with what is returned.
        data: training data, held (``hold``).

    Raises:
        ConfigError: the network was made for other inputs.
    """
    first = (
        data.select(torch.arange(min(2, len(data)))) if isinstance(data, Dataset) else data.first()
    )
    x = first.inputs() if isinstance(first, Dataset) else first.x[:2]
    return adapted(net, x, first.packing) if len(x) else net


def adapted(net: nn.Module, x: Tensor, packing: Packing | None) -> nn.Module:
    """Returns a network as one from one tensor to one tensor, if it has to be; arguments as of ``suited``.

    It takes inputs by name in the order of its own arguments; ``in_order_of`` brings data into that order.
    """
    if isinstance(net, AnyOneTensor):
        return one_tensor(net, packing)
    taken = None if packing is None else packing.taken_by(net.forward)
    if taken is not None:  # a call by position means the same
        return one_tensor(net, taken)
    if any(is_lazy(part) for part in (*net.parameters(), *net.buffers())):
        return net  # a run would give it its shape
    found = [_in_mode(net, x, training=mode) for mode in (False, True)]
    return net if all(isinstance(part, Tensor | None) for part in found) else one_tensor(net, None)


def _in_mode(net: nn.Module, x: Tensor, *, training: bool) -> Any:
    """Returns what a network gives in a mode; None if it fails, which the rehearsal says."""
    try:
        with (
            contents_kept(net),
            modes_kept(net),
            without_gradients(),
            torch.random.fork_rng(devices=[]),
        ):
            return net.train(training)(match(x.clone(), _like(net, x)))
    except Exception:
        return None


def in_order_of(net: nn.Module, data: Dataset, part: str = "data") -> Dataset:
    """Returns data whose several inputs lie in their tensor as a network takes them; by name, they may come in any order.

    Raises:
        DataError: they are others than those that the network was made for.
    """
    wanted = packing_of(net)
    if data.packing is None or (wanted is not None and wanted.fits(data.packing)):
        return data
    if wanted is None and not data.packing.is_several:
        return replace(data, packing=None)
    if wanted is None:
        raise DataError(
            f"{part}: several inputs, {data.packing}; network {type(net).__name__} takes one tensor; give them as one"
        )
    return replace(data, x=wanted.of(data.x, data.packing, part), packing=wanted)


def hold(data: Data, part: str = "training part") -> Dataset | Loader:
    """Returns training data not yet tried on a network: a ``DataLoader`` as a ``Loader``, others in memory."""
    if isinstance(data, Loader):
        return data
    return as_loader(data, part) if is_loader(data) else as_dataset(data, part=part)


def with_task(
    data: Data, kind: str | Task | None = None, known: Task | None = None, part: str = "data"
) -> tuple[Dataset, Task]:
    """Returns data in memory and their task, the targets checked against it; arguments are those of ``admit``.

    Examples in which no place counts are no observations, and left out. Targets that were standardised by themselves, as each
    part by its own mean, are brought into the units of the task.
    """
    held = as_dataset(data, part=part)
    task = settle_task(kind, held, known)
    found = as_dataset(held, task.targets, part)
    found = found.in_units(getattr(task, "scale", None))
    if task.targets == "class maps" and len(found):
        counted = (found.y != NOT_COUNTED).flatten(1).any(dim=1)
        found = found if not bool(counted.any()) or bool(counted.all()) else found.select(counted)
    if len(found):
        _counted(task, found.y, part)
    return found, task


def settle_task(kind: str | Task | None, data: Dataset | Loader, known: Task | None = None) -> Task:
    """Returns the task to work with: the one asked for or known, else the one that the targets suggest.

    Raises:
        ConfigError: the task is unknown, or another than the known one.
    """
    y = data.y if isinstance(data, Dataset) else data.first().y
    task = deduce(y) if kind is None and known is None else settle(kind, known)
    if not isinstance(kind, Task) and known is None:
        task = dense_form(task, y)
    return task.in_units(data.target) if isinstance(data, Dataset) else task


def rehearse(
    net: nn.Module, x: Tensor, task: Task, n_outputs: int, targets: Tensor | None = None
) -> Tensor:
    """Refuses a network that does not turn these inputs into outputs that can be scored.

    Args:
        net: the network; its mode, what it holds and the random numbers stay as they are.
        x: a few inputs ``[B, ...]`` as it will see them.
        task: what the outputs are to predict.
        n_outputs: classes, of which the network may know more; or targets.
        targets: of these inputs, where they are there.

    Returns:
        The outputs.

    Raises:
        ConfigError: it has no parameters.
        TraceError: it fails on the inputs, or does not return one tensor.
        ShapeError: the outputs have the wrong shape.
    """
    name = type(net).__name__
    if not any(True for _ in net.parameters()):
        raise ConfigError(f"network {name}: has no parameters, so there is nothing to train")
    with (
        contents_kept(net),
        modes_kept(net),
        without_gradients(),
        torch.random.fork_rng(devices=[]),
        failing_in_words(net, x),
    ):
        out: Any = net.eval()(x)
    if not isinstance(out, Tensor):
        raise TraceError(
            f"network {name}: returned a {type(out).__name__}, expected one tensor of outputs; "
            "wrap it in a module that returns the tensor to be scored"
        )
    if not (out.is_floating_point() or out.is_complex()):
        raise TraceError(
            f"network {name}: its output (of several, the first) is of {out.dtype}, through which no gradient leads; return "
            "what is chosen or rounded as it was before, such as scores in place of their argmax"
        )
    due = f"one for each of the {len(x)} examples" if not out.ndim or len(out) != len(x) else ""
    due = (task.misfit(out, targets, n_outputs) if out.ndim else "") or due
    if due:
        raise ShapeError(
            f"network {name}: gives outputs of shape {list(out.shape)} for {len(x)} examples, expected {due}"
        )
    return out.detach()


def _check_training(net: nn.Module, x: Tensor, task: Task) -> None:
    """Refuses a network whose outputs have other shapes in training, which no loss but one of the user's own can take."""
    gives = [_in_mode(net, x, training=mode) for mode in (True, False)]
    shapes = [list(part.shape) for part in gives if part is not None]
    if not isinstance(task, Loss) and len(shapes) == 2 and shapes[0] != shapes[1]:
        raise ShapeError(
            f"network {type(net).__name__}: gives outputs of shape {shapes[0]} in training and {shapes[1]} in evaluation; "
            "leave out what training adds (deep supervision, say), or give a loss of your own, loss="
        )


def _counted(task: Task, y: Tensor, part: str) -> int:
    """Returns how many outputs targets ask for; what is wrong with them is said with the name of the part."""
    try:
        return task.count(y)
    except DataError as error:
        raise DataError(f"{part}: {error}") from None


def _try(
    net: nn.Module, x: Tensor, task: Task, n_outputs: int, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Rehearses; returns the inputs in the type in which the network takes them, and the outputs."""
    like = _like(net, x)
    x = x.to(like.device)
    try:
        return x, rehearse(net, x, task, n_outputs, targets)
    except TraceError as error:
        if x.is_floating_point() or not like.is_floating_point():
            raise
        try:
            return x.to(like.dtype.to_real()), rehearse(
                net, x.to(like.dtype.to_real()), task, n_outputs, targets
            )
        except TraceError:
            raise error from None


def _in_type_of(net: nn.Module, data: Dataset) -> Dataset:
    """Returns data whose floating-point numbers are of the type of a network's; memory is shared if they are already."""
    dtype = _like(net, data.x).dtype
    if not dtype.is_floating_point:
        return data
    names = ("x", "y", "shift", "scale", "weight")
    parts = {name: getattr(data, name) for name in names}
    return replace(
        data,
        **{n: p.to(dtype) for n, p in parts.items() if p is not None and p.is_floating_point()},
    )


def _like(net: nn.Module, x: Tensor) -> Tensor:
    """Returns the network's first floating-point parameter, whose type and device inputs get; else the inputs."""
    return next((p for p in net.parameters() if p.is_floating_point()), x)
