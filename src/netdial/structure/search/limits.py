"""Limits of size: which genotypes are within one, and the likeliest of them.

Without a limit, all genotypes whose input reaches their output are allowed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.size import Target, parse_target
from netdial.structure.cost import StructureCosts, Table
from netdial.structure.graph.domain import on_simplex, vertices
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live_operations
from netdial.structure.graph.space import Gamma, SearchSpace

_ENUMERATED = 4096
"""Genotypes that are all looked at; of larger spaces, changes of one choice at a time."""

_BYTES = 4


class SizeLimit:
    """A limit on the size of the network that is found.

    Args:
        space: the search space.
        size: as ``core.size.parse_target`` reads it; None for no limit.
        table: for a size in milliseconds, edge -> operation -> milliseconds.

    Raises:
        ConfigError: no structure is within the limit; the message says how small the smallest is that was found.
    """

    def __init__(self, space: SearchSpace, size: str | None, table: Table | None = None) -> None:
        self.space = space
        self.target: Target | None = parse_target(size) if size is not None else None
        self.costs = StructureCosts(space)
        self._table = table
        if self.target is None:
            return
        if self.target.kind == "ms" and table is None:
            raise ConfigError(
                f"size={size!r}: milliseconds need a table of latencies measured on this machine; give one"
            )
        even = {k: torch.full((len(c.operations),), 0.5) for k, c in space.choices.items()}
        if (smallest := self._descend(self._likeliest(even), even, to=-math.inf)) is None:
            raise ConfigError(f"space {space.name}: no structure connects its input and output")
        if not self.allows(smallest):
            raise ConfigError(
                f"size={size!r}: no structure of the space {space.name} is that small; the smallest found has "
                f"{self.size(smallest):.6g} {self.target.kind}"
            )

    def size(self, genotype: Genotype) -> float:
        """Returns the size of a genotype in the unit of the limit; in parameters without one."""
        kind = self.target.kind if self.target is not None else "params"
        if kind == "ms":
            assert self._table is not None
            return self.costs.of_table(genotype, self._table)
        cost = self.costs.of(genotype)
        return {"params": cost.params, "macs": cost.macs, "bytes": _BYTES * cost.params}[kind]

    def expected(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the expected size under probabilities of the operations, differentiable."""
        kind = self.target.kind if self.target is not None else "params"
        if kind == "ms":
            assert self._table is not None
            return self.costs.expected_of_table(self._table, probabilities)
        found = self.costs.expected(probabilities)
        return (
            found["macs"]
            if kind == "macs"
            else found["params"] * (_BYTES if kind == "bytes" else 1)
        )

    def allows(self, genotype: Genotype) -> bool:
        """Returns whether a genotype connects input and output and is within the limit."""
        alive = bool(live_operations(self.space.wiring, genotype)[0].nodes)
        return alive and (self.target is None or self.size(genotype) <= self.target.value)

    def objective(self, loss: Tensor, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the loss, with a penalty in proportion to how far the expected size lies above the limit."""
        if self.target is None:
            return loss
        excess = (self.expected(probabilities) / self.target.value - 1).clamp_min(0)
        return loss + 2 * loss.detach().abs() * excess

    def choose(self, probabilities: Gamma) -> Genotype:
        """Returns the likeliest genotype within the limit; in large spaces, one that single changes lead to.

        Raises:
            ConfigError: none was found.
        """
        best = self._likeliest(probabilities)
        if self.allows(best):
            return best
        if self.space.count <= _ENUMERATED:
            allowed = [g for g in self.space.enumerate() if self.allows(g)]
            if allowed:
                return max(allowed, key=lambda g: self._log_likelihood(g, probabilities))
        limit = self.target.value if self.target is not None else math.inf
        found = self._descend(best, probabilities, to=limit)
        if found is None or not self.allows(found):
            raise ConfigError(
                f"space {self.space.name}: no structure within the limit {self.target} was found from the likeliest one"
            )
        return found

    def _likeliest(self, probabilities: Gamma) -> Genotype:
        return self.space.discretise(probabilities)

    def _descend(self, start: Genotype, probabilities: Gamma, to: float) -> Genotype | None:
        """Returns a connected genotype of size ``to`` or less, or the smallest that single changes lead to."""
        now = start if self._alive(start) else self._connected(probabilities)
        while now is not None and (size := self.size(now)) > to:
            here = self._log_likelihood(now, probabilities)
            better = [
                (
                    (here - self._log_likelihood(other, probabilities) + 1e-9) / (size - smaller),
                    index,
                    other,
                )
                for index, other in enumerate(self._changed(now))
                if (smaller := self.size(other)) < size and self._alive(other)
            ]
            if not better:
                return now
            now = min(better)[2]
        return now

    def _connected(self, probabilities: Gamma) -> Genotype | None:
        """Returns a genotype whose input reaches its output: on every edge the likeliest operation that brings something."""
        chosen = {}
        for key, choice in self.space.choices.items():
            able = [i for i in range(len(choice.operations)) if i not in choice.zeros]
            best = max(able or [0], key=lambda i, row=probabilities[key]: float(row[i]))  # type: ignore[misc]
            chosen[key] = choice.operations[best]
        found = self.space.genotype(chosen)
        return found if self._alive(found) else None

    def _alive(self, genotype: Genotype) -> bool:
        return bool(live_operations(self.space.wiring, genotype)[0].nodes)

    def _changed(self, genotype: Genotype) -> Iterator[Genotype]:
        return changed(self.space, genotype)

    def _log_likelihood(self, genotype: Genotype, probabilities: Gamma) -> float:
        total = 0.0
        for key, choice in self.space.choices.items():
            row = probabilities[key].detach().double().clamp(1e-12, 1 - 1e-12)
            chosen = [choice.operations.index(name) for name in genotype[key]]
            total += float(row[chosen].log().sum())
            if not on_simplex(choice.domain):
                rest = [i for i in range(len(row)) if i not in chosen]
                total += float((1 - row[rest]).log().sum())
        return total


def changed(space: SearchSpace, genotype: Genotype) -> Iterator[Genotype]:
    """Yields all genotypes that differ from one in a single choice."""
    chosen = dict(genotype.chosen)
    for key, choice in space.choices.items():
        for vertex in vertices(len(choice.operations), choice.domain):
            names = tuple(choice.operations[index] for index in vertex)
            if names != chosen[key]:
                yield Genotype(genotype.space, tuple({**chosen, key: names}.items()))
