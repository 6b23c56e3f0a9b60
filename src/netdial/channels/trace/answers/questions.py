"""Questions that code asks of numbers it does not have while it is followed, and the answers that its graph goes by.

*Whether there are any* (``if mask.any():``) is answered by yes; what comes of that is tried afterwards (``tried.py``).
*Whether numbers are finite* (``if x.isinf().any():``) is answered as for finite ones. Such code protects numbers: what it does
with others is not in the graph, and the user is told so.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torch import Tensor, fx
from torch.overrides import TorchFunctionMode

from netdial.channels.nodes import name_of, user_line
from netdial.core.errors import TraceWarning, warn

Place = tuple[str, int]
"""File and line."""

_FINITE = {"isfinite": True, "isnan": False, "isinf": False, "isposinf": False, "isneginf": False}
"""What these tell of finite numbers, each of them."""
_SAME = ("any", "all", "mean", "item", "bool", "float", "int", "long", "to", "gt", "ne")
"""What passes such an answer on; what compares does so with 0."""
_TURNED = ("logical_not", "bitwise_not", "invert", "eq")
_COMPARED = ("gt", "ne", "eq")
_BOTH = ("and", "logical_and", "bitwise_and")
_EITHER = ("or", "logical_or", "bitwise_or", "add")
_COUNTED = ("sum", "count_nonzero")
SHOWN = 3
"""Lines that are named at most."""

_noted: ContextVar[set[Place]] = ContextVar(
    "where code asks whether numbers are finite, and is told so"
)


def asks_for_any(node: fx.Node) -> bool:
    """Whether a node tells whether there are any: ``mask.any()``, ``mask.sum() > 0``."""
    if node.target in (operator.gt, operator.ne) and node.args[1:] == (0,):
        counted = node.args[0]
        return isinstance(counted, fx.Node) and _of_all(counted, _COUNTED)
    return _of_all(node, ("any",))


def _of_all(node: fx.Node, names: Collection[str]) -> bool:
    """Whether a node is one of some reductions over all dimensions."""
    if node.target == "item" and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    name = getattr(node.target, "__name__", node.target)
    return node.op != "call_module" and name in names and len(node.args) == 1 and not node.kwargs


@contextmanager
def guards_told(kind: str) -> Iterator[None]:
    """Warns of the places where code of a network asked whether numbers are finite, once it has been followed."""
    found: set[Place] = set()
    token = _noted.set(found)
    try:
        yield
    finally:
        _noted.reset(token)
    if found:
        lines = [f"{Path(file).name}:{line}" for file, line in sorted(found)]
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        warn(
            f"network {kind}: asks whether its numbers are finite ({', '.join(lines[:SHOWN])}{more}); what is made of it "
            "goes by finite ones, and does not do what the code does with others",
            TraceWarning,
        )


def if_finite(node: fx.Node) -> bool | None:
    """Returns what a node tells where all numbers are finite; None for one that tells something else. It is noted."""
    return _noted_answer(_told(node))


def _told(part: Any) -> bool | None:
    """Returns what something in a graph tells where all numbers are finite."""
    if not isinstance(part, fx.Node) or part.op not in ("call_function", "call_method"):
        return None
    return _answer(name_of(part), part.args, _told)


def _noted_answer(answer: bool | None) -> bool | None:
    """Notes where an answer was asked for; returns it."""
    at = user_line()
    if answer is None or at is None:
        return None
    _noted.get().add(at)
    return answer


def _answer(name: str, args: Sequence[Any], told: Callable[[Any], bool | None]) -> bool | None:
    """Returns what an operation tells where all numbers are finite, each number of it; None if that is not known.

    Args:
        name: of the operation.
        args: what it is given.
        told: returns the same of one of these.
    """
    name = name.strip("_")
    if name in _FINITE:
        return _FINITE[name]
    if name in ("ne", "eq") and args[0] is args[1]:  # nan alone is not equal to itself
        return name == "eq"
    first = told(args[0]) if args else None
    if first is None:
        return None
    if name in (*_BOTH, *_EITHER):
        other = told(args[1])
        return None if other is None else (first and other) if name in _BOTH else first or other
    if name in _COUNTED:  # how many there are is known of none alone
        return None if first else False
    if name in _COMPARED and not (isinstance(args[1], int) and args[1] == 0):
        return None
    return first if name in _SAME else not first if name in _TURNED else None


class Guarded(TorchFunctionMode):
    """Answers code that asks whether numbers are finite, as for finite ones, while tensors without numbers go through it."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[int, tuple[Any, bool]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what a function of torch gives."""
        name = getattr(func, "__name__", "")
        answer = _answer(name, args, lambda part: self._told.get(id(part), (part, None))[1])
        if answer is not None and func in (Tensor.__bool__, Tensor.item):
            return _noted_answer(answer)
        found = func(*args, **(kwargs or {}))
        if answer is not None:
            self._told[id(found)] = found, answer
        return found
