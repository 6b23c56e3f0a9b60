"""Relaxing: a search space whose structure parameters may lie anywhere in the unit cube."""

from __future__ import annotations

from netdial.structure.graph.space import SearchSpace


def relaxed(space: SearchSpace) -> SearchSpace:
    """Returns the same space with a gate for each operation, on every edge that has several.

    It is a space of its own: its structures may have any number of operations on an edge.
    """
    wiring = space.wiring
    made = SearchSpace(f"{space.name}, relaxed")
    made.input(wiring.input, wiring.shapes[wiring.input])
    for node in wiring.order[1:]:
        made.node(node, wiring.aggregators[node])
    for name, edge in wiring.edges.items():
        domain = "cube" if len(edge.operations) > 1 else edge.domain
        made.edge(edge.source, edge.target, edge.operations, domain=domain, key=edge.key, name=name)
    made.output(wiring.output)
    return made
