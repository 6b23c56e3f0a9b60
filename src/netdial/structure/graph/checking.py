"""Checks of a search space: it is acyclic, everything lies between input and output, shapes agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from netdial.core.errors import ConfigError, ShapeError
from netdial.structure.graph.aggregate import Aggregator, joined_shape
from netdial.structure.graph.operations import (
    Shape,
    ZeroOperation,
    check_fresh,
    is_users,
    make,
    shape_after,
)
from netdial.structure.graph.parts import SpaceEdge, StructureChoice, Wiring

Special = tuple[frozenset[int], frozenset[int]]
"""Positions of the operations of an edge that bring nothing, and of those that bring what they are given."""


def wire(
    input: str,
    shape: Shape,
    output: str,
    nodes: Mapping[str, Aggregator],
    edges: Sequence[SpaceEdge],
) -> Wiring:
    """Returns a space in order, with the shapes of its nodes.

    Raises:
        ConfigError: it has a cycle, or a node that lies on no path from the input to the output; operations fail or
            differ between tied edges.
        ShapeError: shapes disagree; the message names the edges.
        NonFiniteError: an operation returns NaN.
    """
    names = [input, *nodes]
    incoming = {node: tuple(edge for edge in edges if edge.target == node) for node in names}
    order = _sorted(names, incoming)
    _check_paths(input, output, order, incoming)
    shapes, brought, special = _shapes(input, shape, order, nodes, incoming)
    listed = [edge for node in order for edge in incoming[node]]
    identities = {
        edge.name: frozenset(list(edge.operations)[at] for at in special[edge.name][1])
        for edge in listed
    }
    choices = _choices(listed, special)
    return Wiring(input, output, order, dict(nodes), incoming, shapes, brought, choices, identities)


def _sorted(names: Sequence[str], incoming: Mapping[str, tuple[SpaceEdge, ...]]) -> tuple[str, ...]:
    """Returns the nodes, each after those that it reads."""
    order: list[str] = []
    waiting = list(names)
    while waiting:
        done = set(order)
        ready = [n for n in waiting if all(edge.source in done for edge in incoming[n])]
        if not ready:
            cycle = " -> ".join(_cycle(waiting, incoming))
            raise ConfigError(f"the space has a cycle: {cycle}; leave out one of these edges")
        order += ready
        waiting = [n for n in waiting if n not in ready]
    return tuple(order)


def _cycle(waiting: Sequence[str], incoming: Mapping[str, tuple[SpaceEdge, ...]]) -> list[str]:
    """Returns the nodes of a cycle in the direction of its edges, the first one again at the end."""
    path = [waiting[0]]
    while path[-1] not in path[:-1]:
        path.append(next(e.source for e in incoming[path[-1]] if e.source in waiting))
    return path[path.index(path[-1]) :][::-1]


def _check_paths(
    input: str,
    output: str,
    order: Sequence[str],
    incoming: Mapping[str, tuple[SpaceEdge, ...]],
) -> None:
    """Refuses nodes that lie on no path from the input to the output."""
    reached = {input}
    for node in order:
        if any(edge.source in reached for edge in incoming[node]):
            reached.add(node)
    needed = {output}
    for node in reversed(order):
        if node in needed:
            needed.update(edge.source for edge in incoming[node])
    if output not in reached:
        raise ConfigError(
            f"output {output}: no edges lead to it from the input {input}; add edges between them"
        )
    for node in order:
        if node not in reached:
            raise ConfigError(
                f"node {node}: no path leads to it from the input {input}; add an edge"
            )
        if node not in needed:
            raise ConfigError(
                f"node {node}: no path leads from it to the output {output}; add an edge, or leave the node out"
            )


def _shapes(
    input: str,
    shape: Shape,
    order: Sequence[str],
    nodes: Mapping[str, Aggregator],
    incoming: Mapping[str, tuple[SpaceEdge, ...]],
) -> tuple[dict[str, Shape], dict[str, Shape], dict[str, Special]]:
    """Returns the shapes of nodes and edges, and which operations of an edge are special, found by running them."""
    shapes, brought = {input: shape}, {}
    special: dict[str, Special] = {}
    for node in (name for name in order if name != input):
        known: dict[str, Shape] = {}
        for edge in incoming[node]:
            after, special[edge.name] = _outputs(edge, shapes[edge.source])
            if (found := _agreed(edge, after)) is not None:
                known[edge.name] = found
        if not known:
            raise ConfigError(
                f"node {node}: all its edges have the operation none alone, so it has no shape; add an operation"
            )
        shapes[node] = joined_shape(node, nodes[node], known)
        unknown = [edge.name for edge in incoming[node] if edge.name not in known]
        if unknown and nodes[node].absent == "zeros":
            raise ConfigError(
                f"edge {unknown[0]}: has the operation none alone, so what it brings to {node} has no shape; leave it out"
            )
        brought.update({**dict.fromkeys(unknown, shapes[node]), **known})
    return shapes, brought, special


def _outputs(edge: SpaceEdge, shape: Shape) -> tuple[dict[str, Shape | None], Special]:
    """Returns what shape each operation of an edge brings, None for those that bring nothing, and which are special."""
    found: dict[str, Shape | None] = {}
    zeros, identities = set(), set()
    for index, (name, factory) in enumerate(edge.operations.items()):
        where = f"edge {edge.name}, operation {name}"
        module = make(factory, shape, where, 0, edge.name, name)
        if isinstance(module, ZeroOperation):
            zeros.add(index)
        if type(module) is nn.Identity:
            identities.add(index)
        found[name] = None if index in zeros else shape_after(module, shape, where)
        check_fresh(factory, module, shape, where)
    return found, (frozenset(zeros), frozenset(identities))


def _agreed(edge: SpaceEdge, after: Mapping[str, Shape | None]) -> Shape | None:
    """Returns the shape that the operations of an edge agree on, None if all bring nothing."""
    known = {name: shape for name, shape in after.items() if shape is not None}
    if not known:
        return None
    (first, wanted), *others = known.items()
    for name, shape in others:
        if shape != wanted:
            raise ShapeError(
                f"edge {edge.name}: operation {first} brings shape {list(wanted)}, operation {name} brings {list(shape)}; "
                "all operations of an edge have to bring the same"
            )
    return wanted


def _choices(
    edges: Sequence[SpaceEdge], special: Mapping[str, Special]
) -> dict[str, StructureChoice]:
    """Returns the choices of all edges; tied edges make one."""
    found: dict[str, StructureChoice] = {}
    for edge in edges:
        names = tuple(edge.operations)
        before = found.get(edge.key)
        if before is not None and (before.operations, before.domain) != (
            names,
            edge.domain,
        ):
            raise ConfigError(
                f"edge {edge.name}: is tied to edge {before.edges[0]}, but has other operations or another domain "
                f"({', '.join(names)}; {edge.domain}) than that ({', '.join(before.operations)}; {before.domain})"
            )
        zeros, identities = special[edge.name]
        if before is not None and before.zeros != zeros:
            differs = names[min(before.zeros ^ zeros)]
            raise ConfigError(
                f"edge {edge.name}: is tied to edge {before.edges[0]}, and operation {differs} brings something on one of the "
                "two alone; make it a ZeroOperation on both or on none"
            )
        identities |= before.identities if before else frozenset()
        tied = (*(before.edges if before else ()), edge.name)
        found[edge.key] = StructureChoice(edge.key, names, edge.domain, zeros, identities, tied)
    return found


def check_batch(wiring: Wiring, size: int) -> None:
    """Runs every operation of the user's own on a batch of this size, since some work on few examples alone.

    Raises:
        ConfigError, ShapeError, NonFiniteError: as ``wire``; the edge, the operation and the size of the batch are named.
    """
    seen = set()
    for edge in wiring.edges.values():
        shape = wiring.shapes[edge.source]
        for name, factory in edge.operations.items():
            if not is_users(factory) or (id(factory), shape) in seen:
                continue
            seen.add((id(factory), shape))
            where = f"edge {edge.name}, operation {name}"
            module = make(factory, shape, where, 0, edge.name, name)
            if not isinstance(module, ZeroOperation):
                shape_after(module, shape, where, size)
