"""Losses of all that a network gives, ``loss(net(x), y)``, where that is more than one tensor.

Training works on one tensor of outputs. A loss function that takes what the network gives, in its dict, tuple or data class,
gets that: outputs lie in one tensor ``[B, F]`` (``core.inputs.outputs``), which is taken apart before the function is called.
A function that fails on all of it is one of the output that is scored, as ``torch.nn.functional.cross_entropy`` is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, first_line
from netdial.core.inputs import (
    AnyOneTensor,
    OutputLayout,
    PartedInputs,
    fixed,
    gives_all,
    packing_of,
    scored,
    scoring,
    structured,
    together,
    unfit,
)
from netdial.core.outputs import contents_kept, modes_kept, without_gradients
from netdial.data.dataset import Dataset
from netdial.data.memory import Loader
from netdial.task.base import Task
from netdial.task.loss import Loss, LossFunction
from netdial.task.own_loss import asked, few_rows
from netdial.task.rehearsal import suited


class AllOutputs(nn.Module):
    """A loss of (what a network gives, targets), as a function of (tensor ``[B, F]``, targets).

    Args:
        function: the user's.
        layout: how what the network gives lies in the tensor.
    """

    def __init__(self, function: LossFunction, layout: OutputLayout) -> None:
        super().__init__()
        self.function, self.layout = function, layout

    def forward(self, outputs: Tensor, targets: Tensor) -> Any:
        """Returns what the user's function gives."""
        return self.function(self.layout.apart(outputs), targets)


def taken_up(
    net: nn.Module,
    data: Dataset | Loader,
    kind: str | Task | None,
    loss: LossFunction | None,
    known: Task | None = None,
) -> tuple[str | Task | None, nn.Module]:
    """Returns the task that is asked for, and the network as one from one tensor to the tensor that the task is of.

    Args:
        net: the network, as its class is.
        data: what it is trained on, held (``hold``).
        kind: the task, by name or as a value.
        loss: or a loss function of (outputs, targets).
        known: the task that it was trained for.

    Raises:
        ConfigError: both were given, or the network was made for other inputs.
    """
    kind, net = asked(net, data, kind, loss, known), suited(net, data)
    kind = of_all(kind, net, data)
    return kind, counted(known if kind is None else kind, net)


def counted(kind: str | Task | None, net: nn.Module) -> nn.Module:
    """Returns a network that gives the tensor that a task is of: all outputs, or the scored one."""
    every = isinstance(kind, Loss) and isinstance(kind.function, AllOutputs)
    return scoring(net, every=every)


def asked_of(
    net: nn.Module,
    data: Dataset | Loader,
    kind: str | Task | None,
    loss: LossFunction | None,
    known: Task | None,
) -> str | Task | None:
    """Returns the task that is asked of the network of a family, which stays as it was trained; arguments as above."""
    kind = asked(net, data, kind, loss, known)
    return of_all(kind, net, data) if gives_all(net) else kind


def of_all(kind: str | Task | None, net: nn.Module, data: Dataset | Loader) -> str | Task | None:
    """Returns a task whose loss is of all outputs in one tensor, if its function takes them; others as they are.

    Raises:
        ConfigError: its function takes them, and they cannot lie in one tensor.
    """
    if not isinstance(kind, Loss) or kind.function is None or isinstance(kind.function, AllOutputs):
        return kind
    if not isinstance(net, AnyOneTensor) or (rows := few_rows(net, data)) is None:
        return kind
    x, y, given = rows
    packing = packing_of(net)
    if packing is not None and given is not None:
        x = packing.of(x, given, "training part")
    try:
        fewer = x[1:] if len(x) > 2 else x  # what has a row for each example has fewer
        first, other = _given_by(net, x, training=False), _given_by(net, fewer, training=True)
    except Exception:  # whatever is wrong is said by the rehearsal
        return kind
    if isinstance(first, Tensor):
        return kind
    layout, then = OutputLayout.of(first, len(x)), OutputLayout.of(other, len(fewer))
    alike = layout and then and layout.shapes == then.shapes and fixed(first) == fixed(other)
    if layout and alike:
        function = AllOutputs(kind.function, layout)
        if _works(function, first, y):
            return replace(kind, function=function)
    try:
        of_all = kind.function(first, y)
    except Exception as error:  # of the user's function: it is meant for one tensor
        return replace(kind, of_all=f"{type(error).__name__}: {first_line(error)}")
    if _is_same(kind.function, scored(structured(first)), y, of_all):
        return kind
    raise ConfigError(
        f"loss {kind.title}: takes all that network {type(net).__name__} gives, and "
        + unfit(first, other, (len(x), len(fewer)))
    )


def _given_by(net: Any, x: Tensor, *, training: bool) -> Any:
    """Returns what a network gives, as its class does."""
    packing = packing_of(net)
    args, kwargs = packing.call(PartedInputs(packing)(x)) if packing is not None else ((x,), {})
    with (
        contents_kept(net),
        modes_kept(net),
        without_gradients(),
        torch.random.fork_rng(devices=[]),
    ):
        return net.train(training).whole(*args, **kwargs)


def _is_same(function: LossFunction, outputs: Tensor, y: Tensor, of_all: Any) -> bool:
    """Returns whether a function gives for the scored output what it gives for all."""
    try:
        return torch.equal(function(outputs, y), of_all)
    except Exception:  # of the user's function
        return False


def _works(function: AllOutputs, found: Any, y: Tensor) -> bool:
    """Returns whether a function gives a loss, with a gradient, for what a network gives."""
    outputs = together(found).requires_grad_()
    try:
        with torch.enable_grad():
            loss = function(outputs, y)
    except Exception:  # of the user's function: it is meant for one tensor
        return False
    return isinstance(loss, Tensor) and loss.requires_grad
