"""Arguments of public functions: a value of another type is refused in one line that says what was given and what is wanted.

``checked`` reads the annotations of a function or class, so that nothing is said twice. Numbers of numpy and torch are taken
as the numbers that they are. What is in a value (a name that is registered, a λ in the range) is for the function to check.
"""

from __future__ import annotations

import collections.abc
import contextlib
import difflib
import functools
import inspect
import operator
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from netdial.core.errors import ConfigError, given_words, unknown

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class AtLeast:
    """The smallest value of an annotated number."""

    low: int


Count = Annotated[int, AtLeast(1)]
"""A whole number from 1 on."""

Several = Annotated[int, AtLeast(2)]
"""A whole number from 2 on: of fewer there is no standard error."""

Whole = Annotated[int, AtLeast(0)]
"""A whole number from 0 on."""

_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    Path: "a path",
}
_FIELD_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "ge": ("from {} on", operator.ge),
    "gt": ("above {}", operator.gt),
    "le": ("up to {}", operator.le),
    "lt": ("below {}", operator.lt),
}
"""Bounds of pydantic's ``Field`` by name: in words, and the comparison."""
_CURES = {
    "Family": "nd.fit(net, data) trains one, nd.load_model(path) reads one",
    "Module": "nd.build makes a network, nd.load_model(path) reads one",
    "Splits": "nd.load_data reads them",
    "Target": "write for example '50k params' or '1.5M macs'",
}
"""Where things of our own come from, by the name of their class."""


_LARGEST = {int: 2**64 - 1, float: int(sys.float_info.max)}
"""Whole numbers that fit the types numbers are computed in."""


class _Unfit(Exception):
    """A value that is not what an annotation says."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Returns a function that refuses arguments of other types than its annotations say.

    >>> @checked
    ... def half(count: int) -> float:
    ...     return count / 2
    >>> half("four")
    Traceback (most recent call last):
        ...
    netdial.core.errors.ConfigError: half: count='four'; expected a whole number
    """
    signature = inspect.signature(function)
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    name = function.__qualname__.removesuffix(".__init__")

    @functools.cache
    def hints() -> dict[str, Any]:
        return typing.get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own words for arguments too many or too few
        for key, value in bound.arguments.items():
            if key in hints() and kinds[key].name not in ("VAR_POSITIONAL", "VAR_KEYWORD"):
                bound.arguments[key] = expect(name, key, value, hints()[key])
        return function(*bound.args, **bound.kwargs)

    return call


def checked_fields(kind: C) -> C:
    """Returns a dataclass that refuses other fields than its own, and values of other types than their annotations say."""
    init = checked(kind.__init__)  # type: ignore[misc]
    names = [field.name for field in fields(kind) if field.init]

    @functools.wraps(init)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in names:
                raise ConfigError(f"{kind.__name__}: {unknown('field', name, names)}")
        init(self, *args, **kwargs)

    kind.__init__ = made  # type: ignore[misc]
    return kind


def expect(where: str, name: str, value: Any, wanted: Any) -> Any:
    """Returns a value that is what an annotation says.

    Raises:
        ConfigError: it is something else; the message begins with ``where`` and names the argument.

    >>> expect("half", "count", 4, int)
    4
    """
    with contextlib.suppress(_Unfit):
        return _fit(value, wanted)
    plain = isinstance(value, str | int | float) or value is None
    given = given_words(name, value) if plain else f"{name} is {_described(value)}"[:120]
    if names := _literals(wanted):
        close = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"{where}: {given}; {hint}allowed: {', '.join(names)}")
    classes = [_CURES[kind.__name__] for kind in _classes(wanted) if kind.__name__ in _CURES]
    cure = _inside(value, wanted) or (f" ({classes[0]})" if classes else "")
    raise ConfigError(
        f"{where}: {given}; expected {_words(wanted)}{cure}{_unquoted(name, value, wanted)}"
    )


def _inside(value: Any, wanted: Any) -> str:
    """Returns which attribute of a result of ours is what was wanted, in words; nothing if none is."""
    names = ("net", "network", "module", "family")
    for name in names if type(value).__module__.startswith("netdial.") else ():
        with contextlib.suppress(_Unfit):
            if _fit(getattr(value, name, None), wanted) is not None:
                return f" (its .{name} is one)"
    return ""


def refuse_twice(what: str, names: Iterable[str]) -> None:
    """Refuses names of which one stands there twice, so that no value is passed over without a word.

    Raises:
        ConfigError: there is one.
    """
    seen = set[str]()
    for name in map(str.strip, names):
        if name in seen:
            raise ConfigError(f"{what}: {name} stands there twice; leave one out")
        seen.add(name)


def _unquoted(name: str, value: Any, wanted: Any) -> str:
    """Returns how a number is given that was given as text; nothing where that is not the fault."""
    if not isinstance(value, str):
        return ""
    with contextlib.suppress(ValueError, _Unfit):
        number = float(value)
        _fit(int(number) if number.is_integer() else number, wanted)
        return f", not text: {name}={value.strip()}"
    return ""


def _fit(value: Any, wanted: Any) -> Any:
    """Returns a value as an annotation wants it.

    Raises:
        _Unfit: it is something else.
    """
    origin, inside = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, inside)
    if origin is Annotated:
        return _bounded(_fit(value, inside[0]), inside[1:])
    if origin is Literal:
        return _take(value, any(type(value) is type(one) and value == one for one in inside))
    if wanted in (Any, object) or isinstance(wanted, TypeVar):
        return value
    if wanted is None or wanted is type(None):
        return _take(value, value is None)
    if wanted in (int, float, bool):
        return _number(value, wanted)
    if origin is collections.abc.Callable or wanted is collections.abc.Callable:
        return _take(value, callable(value))
    if isinstance(origin, type):
        return _several(value, origin, inside)
    if wanted is Path:
        return _take(value, isinstance(value, os.PathLike))
    return _take(value, isinstance(value, wanted) if isinstance(wanted, type) else True)


