"""What size adds to the loss of a search: λ times the share of the largest size, or FBNet's product with a logarithm.

    L + λ E[size] / largest                         ``"0.1 params"``
    L · λ₁ (log LAT)^λ₂                             ``"0.2 log^0.6 us"``        (Wu et al. 2019)

Sizes are parameters, multiply-accumulates, vertices, edges, or time for one example on this machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, unknown
from netdial.structure.cost import StructureCosts
from netdial.structure.graph.domain import on_simplex
from netdial.structure.graph.genotype import Genotype
from netdial.structure.latency import LatencyLookup
from netdial.structure.terms import AdditiveTerm, FbnetTerm, LatencyUnit

SizeKind = Literal["params", "macs", "vertices", "edges", "ms"]
SIZE_KINDS: tuple[SizeKind, ...] = get_args(SizeKind)
_TIMES = ("s", "ms", "us")
_FROM = 2 / 3
"""Share of a search from which a sum counts."""


class SizeShare:
    """Sizes of the structures of a space, as shares of what all operations of all edges that can be together would take.

    Args:
        costs: costs of the space.
        kind: what is counted.
        times: returns times of the operations on this machine; asked for kind ``ms`` alone.

    Raises:
        ConfigError: the kind is unknown.
    """

    def __init__(
        self,
        costs: StructureCosts,
        kind: SizeKind = "params",
        times: Callable[[], LatencyLookup] | None = None,
    ) -> None:
        if kind not in SIZE_KINDS:
            raise unknown("kind of size", kind, SIZE_KINDS)
        if kind == "ms" and times is None:
            raise ConfigError("sizes in milliseconds need a table of latencies of this machine")
        self.costs, self.kind = costs, kind
        self._times = times() if kind == "ms" and times is not None else None

    def of(self, genotype: Genotype) -> float:
        """Returns the size of a genotype as a share of the largest."""
        if self._times is not None:
            return self._times.of(self.costs, genotype) / self.most
        return float(getattr(self.costs.of(genotype), self.kind)) / self.most

    def expected(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the expected share under probabilities of the operations, differentiable."""
        return self.plain(probabilities) / self.most

    def plain(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the expected size in its unit, differentiable."""
        if self._times is not None:
            return self._times.expected(self.costs, probabilities)
        if self.kind in ("params", "macs"):
            table = self.costs.params if self.kind == "params" else self.costs.macs
            return self.costs.expected_of_table(table, probabilities)
        return self.costs.expected(probabilities)[self.kind]

    @cached_property
    def most(self) -> float:
        """The size of the largest operation of every edge together, in its unit."""
        wiring = self.costs.space.wiring
        if self.kind in ("vertices", "edges"):
            return float(len(wiring.order if self.kind == "vertices" else wiring.edges))
        if self._times is not None:
            table: Mapping[str, Mapping[str, float]] = self._times.costs
        else:
            table = self.costs.params if self.kind == "params" else self.costs.macs
        total = self._times.constant_ms if self._times is not None else 0.0
        for name, edge in wiring.edges.items():
            choice = wiring.choices[edge.key]
            sizes = [
                table[name][o] for i, o in enumerate(choice.operations) if i not in choice.zeros
            ]
            total += (max if on_simplex(choice.domain) else sum)(sizes) if sizes else 0.0
        return max(total, math.ulp(1.0))


@dataclass(frozen=True)
class SizePenalty:
    """What size adds to a loss.

    Attributes:
        weight: λ, from 0 on; nats that a network of the largest size has to be better by than one of no size. With a ``power``
            λ₁, above 0.
        kind: what is counted.
        power: λ₂ of FBNet's product; None for a sum.
        unit: of the latency in FBNet's product, in which it has to be above 1.
    """

    weight: float
    kind: SizeKind = "params"
    power: float | None = None
    unit: LatencyUnit = "us"

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ConfigError(f"penalty: weight {self.weight}; expected a finite number from 0 on")
        if self.power is not None:
            FbnetTerm(self.weight, self.power, self.unit)

    def __call__(
        self,
        loss: Tensor,
        share: SizeShare,
        probabilities: Mapping[str, Tensor],
        progress: float = 1.0,
    ) -> Tensor:
        """Returns the loss with what the expected size adds.

        Args:
            loss: loss on validation data.
            share: sizes of structures.
            probabilities: of the operations.
            progress: share of the search that is over. A sum counts in its last third: before, weights have not learned what
                an operation is good for, and the cheapest of all would win.

        Raises:
            ConfigError: FBNet's product, and the latency is at most 1 in the unit.
        """
        if self.power is not None:
            product = FbnetTerm(self.weight, self.power, self.unit)
            return product(loss, share.plain(probabilities).to(loss))
        if progress < _FROM:
            return loss
        term = AdditiveTerm(self.weight, share.most)
        return term(loss, share.plain(probabilities).to(loss))

    def check(self, share: SizeShare) -> None:
        """Refuses FBNet's product where the even mixture of all operations does not take more than 1 in its unit.

        Raises:
            ConfigError: it does not; the units that would do are named.
        """
        if self.power is not None:
            choices = share.costs.space.choices.items()
            even = {k: torch.full((n,), 1 / n) for k, c in choices for n in [len(c.operations)]}
            FbnetTerm(self.weight, self.power, self.unit).check(float(share.plain(even)))


def parse_penalty(text: str) -> SizePenalty:
    """Returns the penalty that a text says.

    >>> parse_penalty("0.1 params")
    SizePenalty(weight=0.1, kind='params', power=None, unit='us')
    >>> parse_penalty("0.2 log^0.6 us")
    SizePenalty(weight=0.2, kind='ms', power=0.6, unit='us')

    Raises:
        ConfigError: it is none.
    """
    number = r"(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)"
    found = re.fullmatch(rf"\s*{number}\s+(?:log\^{number}\s+)?([a-zµμ]+)\s*", text.lower())
    examples = "write for example '0.1 params', '0.1 edges', '0.1 ms' or '0.2 log^0.6 us'"
    if found is None:
        raise ConfigError(f"penalty {text!r}: expected a weight and what is counted; {examples}")
    weight, power, unit = float(found[1]), found[2], found[3].replace("µ", "u").replace("μ", "u")
    if power is not None:
        if unit not in _TIMES:
            raise ConfigError(
                f"penalty {text!r}: a logarithm is taken of times, in {', '.join(_TIMES)}; {examples}"
            )
        return SizePenalty(weight, "ms", float(power), cast(LatencyUnit, unit))
    if unit in _TIMES:
        return SizePenalty(weight, "ms")
    if unit not in SIZE_KINDS:
        raise unknown(f"penalty {text!r}: size", unit, SIZE_KINDS)
    return SizePenalty(weight, cast(SizeKind, unit))
