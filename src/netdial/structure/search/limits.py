"""Limit of size of a search: which genotypes are within it, and what it adds to the loss.

Without a limit, all genotypes whose input reaches their output are allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.size import Kind, Target, parse_target
from netdial.measure.cost import size_bytes
from netdial.structure.cost import StructureCosts
from netdial.structure.derived import derive
from netdial.structure.graph.domain import vertices
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live_operations
from netdial.structure.graph.parts import SpaceEdge
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.latency import LatencyLookup, measure_network
from netdial.structure.limits import CountedSizes, SizeTable, best_within
from netdial.structure.search.state import SearchState
from netdial.structure.supernet import fresh
from netdial.structure.terms import ConstrainedTerm, HingeTerm

_NO_LIMIT = 1e300
_MULTIPLIER = "multiplier of the limit"
"""Name in the memory of a search."""

_CORRECTIONS = 6
"""Structures that are measured before a limit is given up."""


class SizeLimit:
    """A limit on the size of the network that is found.

    Args:
        space: the search space.
        size: as ``core.size.parse_target`` reads it; None for no limit.
        table: times of the operations, for a size in milliseconds.
        measured: returns the size of a network as it is measured, for sizes that are not counted; what is chosen then is within
            the limit by that, too.
        dtype: precision of the networks, for a size in bytes: those of parameters and buffers, as a file holds them.

    Raises:
        ConfigError: no structure is within the limit (the message names the nearest), or a table is missing.
    """

    def __init__(
        self,
        space: SearchSpace,
        size: str | None,
        table: SizeTable | None = None,
        measured: Callable[[Genotype], float] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.space = space
        self.target: Target | None = parse_target(size) if size is not None else None
        self.costs = StructureCosts(space)
        self._measured = measured
        self.readings: dict[Genotype, float] = {}
        if self.target is not None and self.target.kind == "ms":
            if table is None:
                raise ConfigError(
                    f"size={size!r}: milliseconds need a table of latencies of this space, measured on this machine"
                )
            self._table = table
        else:
            self._table = self._counted(
                self.target.kind if self.target is not None else "params", dtype
            )
        even = {k: torch.full((len(c.operations),), 0.5) for k, c in space.choices.items()}
        self.within(even, self.most)

    @property
    def most(self) -> float:
        """The largest size that is allowed."""
        return self.target.value if self.target is not None else _NO_LIMIT

    def size(self, genotype: Genotype) -> float:
        """Returns the size of a genotype in the unit of the limit; in parameters without one."""
        return self._table.of(self.costs, genotype)

    def allows(self, genotype: Genotype) -> bool:
        """Returns whether a genotype connects input and output and is within the limit."""
        connected = bool(live_operations(self.space.wiring, genotype)[0].nodes)
        return connected and (self.target is None or self.size(genotype) <= self.most)

    def expected(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the expected size under probabilities of the operations, differentiable."""
        return self._table.expected(self.costs, probabilities)

    def objective(self, loss: Tensor, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the loss, with a hinge (``structure.terms``): what the expected size above the limit adds."""
        if self.target is None:
            return loss
        return HingeTerm(self.most)(loss, self.expected(probabilities).to(loss))

    def choose(self, probabilities: Gamma) -> Genotype:
        """Returns the most probable genotype within the limit (``structure.limits.best_within``).

        Raises:
            NoStructureMeets: there is none; the nearest is named.
        """
        most = self.most
        for _ in range(_CORRECTIONS):
            chosen = self.within(probabilities, most)
            if self.holds(chosen):
                return chosen
            most = 0.99 * min(most, self.size(chosen)) * min(1.0, self.most / self.readings[chosen])
        raise ConfigError(
            f"limit {self.target}: the networks that are predicted to meet it take longer, {self.readings[chosen]:.4g} in the "
            "last case; measure the table again when the machine is idle, or raise the limit"
        )

    def nearest(self, genotype: Genotype) -> Genotype:
        """Returns a genotype within the limit that keeps as many choices of another as it can."""
        near = {key: 0.1 + 0.8 * row for key, row in self.space.gamma(genotype).items()}
        return self.within(near, self.most)

    def holds(self, genotype: Genotype) -> bool:
        """Returns whether a genotype is within the limit when its network is measured; True for sizes that are counted."""
        if self._measured is None:
            return True
        if genotype not in self.readings:
            self.readings[genotype] = self._measured(genotype)
        return self.readings[genotype] <= self.most

    def within(self, probabilities: Gamma, most: float) -> Genotype:
        """Returns the most probable genotype of a size, in the unit of the limit.

        Raises:
            NoStructureMeets: there is none; the nearest is named.
        """
        best = self.space.discretise(probabilities)
        if self.allows(best) and self.size(best) <= most:
            return best
        return best_within(self.space, self._table, most, probabilities, costs=self.costs)

    def _counted(self, kind: Kind, dtype: torch.dtype) -> CountedSizes:
        if kind == "bytes":
            edges = self.space.wiring.edges.items()
            return CountedSizes(kind, {name: self._bytes_of(edge, dtype) for name, edge in edges})
        return CountedSizes(kind, self.costs.macs if kind == "macs" else self.costs.params)

    def _bytes_of(self, edge: SpaceEdge, dtype: torch.dtype) -> dict[str, int]:
        """Returns what each operation of an edge takes in a file."""
        modules = {name: fresh(self.space, edge, name, 0).to(dtype) for name in edge.operations}
        return {
            name: size_bytes(module.state_dict(), packed=False) for name, module in modules.items()
        }


@dataclass(frozen=True)
class Constraint:
    """A limit in the loss by a multiplier (``structure.terms``), which is kept in the state of a search.

    Attributes:
        limit: the limit; it has a size.
    """

    limit: SizeLimit

    def __call__(
        self, state: SearchState, loss: Tensor, probabilities: Mapping[str, Tensor]
    ) -> Tensor:
        """Returns the Lagrangian: the loss with what the expected size adds."""
        return self._term(loss, self.limit.expected(probabilities).to(loss), self.multiplier(state))

    def ascend(self, state: SearchState, probabilities: Mapping[str, Tensor]) -> None:
        """Moves the multiplier by a step: up while the expected size is above the limit."""
        after = self._term.ascended(self.multiplier(state), self.limit.expected(probabilities))
        now = torch.tensor(after, dtype=torch.float64)
        state.memory = {**(state.memory or {}), _MULTIPLIER: now}

    @staticmethod
    def multiplier(state: SearchState) -> float:
        """Returns the multiplier of now."""
        return float((state.memory or {}).get(_MULTIPLIER, torch.zeros(())))

    @property
    def _term(self) -> ConstrainedTerm:
        return ConstrainedTerm(self.limit.most)


def latency_limit(space: SearchSpace, size: str, table: LatencyLookup) -> SizeLimit:
    """Returns a limit in milliseconds for one example; what is chosen is measured again before it is trained.

    Args:
        space: the search space.
        size: such as ``"0.4 ms"``.
        table: latencies of the space on this machine, for a batch of one.

    Raises:
        ConfigError: the table does not hold here or does not predict, or no structure meets the limit.
    """
    table.check(space, 1)
    wiring = space.wiring
    shape = wiring.shapes[wiring.input]

    def measured(genotype: Genotype) -> float:
        return measure_network(derive(space, genotype).eval(), shape, 1)

    return SizeLimit(space, size, table, measured)


def changed(space: SearchSpace, genotype: Genotype) -> Iterator[Genotype]:
    """Yields all genotypes that differ from one in a single choice."""
    chosen = dict(genotype.chosen)
    for key, choice in space.choices.items():
        for vertex in vertices(len(choice.operations), choice.domain):
            names = tuple(choice.operations[index] for index in vertex)
            if names != chosen[key]:
                yield Genotype(genotype.space, tuple({**chosen, key: names}.items()))
