"""Sizes of a network as text and value: ``"50k params"``, ``"1.5M macs"``, ``"80 KB"``, ``"0.4 ms"``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from netdial.core.errors import ConfigError, unknown

Kind = Literal["params", "macs", "bytes", "ms"]

_UNITS: dict[str, tuple[Kind, float]] = {
    **dict.fromkeys(("params", "param", "parameters"), ("params", 1.0)),
    **dict.fromkeys(("macs", "mac"), ("macs", 1.0)),
    **dict.fromkeys(("b", "byte", "bytes"), ("bytes", 1.0)),
    "kb": ("bytes", 1e3),
    "mb": ("bytes", 1e6),
    "gb": ("bytes", 1e9),
    "kib": ("bytes", 2.0**10),
    "mib": ("bytes", 2.0**20),
    "gib": ("bytes", 2.0**30),
    **dict.fromkeys(("us", "µs", "μs"), ("ms", 1e-3)),
    "ms": ("ms", 1.0),
    "s": ("ms", 1e3),
}
_PREFIXES = {"k": 1e3, "m": 1e6, "g": 1e9}
_EXAMPLES = "write for example '50k params', '1.5M macs', '80 KB' or '0.4 ms'"


@dataclass(frozen=True)
class Target:
    """A size to arrive at.

    Attributes:
        kind: what is counted: ``params`` numbers, ``macs`` multiply-accumulates for one example, ``bytes`` of the stored
            tensors, ``ms`` milliseconds for one example.
        value: how much of it, above 0.
    """

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        """Refuses what is no size."""
        if self.kind not in get_args(Kind):
            raise unknown("kind of target", self.kind, get_args(Kind))
        if not 0 < self.value < math.inf:
            raise ConfigError(f"Target({self.value:g} {self.kind}): expected a size above 0")

    def __str__(self) -> str:
        """Returns it as ``parse_target`` reads it."""
        return f"{self.value:.10g} {self.kind}"


def in_words(size: object) -> object:
    """Returns a size as it was given, as a validator of pydantic.

    Raises:
        ConfigError: it is a number, which has no unit.
    """
    if isinstance(size, int | float):
        raise ConfigError(f"size={size!r}: the unit is missing; {_EXAMPLES}")
    return size


def parse_target(text: str) -> Target:
    """Returns the target that a text says; upper and lower case are one.

    ``KB`` is 1000 bytes and ``KiB`` 1024; ``k``, ``M`` and ``G`` go with params, macs and bytes.

    >>> parse_target("50k params"), parse_target("1.5M macs")
    (Target(kind='params', value=50000.0), Target(kind='macs', value=1500000.0))
    >>> str(parse_target("80 KiB"))
    '81920 bytes'

    Raises:
        ConfigError: it does not begin with a number, or the unit is missing or unknown.
    """
    found = re.fullmatch(r"\s*(\d[\d_]*\.?\d*(?:e[+-]?\d+)?|\.\d+)\s*(.*?)\s*", text.lower())
    if found is None:
        raise ConfigError(f"target {text!r}: expected a number and a unit; {_EXAMPLES}")
    number, unit = float(found[1]), found[2]
    if unit.startswith("%"):
        raise ConfigError(
            f"target {text!r}: a size is counted, not a share of what there is; {_EXAMPLES} (nd.slim takes a share of the "
            "channels, share=)"
        )
    if not unit:
        raise ConfigError(f"target {text!r}: the unit is missing; {_EXAMPLES}")
    if unit in _UNITS:
        kind, factor = _UNITS[unit]
        return Target(kind, number * factor)
    counted = unit[1:].strip()
    if unit[0] in _PREFIXES and counted in _UNITS and _UNITS[counted][1] == 1 and counted != "ms":
        return Target(_UNITS[counted][0], number * _PREFIXES[unit[0]])
    raise ConfigError(f"target {text!r}: {unknown('unit', unit, _UNITS)}; {_EXAMPLES}")
