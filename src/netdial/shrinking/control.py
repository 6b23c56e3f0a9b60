"""Control: how λ moves while a network shrinks by a λ, and sizes to arrive at.

*Progress* is the share of training that is done, 0 to 1. A *size* is in the unit of the target.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from netdial.core import schedules
from netdial.core.errors import ConfigError, unknown
from netdial.core.registry import Registry
from netdial.core.schedules import Schedule

Kind = Literal["params", "macs", "bytes", "ms"]

LAM_SCHEDULES: Registry[Callable[[int], Schedule]] = Registry("schedule of lambda")
"""Steps of training -> factor of λ at a step: ``constant``; ``warmup``, a straight rise over the first tenth;
``cosine``, a fall to 0 at the end."""
LAM_SCHEDULES.add("constant")(lambda steps: schedules.constant())
LAM_SCHEDULES.add("warmup")(lambda steps: schedules.linear_warmup(steps / 10))
LAM_SCHEDULES.add("cosine")(schedules.cosine)

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
    if not unit:
        raise ConfigError(f"target {text!r}: of what? {_EXAMPLES}")
    if unit in _UNITS:
        kind, factor = _UNITS[unit]
        return Target(kind, number * factor)
    counted = unit[1:].strip()
    if unit[0] in _PREFIXES and counted in _UNITS and _UNITS[counted][1] == 1 and counted != "ms":
        return Target(_UNITS[counted][0], number * _PREFIXES[unit[0]])
    raise ConfigError(f"target {text!r}: {unknown('unit', unit, _UNITS)}; {_EXAMPLES}")


def check_target(target: Target, *, start: float, least: float) -> None:
    """Refuses a target that cannot be reached by shrinking.

    Args:
        target: size to arrive at.
        start: size of the network at the beginning.
        least: size when every group has its minimum.

    Raises:
        ConfigError: the target is not below ``start``, or it is below ``least``.
    """
    begin, end = (
        f"{value:.3g} ms" if target.kind == "ms" else f"{value:.10g}" for value in (start, least)
    )
    if not target.value < start:
        raise ConfigError(
            f"target of {target}: the network begins with {begin}, so there is nothing to shrink; lower the target"
        )
    if target.value < least and target.kind == "ms":
        raise ConfigError(
            f"target of {target}: with the fewest channels in every layer that can shrink a call still takes {end} on this "
            "machine, which is what calling its operations costs, however narrow they are; raise the target, lower minimum, "
            "or take a network of fewer layers"
        )
    if target.value < least:
        raise ConfigError(
            f"target of {target}: with the fewest channels in every layer that can shrink there are still {end}; "
            "raise the target, lower minimum, or let residual streams shrink, too (streams)"
        )


def course(
    target: Target, progress: float, *, start: float, deadline: float, wait: float = 0.0
) -> float:
    """Returns the size planned for a progress: geometric from the start to the target, which it keeps from the deadline on.

    Args:
        target: size to arrive at.
        progress: share of training that is done, in [0, 1].
        start: size of the network at the beginning.
        deadline: progress at which the target is to be reached, in (0, 1].
        wait: share of the time until the deadline in which the network keeps the size that it has, in [0, 1).
    """
    way = (progress / deadline - wait) / (1 - wait)
    return target.value if way >= 1 else start * math.pow(target.value / start, max(way, 0.0))


def allowance(costs: Sequence[float], *, size: float, least: float) -> int:
    """Returns how many of the dead may be removed without going below a size by more than half of the last one.

    Args:
        costs: what each candidate saves, in the order in which they go (smallest |θ| first), 0 or more.
        size: the size now.
        least: size to stay at, the target or the course.

    Raises:
        ConfigError: a cost is negative or not finite.
    """
    _check_costs(costs)
    count = 0
    for cost in costs:
        size -= cost
        if size < least - cost / 2:
            break
        count += 1
    return count


def _check_costs(costs: Sequence[float]) -> None:
    for place, cost in enumerate(costs):
        if not 0 <= cost < math.inf:
            raise ConfigError(
                f"costs[{place}]={cost:g}; what a channel saves has to be a number, 0 or more"
            )
