"""Registry: names of interchangeable parts, with the nearest name offered when one is unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Generic, TypeVar

from netdial.core.errors import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of the parts of one kind.

    >>> shapes: Registry[type] = Registry("shape")
    >>> shapes.add("round")(int)
    <class 'int'>
    >>> shapes["round"]
    <class 'int'>
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._parts: dict[str, T] = {}

    def add(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that registers a part under ``name``."""

        def register(part: T) -> T:
            self._parts[name] = part
            return part

        return register

    def __getitem__(self, name: str) -> T:
        if name not in self._parts:
            raise unknown(self._kind, name, self._parts)
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)


def names_at(place: str) -> tuple[str, ...]:
    """Returns the names that are registered now, of a registry given as ``package.module:NAME``.

    What stands there is iterated over; a function without arguments is called first.
    """
    module, _, name = place.partition(":")
    found = getattr(import_module(module), name)
    return tuple(found() if callable(found) else found)
