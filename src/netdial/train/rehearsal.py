"""Rehearsal: a network meets two examples before it is trained, so that what does not fit is said in words and at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, DataError, NetdialError, ShapeError, TraceError
from netdial.data.dataset import Dataset
from netdial.task import Task, deduce, settle


def settle_task(kind: str | Task | None, data: Any, known: Task | None = None) -> Task:
    """Returns the task of a training, from what was asked for, what is known of a family, and the data.

    Args:
        kind: name of a task, or a ``Task``; by default that of the family, else the one that the targets suggest.
        data: training part: a ``Dataset``, a pair of tensors, or a ``DataLoader``, of which the first example is looked at.
        known: the task that the family was trained for.

    Raises:
        ConfigError: the task is unknown, or another than that of the family.
        DataError: the targets are not of the task.
    """
    if isinstance(data, (tuple, Dataset)):
        return settle(kind, known, Dataset.of(data).y)
    task = settle(kind, known)
    return task if kind is not None or known is not None else _task_of_loader(data) or task


def _task_of_loader(loader: Any) -> Task | None:
    """Returns the task of a loader's first example; None if it has no first example that can be looked at by itself."""
    try:
        with torch.random.fork_rng(devices=[]):
            target = torch.as_tensor(loader.dataset[0][1])
    except (
        Exception
    ):  # any code of the user's may be in there; the loader's own error comes when it is read
        return None
    return deduce(target[None])


def rehearse_on(net: nn.Module, data: Any, task: Task) -> None:
    """Refuses data that are empty or have no such targets, and a network that does not fit them; see ``rehearse``.

    A ``DataLoader`` is left alone: to read it would move its random numbers.

    Raises:
        DataError: there are no examples, or the targets are of another kind.
    """
    if not isinstance(data, (tuple, Dataset)):
        return
    data = Dataset.of(data)
    if len(data) == 0:
        raise DataError("the training part is empty; give at least one example")
    x = data.inputs(torch.arange(min(2, len(data)), device=data.x.device))
    like = next(net.parameters(), x)
    double = x.is_floating_point() and like.dtype == torch.float64
    x = x.to(like.device, torch.float64 if double else None)
    rehearse(net, x, task, task.count(data.y))


def rehearse(net: nn.Module, x: Tensor, task: Task, n_outputs: int) -> None:
    """Refuses a network that does not turn these inputs into outputs that can be scored.

    Args:
        net: the network; its mode and the random numbers stay as they are.
        x: a few inputs ``[B, ...]`` as it will see them.
        task: what the outputs are to predict.
        n_outputs: classes, of which the network may know more; or targets.

    Raises:
        ConfigError: it has no parameters.
        TraceError: it fails on the inputs, or does not return one tensor.
        ShapeError: the outputs have the wrong shape.
    """
    name = type(net).__name__
    if not any(True for _ in net.parameters()):
        raise ConfigError(f"network {name}: has no parameters, so there is nothing to train")
    training = net.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            out: Any = net.eval()(x)
    except NetdialError:
        raise
    except Exception as error:
        raise TraceError(
            f"network {name}: fails on inputs of shape {list(x.shape)} ({type(error).__name__}: {error}); "
            "check that it takes data of this shape"
        ) from error
    finally:
        net.train(training)
    if not isinstance(out, Tensor):
        raise TraceError(
            f"network {name}: returned a {type(out).__name__}, expected one tensor of outputs; "
            "wrap it in a module that returns the tensor to be scored"
        )
    flat = out.ndim == 2 and len(out) == len(x)
    if not flat or not task.fits(out.shape[1], n_outputs):
        raise ShapeError(
            f"network {name}: gives outputs of shape {list(out.shape)} for {len(x)} examples, expected "
            f"[{len(x)}, {n_outputs}] ({n_outputs} {'classes' if task.targets == 'classes' else 'targets'})"
        )
