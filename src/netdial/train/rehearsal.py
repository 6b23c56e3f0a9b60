"""Rehearsal: a network meets two examples before it is trained, so that what does not fit is said in words and at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, DataError, NetdialError, ShapeError, TraceError
from netdial.data.dataset import Dataset


def rehearse_on(net: nn.Module, data: Any, kind: str) -> None:
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
    rehearse(net, x, kind, count_outputs(data.y, kind))


def rehearse(net: nn.Module, x: Tensor, kind: str, n_outputs: int) -> None:
    """Refuses a network that does not turn these inputs into outputs that can be scored.

    Args:
        net: the network; its mode and the random numbers stay as they are.
        x: a few inputs ``[B, ...]`` as it will see them.
        kind: ``classification`` or ``regression``.
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
    more = kind == "classification"
    flat = out.ndim == 2 and len(out) == len(x)
    if not flat or out.shape[1] < n_outputs or (out.shape[1] > n_outputs and not more):
        raise ShapeError(
            f"network {name}: gives outputs of shape {list(out.shape)} for {len(x)} examples, expected "
            f"[{len(x)}, {n_outputs}] ({n_outputs} {'classes' if more else 'targets'})"
        )


def count_outputs(y: Tensor, kind: str) -> int:
    """Returns how many outputs targets ask for: classes up to the largest one seen, or columns.

    Raises:
        DataError: the targets are not class indices ``[N]``, or not columns of numbers ``[N, T]``.
    """
    if kind == "classification":
        if y.ndim != 1 or y.dtype not in (torch.int64, torch.uint8) or int(y.min()) < 0:
            raise DataError(
                f"targets {list(y.shape)} of {y.dtype} are no classes; give int64 [N] from 0 on, or kind='regression'"
            )
        return int(y.max()) + 1
    if y.ndim != 2 or not y.is_floating_point():
        raise DataError(
            f"targets {list(y.shape)} of {y.dtype} are no columns of numbers; give floating point [N, T], for example "
            "y[:, None], or kind='classification'"
        )
    return y.shape[1]
