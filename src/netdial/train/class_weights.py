"""Weights of classes as people give them. Loads nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from netdial.core.arguments import refuse_twice
from netdial.core.errors import ConfigError
from netdial.data.tables.options import listed


def weights_by_class(given: Any) -> Any:
    """Returns weights of classes by the class as text; given as a mapping, as a list, or as ``0=1,1=24``.

    None and ``balanced`` stay as they are; a list is one weight for each class, in order.

    Raises:
        ConfigError: it is none of these, or a weight is negative or not finite.
    """
    if given is None or (isinstance(given, str) and given == "balanced"):
        return given
    wrong = ConfigError(
        f"class_weight={given!r}; allowed: balanced, or a weight for each class, such as 0=1,1=24"
    )
    if isinstance(given, str):
        pieces = [piece.rpartition("=") for piece in listed(given)]
        if not all(name and sign for name, sign, _ in pieces):
            raise wrong
        refuse_twice("class_weight", [name for name, _, _ in pieces])
        given = {name: value for name, _, value in pieces}
    if isinstance(given, Mapping):
        return {str(name).strip(): _weight(value, name) for name, value in given.items()}
    try:
        weights = list(given)
    except TypeError:
        raise wrong from None
    return tuple(_weight(value, index) for index, value in enumerate(weights))


def _weight(value: Any, name: object) -> float:
    """Returns the weight of a class, checked."""
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        said = f"{weight:g}" if isinstance(value, int | float) else repr(value)
        raise ConfigError(
            f"class_weight: {said} for class {name}; weights are finite numbers, 0 or more"
        )
    return weight
