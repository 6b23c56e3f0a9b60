"""Calls of an ``autograd.Function`` in the code that is traced: each is one operation of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import fx

_APPLY: Any = vars(torch.autograd.Function)["apply"].__func__
_usual: Any = FunctionType(
    _APPLY.__code__, _APPLY.__globals__, "apply", _APPLY.__defaults__, _APPLY.__closure__
)


class _Recorded:
    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Calls ``recorded``; its code stands in that of ``autograd.Function``, which ``__class__`` is there."""
        return __class__.recorded(cls, *args, **kwargs)  # type: ignore[name-defined]


@contextmanager
def functions_kept() -> Iterator[None]:
    """Records each call of an ``autograd.Function`` as one operation: its backward is not what its forward would give.

    The code of ``apply`` is exchanged, not its name, as many networks have it under one of their own: ``sign = Sign.apply``.
    """
    before = _APPLY.__code__
    torch.autograd.Function.recorded = staticmethod(_recorded)  # type: ignore[attr-defined]
    _APPLY.__code__ = _Recorded.apply.__code__
    try:
        yield
    finally:
        _APPLY.__code__ = before
        if before is not _Recorded.apply.__code__:
            del torch.autograd.Function.recorded  # type: ignore[attr-defined]


def _recorded(cls: Any, *args: Any, **kwargs: Any) -> Any:
    proxy = next((part for part in args if isinstance(part, fx.Proxy)), None)
    if proxy is None or cls.__module__.startswith("torch."):  # torch's own are transparent
        return _usual(cls, *args, **kwargs)
    return proxy.tracer.create_proxy("call_function", applied(cls), args, kwargs)


@cache
def applied(kind: Any) -> Callable[..., Any]:
    """Returns the function of a graph that stands for ``kind.apply``, of an ``autograd.Function``."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return kind.apply(*args, **kwargs)

    call.__name__, call.__module__ = kind.__name__, kind.__module__
    call.__qualname__ = kind.__name__
    return call
