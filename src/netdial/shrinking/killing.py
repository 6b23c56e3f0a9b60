"""Killing rules: decide when a channel's switch counts as off.

A rule follows the θ of one switch. It receives θ once before training and after every step, and returns which channels are
dead. Its memory can be saved, and is cut together with the channels. The caller sets θ of dead channels to 0; a channel that
is dead stays dead.

Source: ShrinkNets (draft), section 3.5.1, for ``threshold``, ``sign-change`` and ``sign-variance``. The others are ours:
``zero`` goes with proximal steps, which reach 0 exactly; ``hysteresis`` is for steps that do not.

Shapes: C channels of the switch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from netdial.core.errors import CheckpointError, ConfigError, ShapeError, unknown
from netdial.core.registry import Registry

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass
class KillingRule(ABC):
    """Decides which channels of one switch are dead; subclasses define ``_judge``, and ``_begin`` if they have a memory."""

    _memory: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @abstractmethod
    def _judge(self, theta: Float[Tensor, " C"]) -> Bool[Tensor, " C"]:
        """Returns which channels are dead, bool ``[C]``, and updates the memory."""

    def _begin(self, theta: Tensor) -> dict[str, Tensor]:
        """Returns the memory before the first update: tensors ``[C]`` by name."""
        return {}

    def update(self, theta: Float[Tensor, " C"]) -> Bool[Tensor, " C"]:
        """Returns which channels are dead now, bool ``[C]``.

        The first call is the start: what it shows is what later signs are compared with.

        Args:
            theta: θ ``[C]``.

        Raises:
            ShapeError: θ is not a vector, or has another length than before without a ``cut``.
        """
        theta = theta.detach()
        if theta.ndim != 1:
            raise ShapeError(f"theta is {list(theta.shape)}, expected [C]")
        memory = self._memory or self._begin(theta)
        self._memory = {name: held.to(theta.device) for name, held in memory.items()}
        for name, held in self._memory.items():
            if len(held) != len(theta):
                raise ShapeError(
                    f"theta has {len(theta)} channels, {name} was held for {len(held)}; cut the rule with the switch"
                )
        return self._judge(theta)

    def state(self) -> dict[str, Tensor]:
        """Returns copies of the memory, tensors ``[C]`` by name; empty before the first update."""
        return {name: held.clone() for name, held in self._memory.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restores what ``state`` returned.

        Raises:
            CheckpointError: it is of another rule.
        """
        expected = self._begin(torch.ones(1))
        if state and set(state) != set(expected):
            raise CheckpointError(
                f"{type(self).__name__}: the saved state holds {sorted(state)}, expected {sorted(expected)}; "
                "restore it into the rule that it was saved from"
            )
        self._memory = {name: held.clone() for name, held in state.items()}

    def cut(self, keep: Tensor) -> None:
        """Drops the memory of all channels but these.

        Args:
            keep: positions that survive ``[C']``, int64.
        """
        self._memory = {name: held[keep] for name, held in self._memory.items()}


KILLING: Registry[type[KillingRule]] = Registry("killing rule")


def make_rule(name: str, **parameters: float) -> KillingRule:
    """Returns a new rule by its name, for one switch.

    >>> make_rule("hysteresis", patience=10)
    Hysteresis(low=0.01, high=0.05, patience=10)

    Raises:
        ConfigError: the rule or a parameter is unknown, or out of range.
    """
    kind = KILLING[name]
    allowed = [f.name for f in fields(kind) if f.init]
    for parameter in parameters:
        if parameter not in allowed:
            raise unknown(f"{name} parameter", parameter, allowed)
    return kind(**parameters)


@KILLING.add("zero")
@dataclass
class Zero(KillingRule):
    """Dead while θ is exactly 0; for proximal steps."""

    def _judge(self, theta: Tensor) -> Tensor:
        return theta == 0


@KILLING.add("threshold")
@dataclass
class Threshold(KillingRule):
    """Dead while |θ| < threshold (draft, section 3.5.1, after deep compression).

    Attributes:
        threshold: above 0, in units of θ.
    """

    threshold: float = 0.01

    def __post_init__(self) -> None:
        """Refuses a threshold that is not positive."""
        _check(self, "threshold", 0 < self.threshold < math.inf, "a number above 0")

    def _judge(self, theta: Tensor) -> Tensor:
        return theta.abs() < self.threshold


