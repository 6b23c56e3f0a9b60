"""Schedules of λ, and the sizes planned on the way to a target size.

*Progress* is the share of training that is done, 0 to 1. A *size* is in the unit of the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from netdial.core.errors import ConfigError
from netdial.core.registry import Registry
from netdial.core.size import Target
from netdial.train import schedules
from netdial.train.schedules import Schedule

LAM_SCHEDULES: Registry[Callable[[int], Schedule]] = Registry("schedule of lambda")
"""Steps of training -> factor of λ at a step: ``constant``; ``warmup``, a straight rise over the first tenth;
``cosine``, a fall to 0 at the end."""
LAM_SCHEDULES.add("constant")(lambda steps: schedules.constant())
LAM_SCHEDULES.add("warmup")(lambda steps: schedules.linear_warmup(steps / 10))
LAM_SCHEDULES.add("cosine")(schedules.cosine)


def check_target(
    target: Target,
    *,
    start: float,
    least: float,
    whole: Mapping[str, str] | None = None,
    more: Sequence[str] = (),
) -> None:
    """Refuses a target that cannot be reached by shrinking.

    Args:
        target: size to arrive at.
        start: size of the network at the beginning.
        least: size when every group has its minimum.
        whole: layers with a switch of which no channel can go, and why.
        more: what else would let the network become smaller, in words.

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
            "machine, which is what calling its operations costs, however narrow they are; raise the target, or take a "
            "network of fewer layers"
        )
    if target.value < least:
        raise ConfigError(
            f"target of {target}: with the fewest channels in every layer that can shrink there are still {end}; "
            f"{', or '.join(['raise the target', *more])}{_whole(whole or {})}"
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


def _whole(whole: Mapping[str, str]) -> str:
    """Returns which layers stay whole and why, for messages."""
    shown = [f"{name} stays whole: {why}" for name, why in list(whole.items())[:3]]
    return "".join(f"; {one}" for one in shown) + ("; …" if len(whole) > 3 else "")
