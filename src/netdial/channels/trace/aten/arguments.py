"""Arguments of operations of ``aten``, in the order and under the names of torch's functions.

``aten`` gives them by position. Functions of torch that are written in Python have others in between, and some take for granted
what ``aten`` does not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import takewhile
from types import FunctionType
from typing import Any

import torch

REDUCTIONS = ("none", "mean", "sum")
"""Of losses, by their numbers in ``aten``."""


def as_named(
    op: torch._ops.OpOverload,
    target: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments of an operation as a function takes them that has another order of them, by name.

    Losses have a number in ``aten`` for their reduction.
    """
    names = [argument.name for argument in op._schema.arguments]
    for argument in op._schema.arguments[len(args) :]:
        if argument.name == "reduction":  # some functions of torch go by another one than aten
            kwargs = {"reduction": argument.default_value, **kwargs}
    if not isinstance(target, FunctionType):  # what is written in C++ has the same order
        return args, kwargs
    order = list(inspect.signature(target).parameters)
    pairs = zip(names[1:], order[1:], strict=False)
    kept = 1 + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    rest = dict(zip(names[kept:], args[kept:], strict=False)) | kwargs
    if type(rest.get("reduction")) is int:
        rest["reduction"] = REDUCTIONS[rest["reduction"]]
    if not set(rest) <= set(order):
        return args, kwargs
    return args[:kept], rest
