"""Modules that go by random numbers in training, as those that leave layers out or mask positions, and a way around them.

A graph has one way through the code, so which layers are left out cannot be drawn anew each time. Such modules *stand still*:
their own code goes as in evaluation when they train, while all parts in them train. Their dropout, which a graph can draw,
stays on. The user is told so.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from netdial.channels.nodes import OWN
from netdial.channels.trace.answers.draws import DRAWS, stopped_at_draws
from netdial.channels.trace.answers.questions import SHOWN, Place
from netdial.channels.trace.state import parameters_kept
from netdial.core.errors import TraceWarning, warn
from netdial.core.outputs import contents_kept, modes_kept

_DRAWN: tuple[Any, ...] = (
    torch.rand,
    torch.rand_like,
    torch.randn,
    torch.randint,
    torch.randperm,
    torch.bernoulli,
)
_DRAWN += (Tensor.bernoulli, Tensor.bernoulli_, Tensor.uniform_, Tensor.random_, Tensor.normal_)
_ASKED: tuple[Any, ...] = (Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__)
_ASKED += (Tensor.item, Tensor.tolist, Tensor.numpy)
"""What makes a number of Python of a tensor, by which code can go."""
_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout)


def by_chance(net: nn.Module, example: Tensor) -> dict[str, Place]:
    """Returns the modules whose code goes by random numbers in training, by name, and where it draws or asks for them.

    Modules of one class are all there or none. There are none if such code goes by random numbers in evaluation as well, or the
    network does not run.
    """
    found: dict[str, Place] = {}
    while True:
        try:
            with (
                modes_kept(net),
                contents_kept(net),
                parameters_kept(net),
                standing_still(net, found),
                torch.no_grad(),
            ):
                net.train()
                with stopped_at_draws(net, by_torch=False), _Stopping():
                    net(example.clone())
        except Exception as error:
            kind = _drawing(error)
            names = [name for name, part in net.named_modules() if type(part) is kind]
            if kind is None or not names or names[0] in found:
                return {}
            found |= dict.fromkeys(names, _place(error))
        else:
            return found


@contextmanager
def standing_still(net: nn.Module, names: Collection[str]) -> Iterator[None]:
    """Lets modules of some names go as in evaluation whenever the network is put into training, but for their dropout."""
    training: dict[int, bool] = {}
    parts = [net.get_submodule(name) for name in names]
    for part in parts:
        vars(part)["train"] = partial(_train, part, training)
    try:
        if parts:
            with _Dropping(training):
                yield
        else:
            yield
    finally:
        for part in parts:
            del vars(part)["train"]


def tell_still(net: nn.Module, found: Mapping[str, Place]) -> None:
    """Warns of the modules that stand still."""
    places = {(type(net.get_submodule(name)).__name__, *at) for name, at in found.items()}
    lines = [f"{kind}, {Path(file).name}:{line}" for kind, file, line in sorted(places)]
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    shown = "; ".join(lines[:SHOWN]) + more
    warn(
        f"network {type(net).__name__}: draws random numbers in training that a graph cannot draw ({shown}), as to leave out "
        "layers or to mask positions; what is made of it does there what the network does in evaluation, dropout aside",
        TraceWarning,
    )


def _train(part: nn.Module, training: dict[int, bool], mode: bool = True) -> nn.Module:
    """Puts a module into a mode, all parts in it, but not the module itself."""
    type(part).train(part, mode)
    part.training, training[id(part)] = False, mode
    return part


def _drawing(error: Exception) -> type[nn.Module] | None:
    """Returns the class of the innermost module whose code was stopped as it drew a number; None for other errors."""
    if str(error) != DRAWS:
        return None
    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [owner for owner in frames if isinstance(owner, nn.Module)]
    return type(inside[-1]) if inside else None


def _place(error: Exception) -> Place:
    """Returns the file and line of the user's code where an error arose."""
    tb = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in tb if not frame.filename.startswith(OWN)][-1]
    return last.filename, last.lineno or 0


class _Stopping(TorchFunctionMode):
    """Raises ``ValueError`` in code that goes by random numbers of torch."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: dict[int, Any] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what a function of torch gives."""
        given = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
        is_drawn = bool(given) and all(id(part) in self._drawn for part in given)
        if is_drawn and func in _ASKED:
            raise ValueError(DRAWS)
        found = func(*args, **(kwargs or {}))
        if is_drawn or func in _DRAWN:
            self._drawn[id(found)] = found
        return found


class _Dropping(TorchFunctionMode):
    """Keeps functional dropout on in modules that stand still.

    Args:
        training: id of such a module -> whether it would train.
    """

    def __init__(self, training: Mapping[int, bool]) -> None:
        super().__init__()
        self._training = training

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what a function of torch gives."""
        if func in _DROPOUTS and self._training.get(_under_way(), False):
            kwargs = {**(kwargs or {}), "training": True}
        return func(*args, **(kwargs or {}))


def _under_way() -> int:
    """Returns the id of the innermost module whose code is under way."""
    frame = sys._getframe()
    while frame.f_back is not None and not isinstance(frame.f_locals.get("self"), nn.Module):
        frame = frame.f_back
    return id(frame.f_locals.get("self"))
