"""Canonical form of a structure: equal for two genotypes exactly when they are the same network but for the names of nodes.

Parts that are not there are left out, and a node that only passes on what one identity brings is its source. What is left, a
graph with labels, is put into an order that does not depend on how nodes are numbered: nodes are told apart by their labels
and, round after round, by those of their neighbours; where that leaves several alike, each is tried as first (McKay,
Practical graph isomorphism, 1981). Operations of the same name count as the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live_operations
from netdial.structure.graph.parts import SpaceEdge, Wiring
from netdial.structure.graph.space import SearchSpace

Link = tuple[int, int, str]
"""Source, target and label of an edge between numbered nodes."""

_MOST_ORDERS = 512
"""Orders that are compared; in graphs with more symmetry than this the form may depend on the numbering."""


@dataclass(frozen=True)
class CanonicalForm:
    """A structure without names.

    Attributes:
        nodes: labels of the nodes.
        links: source, target and label of each edge, in order.
    """

    nodes: tuple[str, ...]
    links: tuple[Link, ...]

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of it."""
        return hashlib.sha256(repr((self.nodes, self.links)).encode()).hexdigest()[:16]


def canonical_form(space: SearchSpace, genotype: Genotype) -> CanonicalForm:
    """Returns the canonical form of a genotype of a space.

    Raises:
        ConfigError: the genotype is of another space.
    """
    labels, links = _graph(space.wiring, space.genotype(genotype))
    return _Orders(labels, links).least()


def distinct(space: SearchSpace) -> Iterator[Genotype]:
    """Yields one genotype of each canonical form, the first one in the order of ``SearchSpace.enumerate``."""
    seen = set()
    for genotype in space.enumerate():
        form = canonical_form(space, genotype)
        if form not in seen:
            seen.add(form)
            yield genotype


def _graph(wiring: Wiring, genotype: Genotype) -> tuple[list[str], list[Link]]:
    """Returns the labels of nodes and the edges of what is left under a genotype."""
    parts, chosen = live_operations(wiring, genotype)
    stands_for: dict[str, str] = {}
    kept: list[str] = []
    for node in parts.nodes:
        edges = [edge for edge in wiring.incoming[node] if edge.name in chosen]
        passed = _passes_on(wiring, node, edges, chosen)
        stands_for[node] = stands_for[edges[0].source] if passed else node
        if not passed:
            kept.append(node)
    number = {node: index for index, node in enumerate(kept)}
    links = []
    for node in kept:
        for place, edge in enumerate(wiring.incoming[node]):
            if edge.name in chosen:
                ordered = wiring.aggregators[node].ordered
                label = f"{place if ordered else ''}:{'+'.join(sorted(chosen[edge.name]))}"
                links.append((number[stands_for[edge.source]], number[node], label))
    end = stands_for.get(wiring.output)
    return [_label(wiring, node) + " output" * (node == end) for node in kept], links


def _passes_on(
    wiring: Wiring, node: str, edges: Sequence[SpaceEdge], chosen: dict[str, tuple[str, ...]]
) -> bool:
    """Returns whether a node is what one of its edges passes on from another node."""
    if len(edges) != 1 or not wiring.aggregators[node].alone:
        return False
    names, identities = chosen[edges[0].name], wiring.identities[edges[0].name]
    dropped = wiring.aggregators[node].name == "sum" or len(wiring.incoming[node]) == 1
    return dropped and len(names) == 1 and names[0] in identities


def _label(wiring: Wiring, node: str) -> str:
    """Returns what a node is but for its name."""
    if node == wiring.input:
        return "input"
    how, edges = wiring.aggregators[node], wiring.incoming[node]
    blocks = [list(wiring.brought[edge.name]) for edge in edges] if how.absent == "zeros" else []
    among = len(edges) if how.name == "mean" else ""
    return f"{how.name}{among} {list(wiring.shapes[node])} {blocks or ''}".rstrip()


class _Orders:
    """The orders of a labelled graph's nodes that its own structure suggests."""

    def __init__(self, labels: Sequence[str], links: Sequence[Link]) -> None:
        self._labels = labels
        self._links = links
        self._tried = 0

    def least(self) -> CanonicalForm:
        """Returns the least form over all orders."""
        ranks = _ranked(list(self._labels))
        return min(self._forms(self._refined(ranks)), key=lambda form: (form.nodes, form.links))

    def _forms(self, colours: list[int]) -> Iterator[CanonicalForm]:
        alike = self._first_alike(colours)
        if not alike:
            self._tried += 1
            yield self._form(colours)
            return
        for node in alike[:1] if self._interchangeable(alike) else alike:
            if self._tried and self._tried >= _MOST_ORDERS:
                return
            first = [2 * colour + 1 for colour in colours]
            first[node] -= 1
            yield from self._forms(self._refined(_ranked(first)))

    def _refined(self, colours: list[int]) -> list[int]:
        """Returns colours told apart by those of the neighbours, until nothing changes."""
        while True:
            near: list[list[tuple[str, str, int]]] = [[] for _ in colours]
            for source, target, label in self._links:
                near[target].append(("in", label, colours[source]))
                near[source].append(("out", label, colours[target]))
            found = _ranked(
                [
                    (colour, tuple(sorted(about)))
                    for colour, about in zip(colours, near, strict=True)
                ]
            )
            if len(set(found)) == len(set(colours)):
                return found
            colours = found

    @staticmethod
    def _first_alike(colours: list[int]) -> list[int]:
        for colour in sorted(set(colours)):
            nodes = [node for node, other in enumerate(colours) if other == colour]
            if len(nodes) > 1:
                return nodes
        return []

    def _interchangeable(self, nodes: list[int]) -> bool:
        """Returns whether nodes have the very same neighbours, so that it does not matter which is first."""
        near = [
            sorted(
                (-1 if source == node else source, -1 if target == node else target, label)
                for source, target, label in self._links
                if node in (source, target)
            )
            for node in nodes
        ]
        return all(one == near[0] for one in near)

    def _form(self, colours: list[int]) -> CanonicalForm:
        order = sorted(range(len(colours)), key=lambda node: colours[node])
        place = {node: index for index, node in enumerate(order)}
        links = sorted((place[s], place[t], label) for s, t, label in self._links)
        return CanonicalForm(tuple(self._labels[node] for node in order), tuple(links))


def _ranked(values: Sequence[object]) -> list[int]:
    """Returns the rank of each value among the different ones."""
    order = {value: rank for rank, value in enumerate(sorted(set(values)))}  # type: ignore[type-var]
    return [order[value] for value in values]