def _take(value: Any, fits: bool) -> Any:
    if not fits:
        raise _Unfit
    return value


def _one_of(value: Any, wanted: Iterable[Any]) -> Any:
    for kind in wanted:
        try:
            return _fit(value, kind)
        except _Unfit:
            continue
    raise _Unfit


def _bounded(value: Any, about: Iterable[Any]) -> Any:
    if value is None:
        return value
    return _take(value, all(fits(value, limit) for _, limit, fits in _bounds(about)))


def _bounds(about: Iterable[Any]) -> Iterator[tuple[str, Any, Callable[[Any, Any], bool]]]:
    """Yields each bound of an annotated number, ``AtLeast`` or of pydantic's ``Field``: in words, the limit, the comparison."""
    for bound in about:
        if isinstance(bound, AtLeast):
            yield f"from {bound.low} on", bound.low, operator.ge
        for part in getattr(bound, "metadata", ()):
            for name, (words, fits) in _FIELD_BOUNDS.items():
                if (limit := getattr(part, name, None)) is not None:
                    yield words.format(limit), limit, fits


def _number(value: Any, wanted: type) -> Any:
    """Returns a number as Python's own; one of numpy or torch is one if it has no dimensions."""
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return _take(bool(value), wanted is bool)
    if wanted is bool or isinstance(value, str | bytes) or getattr(value, "ndim", 0) != 0:
        raise _Unfit
    if type(value) is wanted or (wanted is float and type(value) is int):
        return _take(value, type(value) is not int or abs(value) <= _LARGEST[wanted])
    try:
        return operator.index(value) if wanted is int else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise _Unfit from None


def _several(value: Any, origin: type, inside: tuple[Any, ...]) -> Any:
    """Returns a container whose items are what they should be; iterators are not read."""
    if issubclass(origin, Mapping):
        return _take(value, isinstance(value, Mapping))
    if issubclass(origin, type):
        return _take(value, isinstance(value, type))
    if not issubclass(origin, Iterable):
        return _take(value, isinstance(value, origin))
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _Unfit
    if getattr(value, "ndim", 1) == 0:
        raise _Unfit
    sized = hasattr(value, "__len__")
    if issubclass(origin, collections.abc.Sequence) and not sized:
        raise _Unfit
    item = inside[0] if inside else Any
    if sized and item is not Any:
        for one in value:
            _fit(one, item)
    return value


def _described(value: Any) -> str:
    """Returns what a value is, in a few words."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    name = type(value).__name__
    shape = getattr(value, "shape", None)
    size = f" of shape {list(shape)}" if isinstance(shape, tuple) else ""
    if isinstance(value, list | tuple):
        large = [one for one in value if isinstance(one, int) and abs(one) > _LARGEST[int]]
        if large:
            return f"a {name} in which one {given_words('', large[0]).strip()}"
    if isinstance(value, list | tuple) and len(value) <= 4:
        size = f" of {', '.join(type(one).__name__ for one in value) or 'nothing'}"
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}{size}"


def _words(wanted: Any) -> str:
    """Returns what an annotation asks for, in words."""
    origin, inside = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(kind) for kind in inside))
    if origin is Annotated:
        return " ".join([_words(inside[0]), *(words for words, _, _ in _bounds(inside[1:]))])
    if origin is Literal:
        return ", ".join(map(repr, inside))
    if wanted is None or wanted is type(None):
        return "None"
    if origin is collections.abc.Callable or wanted is collections.abc.Callable:
        return "a function"
    if isinstance(origin, type):
        if issubclass(origin, Mapping):
            return "a mapping"
        items = f" of {_plural(inside[0])}" if inside and inside[0] not in (Any, object) else ""
        return f"a list{items}"
    if wanted in _WORDS:
        return _WORDS[wanted]
    name = getattr(wanted, "__name__", str(wanted))
    place = "torch.nn." if getattr(wanted, "__module__", "").startswith("torch.nn") else ""
    return f"{'an' if not place and name[0] in 'AEIOUaeiou' else 'a'} {place}{name}"


def _plural(wanted: Any) -> str:
    words = _words(wanted)
    return {"a number": "numbers", "a whole number": "whole numbers", "text": "texts"}.get(
        words, words
    )


def _literals(wanted: Any) -> tuple[str, ...]:
    """Returns the names that an annotation allows, if it allows no other text."""
    if typing.get_origin(wanted) is Literal:
        return tuple(str(name) for name in typing.get_args(wanted))
    if typing.get_origin(wanted) is Annotated:
        return _literals(typing.get_args(wanted)[0])
    kinds = [kind for kind in typing.get_args(wanted) if kind is not type(None)]
    if typing.get_origin(wanted) in (typing.Union, types.UnionType) and len(kinds) == 1:
        return _literals(kinds[0])
    return ()


def _classes(wanted: Any) -> list[type]:
    """Returns the classes that an annotation names, without those that a function takes or gives."""
    if typing.get_origin(wanted) is collections.abc.Callable:
        return []
    if isinstance(wanted, type) and not typing.get_args(wanted):
        return [wanted]
    return [kind for one in typing.get_args(wanted) for kind in _classes(one)]