@KILLING.add("sign-change")
@dataclass
class SignChange(KillingRule):
    """Dead from the first time that θ is 0 or has another sign than at the start (draft, section 3.5.1)."""

    def _begin(self, theta: Tensor) -> dict[str, Tensor]:
        return {"sign": theta.sign(), "dead": theta == 0}

    def _judge(self, theta: Tensor) -> Tensor:
        self._memory["dead"] = self._memory["dead"] | (theta.sign() != self._memory["sign"])
        return self._memory["dead"].clone()


@KILLING.add("sign-variance")
@dataclass
class SignVariance(KillingRule):
    """Dead from the first time that the running variance of sign(θ) exceeds a threshold (draft, section 3.5.1).

    With s = sign(θ) and d = s - avg: var <- γ var + (1 - γ) d², avg <- γ avg + (1 - γ) s; at the start avg = s, var = 0.
    It reads like a test of oscillation and is a delayed test of the first crossing: one change of sign that lasts kills
    after 1, 2 and 16 updates for γ = 0, 0.9 and 0.99 at threshold 0.5, a sign that changes in every update after 1, 3
    and 33.
    A θ that comes to rest on exactly 0 is half a change and does not suffice for γ = 0.9.

    Attributes:
        gamma: γ in [0, 1).
        threshold: in (0, 4), the variance of a sign being at most 1 and d² at most 4.
    """

    gamma: float = 0.9
    threshold: float = 0.5

    def __post_init__(self) -> None:
        """Refuses parameters with which nothing or everything dies."""
        _check(self, "gamma", 0 <= self.gamma < 1, "a number in [0, 1)")
        _check(self, "threshold", 0 < self.threshold < 4, "a number in (0, 4)")

    def _begin(self, theta: Tensor) -> dict[str, Tensor]:
        dead = torch.zeros_like(theta, dtype=torch.bool)
        return {"average": theta.sign(), "variance": torch.zeros_like(theta), "dead": dead}

    def _judge(self, theta: Tensor) -> Tensor:
        held, sign = self._memory, theta.sign()
        away = sign - held["average"]
        held["variance"] = self.gamma * held["variance"] + (1 - self.gamma) * away.square()
        held["average"] = self.gamma * held["average"] + (1 - self.gamma) * sign
        held["dead"] = held["dead"] | (held["variance"] > self.threshold)
        return held["dead"].clone()


@KILLING.add("hysteresis")
@dataclass
class Hysteresis(KillingRule):
    """Dead once |θ| <= low was seen ``patience`` times without |θ| >= high in between.

    Values between low and high neither count nor wipe the count out, so noise about ``low`` delays a death and does not
    undo it.

    Attributes:
        low: at least 0, in units of θ.
        high: above low.
        patience: updates, at least 1.
    """

    low: float = 0.01
    high: float = 0.05
    patience: int = 50

    def __post_init__(self) -> None:
        """Refuses bounds that leave no room, and no patience."""
        _check(self, "low", 0 <= self.low < math.inf, "0 or more")
        _check(self, "high", self.low < self.high < math.inf, f"more than low={self.low:g}")
        whole = self.patience >= 1 and float(self.patience).is_integer()
        _check(self, "patience", whole, "a whole number of updates, 1 or more")

    def _begin(self, theta: Tensor) -> dict[str, Tensor]:
        return {"count": torch.zeros_like(theta, dtype=torch.int64)}

    def _judge(self, theta: Tensor) -> Tensor:
        size = theta.abs()
        count = (self._memory["count"] + (size <= self.low)).masked_fill(size >= self.high, 0)
        self._memory["count"] = count
        return count >= self.patience


def _check(rule: KillingRule, name: str, fits: bool, allowed: str) -> None:
    if not fits:
        raise ConfigError(
            f"{type(rule).__name__}({name}={getattr(rule, name):g}): expected {allowed}"
        )
