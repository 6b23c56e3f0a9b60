"""Which parts of a structure are there: edges and nodes that lie between input and output and bring something.

An edge that chooses nothing but ``ZeroOperation`` is not there; a node without edges is not there, nor is what reads it. A node
that multiplies is not there if one of its edges is not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.parts import Wiring


@dataclass(frozen=True)
class LiveParts:
    """What is left of a space under a structure.

    Attributes:
        nodes: in order; empty if the input does not reach the output.
        edges: names of the edges that bring something to a node which is needed.
    """

    nodes: tuple[str, ...]
    edges: tuple[str, ...]


def live(wiring: Wiring, bringing: Collection[str]) -> LiveParts:
    """Returns what is left when only some edges bring something.

    Args:
        wiring: the space.
        bringing: names of the edges that do.
    """
    reached = {wiring.input}
    for node in wiring.order:
        brings = [e.source in reached and e.name in bringing for e in wiring.incoming[node]]
        fatal = node != wiring.input and wiring.aggregators[node].absent == "fatal"
        if brings and (all(brings) if fatal else any(brings)):
            reached.add(node)
    if wiring.output not in reached:
        return LiveParts((), ())
    needed = {wiring.output}
    edges: set[str] = set()
    for node in reversed(wiring.order):
        if node in needed:
            found = [e for e in wiring.incoming[node] if e.source in reached and e.name in bringing]
            edges.update(e.name for e in found)
            needed.update(e.source for e in found)
    return LiveParts(
        tuple(node for node in wiring.order if node in needed),
        tuple(name for name in wiring.edges if name in edges),
    )


def chosen_operations(wiring: Wiring, genotype: Genotype) -> dict[str, tuple[str, ...]]:
    """Returns the operations that a genotype chooses on each edge, without those that bring nothing."""
    found = {}
    for name, edge in wiring.edges.items():
        choice = wiring.choices[edge.key]
        chosen = genotype[edge.key] if edge.key in wiring.free else choice.operations
        zeros = {choice.operations[index] for index in choice.zeros}
        found[name] = tuple(operation for operation in chosen if operation not in zeros)
    return found


def live_operations(
    wiring: Wiring, genotype: Genotype
) -> tuple[LiveParts, dict[str, tuple[str, ...]]]:
    """Returns what is left under a genotype, and the operations of each edge that is left."""
    chosen = chosen_operations(wiring, genotype)
    parts = live(wiring, {name for name, names in chosen.items() if names})
    return parts, {name: chosen[name] for name in parts.edges}
