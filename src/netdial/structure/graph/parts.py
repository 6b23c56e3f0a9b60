"""Parts of a search space as values: nodes, edges, choices, and all of them in order with their shapes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from netdial.core.errors import ConfigError, unknown
from netdial.family.posteriors.structure import GammaDomain
from netdial.structure.graph.aggregate import Aggregator
from netdial.structure.graph.domain import count_vertices, on_simplex
from netdial.structure.graph.operations import Factory, Shape


@dataclass(frozen=True)
class SpaceEdge:
    """An edge: a vector of operations between two nodes.

    Attributes:
        name: unique; ``source->target`` unless another was given.
        source: node that it reads.
        target: node that it leads to.
        operations: name -> factory.
        domain: where its structure parameters may lie.
        key: name of its structure parameters; edges with the same key are tied.
    """

    name: str
    source: str
    target: str
    operations: Mapping[str, Factory]
    domain: GammaDomain
    key: str


@dataclass(frozen=True)
class StructureChoice:
    """What one vector of structure parameters chooses.

    Attributes:
        key: its name.
        operations: names of the operations, K of them.
        domain: where the parameters may lie.
        zeros: positions of operations that bring nothing.
        identities: positions of operations that bring what they are given, on some edge at least.
        edges: names of the edges that follow it.
    """

    key: str
    operations: tuple[str, ...]
    domain: GammaDomain
    zeros: frozenset[int]
    identities: frozenset[int]
    edges: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many vertices there are to choose from."""
        return count_vertices(len(self.operations), self.domain)

    def named(self, names: tuple[str, ...] | None) -> tuple[str, ...]:
        """Returns operations in the order of the space.

        Raises:
            ConfigError: none is given, one is unknown, or there are several on a simplex.
        """
        if names is None:
            able = ", ".join(self.operations)
            raise ConfigError(f"genotype: edge {self.key} is left open; choose of {able}")
        for name in names:
            if name not in self.operations:
                raise ConfigError(
                    f"genotype, edge {self.key}: {unknown('operation', name, self.operations)}"
                )
        if on_simplex(self.domain) and len(names) != 1:
            raise ConfigError(
                f"genotype, edge {self.key}: {len(names)} operations; in the domain {self.domain} it is one"
            )
        return tuple(name for name in self.operations if name in names)


@dataclass(frozen=True)
class Wiring:
    """A space that was checked.

    Attributes:
        input: name of the input.
        output: name of the output.
        order: all nodes, each after those that it reads.
        aggregators: node -> how it joins; the input has none.
        incoming: node -> edges that lead to it, in the order in which they were added.
        shapes: node -> shape without the batch.
        brought: edge -> shape of what it brings; that of the node where it is nothing else is known.
        choices: key -> what is chosen, for every key.
        identities: edge -> names of its operations that bring what they are given; tied edges may differ in them.
    """

    input: str
    output: str
    order: tuple[str, ...]
    aggregators: Mapping[str, Aggregator]
    incoming: Mapping[str, tuple[SpaceEdge, ...]]
    shapes: Mapping[str, Shape]
    brought: Mapping[str, Shape]
    choices: Mapping[str, StructureChoice]
    identities: Mapping[str, frozenset[str]]

    @cached_property
    def edges(self) -> dict[str, SpaceEdge]:
        """All edges by name, in the order of the nodes that they lead to."""
        return {edge.name: edge for node in self.order for edge in self.incoming[node]}

    @cached_property
    def free(self) -> dict[str, StructureChoice]:
        """The choices that leave something to choose."""
        return {key: choice for key, choice in self.choices.items() if choice.count > 1}

    def upto(self, node: str) -> Wiring:
        """Returns what lies between the input and a node, of which the node is the output: the sub-function f_v.

        Raises:
            ConfigError: there is no such node.
        """
        if node not in self.order:
            raise unknown("node", node, self.order)
        needed = {node}
        for target in reversed(self.order):
            if target in needed:
                needed.update(edge.source for edge in self.incoming[target])
        order = tuple(each for each in self.order if each in needed)
        incoming = {each: self.incoming[each] for each in order}
        edges = {edge.name for found in incoming.values() for edge in found}
        choices = {
            key: replace(choice, edges=tuple(name for name in choice.edges if name in edges))
            for key, choice in self.choices.items()
            if edges.intersection(choice.edges)
        }
        return replace(self, output=node, order=order, incoming=incoming, choices=choices)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that differ between spaces with other nodes, edges, or names of operations."""
        nodes = [
            [n, self.aggregators[n].name if n != self.input else "", list(self.shapes[n])]
            for n in self.order
        ]
        edges = [
            [e.name, e.source, e.target, list(e.operations), e.domain, e.key]
            for e in self.edges.values()
        ]
        text = json.dumps([nodes, edges, self.input, self.output])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
