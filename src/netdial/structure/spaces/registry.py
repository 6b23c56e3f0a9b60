"""Ready search spaces: a function of the shape of the inputs, the number of outputs and options of its own, under a name.

To add one, write such a function and register it by ``@ready("name")``. The values that it was called with go into the space,
so that networks derived from it can be saved without any code.
"""

from __future__ import annotations

import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netdial.core.arguments import expect
from netdial.core.errors import ConfigError, unknown
from netdial.core.registry import Registry
from netdial.structure.graph.space import SearchSpace

SpaceMaker = Callable[..., SearchSpace]

SPACES: Registry[SpaceMaker] = Registry("search space")


def ready(name: str) -> Callable[[SpaceMaker], SpaceMaker]:
    """Returns a decorator that registers a function ``(input_shape, n_outputs, **options) -> SearchSpace``."""

    def register(make: SpaceMaker) -> SpaceMaker:
        @functools.wraps(make)
        def made(input_shape: Sequence[int], n_outputs: int, **options: Any) -> SearchSpace:
            known = list(inspect.signature(make).parameters)[2:]
            for option in options:
                if option not in known:
                    raise ConfigError(f"space {name!r}: {unknown('option', option, known)}")
            options = {key: _value(make, name, key, value) for key, value in options.items()}
            shape = tuple(input_shape)
            if not shape or min(shape) < 1 or n_outputs < 1:
                raise ConfigError(
                    f"space {name!r}: inputs of shape {list(shape)}, {n_outputs} outputs; expected sizes from 1 on"
                )
            space = make(shape, n_outputs, **options)
            space.recipe = {
                "space": name,
                "input_shape": list(shape),
                "n_outputs": n_outputs,
                "options": json.loads(json.dumps(options)),
            }
            return space

        return SPACES.add(name)(made)

    return register


def _value(make: SpaceMaker, name: str, option: str, value: Any) -> Any:
    """Returns the value of an option in the type that the space says; one value of a list stands for a list of one."""
    wanted = typing.get_type_hints(make)[option]
    if typing.get_origin(wanted) is Sequence and isinstance(value, str | int | float):
        value = (value,)
    return expect(f"space {name!r}", option, value, wanted)


def ready_space(
    name: str, *, input_shape: Sequence[int], n_outputs: int, **options: Any
) -> SearchSpace:
    """Returns a ready search space.

    Args:
        name: one of ``SPACES``.
        input_shape: shape of one input without the batch.
        n_outputs: classes, or regression targets.
        **options: of the space.

    Raises:
        ConfigError: the name or an option is unknown, or has a value that is not allowed.
    """
    return SPACES[name](input_shape, n_outputs, **options)


def from_recipe(recipe: Mapping[str, Any]) -> SearchSpace:
    """Returns the space that a recipe describes, as ``SearchSpace.recipe`` holds it.

    Raises:
        ConfigError: it describes none.
    """
    try:
        name, shape = str(recipe["space"]), [int(size) for size in recipe["input_shape"]]
        count, options = int(recipe["n_outputs"]), dict(recipe["options"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"recipe of a space: {error!r}; expected space, input_shape, n_outputs and options"
        ) from None
    return ready_space(name, input_shape=shape, n_outputs=count, **options)


def names_checked(where: str, given: Sequence[str], allowed: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns names after checking that there is one at least and that each is known.

    Raises:
        ConfigError: the message names those that there are.
    """
    names = (given,) if isinstance(given, str) else tuple(given)
    if not names:
        raise ConfigError(f"{where}: is empty; choose of {', '.join(allowed)}")
    for name in names:
        if name not in allowed:
            raise ConfigError(f"{where}: {unknown('name', name, allowed)}")
    return names


def counted(where: str, value: Any, least: int = 1) -> int:
    """Returns a whole number after checking that it is not too small.

    Raises:
        ConfigError: it is, or is no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where}={value!r}; expected a whole number from {least} on")
    return value
