"""What a sweep varies: ranges of numbers, and lists of values, by the name of a setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from netdial.core.errors import ConfigError
from netdial.train.config import Settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Plain = bool | int | float | str


class Range(Settings):
    """Numbers from ``low`` to ``high``, both included.

    Raises:
        ConfigError: there is no number between the ends, or one on a logarithmic scale is not above 0.
    """

    low: float = Field(description="smallest value")
    high: float = Field(description="largest value")
    log: bool = Field(False, description="draw the logarithm evenly, in place of the number")

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if not self.low < self.high:
            raise ConfigError(
                f"low={self.low:g}, high={self.high:g}: an empty range; low has to be below high, and a single value belongs "
                "to settings"
            )
        if self.log and self.low <= 0:
            raise ConfigError(
                f"low={self.low:g} with log: a logarithmic range begins above 0; raise low, or leave log out"
            )
        return self

    def whole(self) -> tuple[int, int]:
        """Returns the ends as whole numbers.

        Raises:
            ConfigError: an end is not whole.
        """
        if self.low % 1 or self.high % 1:
            raise ConfigError(
                f"low={self.low:g}, high={self.high:g}: takes whole numbers; give whole ends"
            )
        return int(self.low), int(self.high)


Values = tuple[Plain, ...]
"""What a list offers."""


def read_space(given: Mapping[str, Any]) -> dict[str, Range | Values]:
    """Returns what is varied, checked; a list is a choice, a mapping with ``low`` and ``high`` a range.

    Raises:
        ConfigError: a range or list is empty, or something else; the name comes first.
    """
    found: dict[str, Range | Values] = {}
    for name, value in given.items():
        try:
            found[str(name)] = _one(value)
        except ConfigError as error:
            raise ConfigError(f"space, {name}: {error}") from None
    return found


def _one(value: Any) -> Range | Values:
    if isinstance(value, Range):
        return value
    if isinstance(value, Mapping):
        return Range(**{str(name): one for name, one in value.items()})
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(
            f"{value!r} is one value; give a range {{low: 1e-4, high: 1e-2, log: true}} or a list, or put it under settings"
        )
    if not value:
        raise ConfigError("an empty list; give the values to choose from")
    for one in value:
        if not isinstance(one, bool | int | float | str) or (
            isinstance(one, float) and not math.isfinite(one)
        ):
            raise ConfigError(f"{one!r}: values are finite numbers, words, true or false")
    if len(set(map(repr, value))) < len(value):
        raise ConfigError(f"{list(value)}: a value stands there twice")
    return tuple(value)


def values_of(
    space: Mapping[str, Range | Values], whole: Mapping[str, bool]
) -> dict[str, Sequence[Plain]] | None:
    """Returns all values of each name; None where one has a range of numbers with fractions.

    Args:
        space: what is varied.
        whole: whether a name takes whole numbers.
    """
    found: dict[str, Sequence[Plain]] = {}
    for name, one in space.items():
        if isinstance(one, Range):
            if not whole[name]:
                return None
            low, high = one.whole()
            found[name] = range(low, high + 1)
        else:
            found[name] = one
    return found


def distributions(
    space: Mapping[str, Range | Values], whole: Mapping[str, bool]
) -> dict[str, BaseDistribution]:
    """Returns Optuna's distribution for each name.

    Args:
        space: what is varied.
        whole: whether a name takes whole numbers.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, BaseDistribution] = {}
    for name, one in space.items():
        if isinstance(one, Range):
            if whole[name]:
                found[name] = IntDistribution(*one.whole(), log=one.log)
            else:
                found[name] = FloatDistribution(one.low, one.high, log=one.log)
        else:
            found[name] = CategoricalDistribution(one)
    return found
