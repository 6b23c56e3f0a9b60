"""What a structure costs: parameters, multiplications, vertices and edges; of a genotype, and expected under probabilities.

Costs of operations are counted once for each edge. A structure costs what the parts cost that are there (``graph.live``). The
expectation under probabilities of the operations, independent between choices, takes that into account: it is a sum over all
sets of choices that bring nothing, with the parts that are left of the graph under each. Where these are too many, every edge
counts as if nothing around it were missing, which is never less.

Shapes: K operations of a choice.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.measure.cost import count_macs
from netdial.structure.graph.domain import on_simplex
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live, live_operations
from netdial.structure.graph.space import SearchSpace
from netdial.structure.supernet import fresh

Table = Mapping[str, Mapping[str, float]]
"""Edge -> operation -> what it costs there."""

_MOST_OPTIONAL = 13


@dataclass(frozen=True)
class StructureCost:
    """What one structure costs.

    Attributes:
        params: numbers of all parameters.
        macs: multiply-accumulates for one example.
        vertices: nodes that are there, the input included.
        edges: edges that are there.
    """

    params: int
    macs: int
    vertices: int
    edges: int


class StructureCosts:
    """Costs of the structures of a search space.

    Args:
        space: the search space; each of its operations is made once, and run on one example.

    Attributes:
        wiring: the part of the space that is counted: all of it, or what a node needs (``upto``).
        params: edge -> operation -> numbers of its parameters.
        macs: edge -> operation -> multiply-accumulates for one example.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space, self.wiring = space, space.wiring
        self.params: dict[str, dict[str, int]] = {}
        self.macs: dict[str, dict[str, int]] = {}
        for name, edge in space.wiring.edges.items():
            x = torch.zeros(1, *space.wiring.shapes[edge.source])
            modules = {o: fresh(space, edge, o, 0) for o in edge.operations}
            zeros = space.wiring.choices[edge.key].zeros
            self.params[name] = {
                o: sum(p.numel() for p in m.parameters()) for o, m in modules.items()
            }
            self.macs[name] = {
                o: 0 if index in zeros else count_macs(module, x)[0]
                for index, (o, module) in enumerate(modules.items())
            }

    def upto(self, node: str) -> StructureCosts:
        """Returns the costs of a sub-function: of what a node needs, itself included, whatever reads it.

        Genotypes and probabilities are those of the whole space.

        Raises:
            ConfigError: there is no such node.
        """
        part = copy.copy(self)
        for name in ("_optional", "_patterns"):
            vars(part).pop(name, None)
        part.wiring = self.space.wiring.upto(node)
        return part

    def of(self, genotype: Genotype) -> StructureCost:
        """Returns what a genotype costs, exactly."""
        parts, chosen = live_operations(self.wiring, self.space.genotype(genotype))
        params, macs = (
            int(sum(table[edge][o] for edge, names in chosen.items() for o in names))
            for table in (self.params, self.macs)
        )
        return StructureCost(params, macs, len(parts.nodes), len(parts.edges))

    def of_table(self, genotype: Genotype, table: Table) -> float:
        """Returns the sum of the costs in a table over the operations that are there."""
        _, chosen = live_operations(self.wiring, self.space.genotype(genotype))
        return float(sum(table[edge][o] for edge, names in chosen.items() for o in names))

    @property
    def exact(self) -> bool:
        """Whether expectations take into account that parts are cut off by others that are missing."""
        return len(self._optional) <= _MOST_OPTIONAL

    def expected(self, probabilities: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the expected params, macs, vertices and edges, differentiable.

        Args:
            probabilities: key -> ``[K]``: of a choice on a simplex the probability of each operation, on a cube of each gate to
                be open, gates independent.

        Raises:
            ConfigError: a choice is missing.
        """
        reach = self._reach(probabilities)
        found = {
            name: self._summed(table, probabilities, reach)
            for name, table in (("params", self.params), ("macs", self.macs))
        }
        return {**found, **self._counted(probabilities, reach)}

    def expected_of_table(self, table: Table, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the expected sum of the costs in a table, as ``expected`` does."""
        return self._summed(table, probabilities, self._reach(probabilities))

    @cached_property
    def _optional(self) -> list[str]:
        """Choices that may bring nothing."""
        choices = self.wiring.free.items()
        return [key for key, c in choices if c.zeros or not on_simplex(c.domain)]

    @cached_property
    def _patterns(self) -> tuple[Tensor, Tensor, Tensor]:
        """Which optional choices are present ``[P, C]``, and the edges ``[P, E]`` and nodes ``[P, V]`` that are then left."""
        wiring, optional = self.wiring, self._optional
        if not self.exact:
            return (
                torch.ones(1, len(optional), dtype=torch.bool),
                torch.ones(1, len(wiring.edges), dtype=torch.bool),
                torch.ones(1, len(wiring.order), dtype=torch.bool),
            )
        always = {
            name
            for name, edge in wiring.edges.items()
            if edge.key not in optional
            and len(wiring.choices[edge.key].zeros) < len(edge.operations)
        }
        present, edges, nodes = [], [], []
        for bits in itertools.product((False, True), repeat=len(optional)):
            on = {key for key, bit in zip(optional, bits, strict=True) if bit}
            parts = live(wiring, always | {n for n, e in wiring.edges.items() if e.key in on})
            present.append(bits)
            edges.append([name in parts.edges for name in wiring.edges])
            nodes.append([node in parts.nodes for node in wiring.order])
        columns = (present, edges, nodes)
        return tuple(torch.tensor(c, dtype=torch.bool).reshape(len(present), -1) for c in columns)  # type: ignore[return-value]

    def _reach(self, probabilities: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns for each edge the probability ``[E]`` that it is left if its choice is present; of nodes ``[V]``."""
        for key in self.wiring.free:
            if key not in probabilities:
                raise ConfigError(f"probabilities: edge {key} is missing")
        present, edges, nodes = self._patterns
        some = next(iter(probabilities.values()), torch.zeros(1))
        if not self.exact or not self._optional:
            return edges[0].to(some), nodes[0].to(some)
        there = torch.stack([self._present(key, probabilities) for key in self._optional])
        factors = torch.where(present.to(there.device), there, 1 - there)
        ones = torch.ones_like(factors[:, :1])
        before = torch.cat([ones, factors.cumprod(1)], dim=1)
        after = torch.cat([factors.flip(1).cumprod(1).flip(1), ones], dim=1)
        whole = before[:, -1]
        found = []
        for index, edge in enumerate(self.wiring.edges.values()):
            weight = whole
            if edge.key in self._optional:
                place = self._optional.index(edge.key)
                weight = before[:, place] * after[:, place + 1] * present[:, place].to(whole)
            found.append((weight * edges[:, index].to(whole)).sum())
        return torch.stack(found), (whole[:, None] * nodes.to(whole)).sum(0)

    def _present(self, key: str, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the probability that a choice brings something."""
        choice, chances = self.wiring.choices[key], probabilities[key]
        able = [i for i in range(len(choice.operations)) if i not in choice.zeros]
        if on_simplex(choice.domain):
            return chances[able].sum()
        return 1 - (1 - chances[able]).prod()

    def _summed(
        self, table: Table, probabilities: Mapping[str, Tensor], reach: tuple[Tensor, Tensor]
    ) -> Tensor:
        total = torch.zeros((), dtype=reach[0].dtype, device=reach[0].device)
        for index, (name, edge) in enumerate(self.wiring.edges.items()):
            choice = self.wiring.choices[edge.key]
            costs = torch.tensor([float(table[name][o]) for o in choice.operations]).to(total)
            costs[list(choice.zeros)] = 0
            chances = probabilities.get(edge.key, torch.ones_like(costs))
            total = total + reach[0][index] * (costs * chances).sum()
        return total

    def _counted(
        self, probabilities: Mapping[str, Tensor], reach: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        chances = [
            self._present(edge.key, probabilities)
            if edge.key in self._optional
            else reach[0].new_ones(())
            for edge in self.wiring.edges.values()
        ]
        return {"vertices": reach[1].sum(), "edges": (reach[0] * torch.stack(chances)).sum()}
