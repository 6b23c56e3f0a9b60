"""Random numbers that code draws for itself while it is followed: a graph would go by those ever after.

Torch's, Python's and NumPy's own generators are watched, and those that a network or the code of its classes holds.
"""

from __future__ import annotations

import functools
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from netdial.channels.nodes import OWN, reached

DRAWS = "draws a random number, and a graph would go by that one ever after"
BY_OTHERS = (
    f"{DRAWS} (see random.random(), numpy.random); draw it by torch, and choose by torch.where"
)
_KINDS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
_TORCHS = (*OWN, functools.__file__)
_DEPTH = 2
"""Through how many functions generators are looked for."""

Result = TypeVar("Result")


def drawn(
    run: Callable[[], Result], net: nn.Module, *, by_torch: bool = True
) -> tuple[Result, bool]:
    """Returns what something gives, and whether it drew random numbers; all generators are left as they were.

    Args:
        run: what it is.
        net: the network that runs.
        by_torch: whether generators of torch count.
    """
    with _generators_kept(net, by_torch) as moved:
        return run(), moved()


@contextmanager
def stopped_at_draws(net: nn.Module, *, by_torch: bool = True) -> Iterator[None]:
    """Raises ``ValueError`` in the code of a network that draws a random number while it runs, where it does."""
    with _generators_kept(net, by_torch) as moved:

        def stop(frame: Any, event: str, found: Any) -> None:
            if event == "return":
                frame = frame.f_back
            elif event != "c_return":
                return
            # in torch's code, and in the wrappers that it makes, is too often to look at states, and no line of the network's
            if frame and not frame.f_code.co_filename.startswith(_TORCHS) and moved():
                raise ValueError(DRAWS)

        before = sys.getprofile()
        sys.setprofile(stop)
        try:
            yield
        finally:
            sys.setprofile(before)


@contextmanager
def _generators_kept(net: nn.Module, by_torch: bool) -> Iterator[Callable[[], bool]]:
    """Puts generators back; yields what tells whether they moved."""
    sources: list[Any] = [random, np.random, torch.default_generator, *_held(net)]
    before = [_state(source) for source in sources]
    counted = [
        (source, _comparable(state))
        for source, state in zip(sources, before, strict=True)
        if by_torch or not isinstance(source, torch.Generator)
    ]
    try:
        yield lambda: any(_comparable(_state(source)) != state for source, state in counted)
    finally:
        for source, state in zip(sources, before, strict=True):
            if hasattr(source, "setstate"):
                source.setstate(state)
            elif hasattr(source, "set_state"):
                source.set_state(state)
            else:
                source.bit_generator.state = state


def _state(source: Any) -> Any:
    """Returns the state of a generator."""
    if hasattr(source, "getstate"):
        return source.getstate()
    return source.get_state() if hasattr(source, "get_state") else source.bit_generator.state


def _comparable(state: Any) -> bytes:
    return state.numpy().tobytes() if isinstance(state, Tensor) else pickle.dumps(state)


def _held(net: nn.Module) -> list[Any]:
    """Returns the generators that a network, its classes' code and what that code calls by name hold."""
    parts = [part for module in net.modules() for part in vars(module).values()]
    kinds = {kind for module in net.modules() for kind in type(module).__mro__}
    parts += [part for kind in kinds for part in vars(kind).values()]
    found: dict[int, Any] = {}
    seen: set[int] = set()
    for _ in range(_DEPTH + 1):
        new = [part for part in parts if id(part) not in seen]
        seen |= {id(part) for part in new}
        found |= {id(part): part for part in new if isinstance(part, _KINDS)}
        parts = [inside for part in new if not _is_foreign(part) for inside in reached(part)]
    return [part for part in found.values() if not isinstance(part, random.SystemRandom)]


def _is_foreign(part: Any) -> bool:
    """Whether a function is torch's or netdial's."""
    return isinstance(part, FunctionType) and part.__code__.co_filename.startswith(OWN)
