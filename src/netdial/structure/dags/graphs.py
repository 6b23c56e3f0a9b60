"""Directed acyclic graphs over a few nodes, as bits: bit j of entry i says that node j is a parent of node i."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from netdial.core.errors import ConfigError

Dag = tuple[int, ...]
"""Parents of each node, as bits."""

Dags = NDArray[np.int64]
"""Several graphs ``[D, nodes]``."""

MOST_ENUMERATED = 5
"""Nodes at which all graphs are still looked at: there are 29,281 on 5 nodes and 3,781,503 on 6."""


def all_dags(nodes: int) -> Dags:
    """Returns all directed acyclic graphs ``[D, nodes]``.

    Raises:
        ConfigError: there are none, or too many.
    """
    if not 1 <= nodes <= MOST_ENUMERATED:
        raise ConfigError(f"{nodes} nodes; graphs on 1 to {MOST_ENUMERATED} are enumerated")
    graphs = np.zeros((1, nodes), dtype=np.int64)
    for node in range(nodes):
        masks = np.array([m for m in range(1 << nodes) if not m >> node & 1])
        graphs = np.repeat(graphs, len(masks), axis=0)
        graphs[:, node] = np.tile(masks, len(graphs) // len(masks))
    return graphs[_acyclic(graphs)]


def _acyclic(graphs: Dags) -> NDArray[np.bool_]:
    """Returns which graphs have no cycle: nodes whose parents are gone go, until none is left or none can."""
    nodes = graphs.shape[1]
    left = np.full(len(graphs), (1 << nodes) - 1)
    for _ in range(nodes):
        going = np.zeros_like(left)
        for node in range(nodes):
            going |= np.where(graphs[:, node] & left == 0, 1 << node, 0)
        left &= ~going
    return np.asarray(left == 0)


def reaches(dag: Sequence[int], start: int, end: int) -> bool:
    """Returns whether a directed path leads from one node to another."""
    seen, waiting = 0, 1 << end
    while waiting:
        seen |= waiting
        parents = 0
        for node in bits(waiting):
            parents |= dag[node]
        waiting = parents & ~seen
    return bool(seen >> start & 1)


def bits(mask: int) -> Iterator[int]:
    """Yields the places of the ones of a number.

    >>> list(bits(0b1010))
    [1, 3]
    """
    place = 0
    while mask:
        if mask & 1:
            yield place
        mask, place = mask >> 1, place + 1


def dag_of(nodes: int, edges: Iterable[tuple[int, int]]) -> Dag:
    """Returns the graph of some edges, each from parent to child.

    >>> dag_of(3, [(0, 1), (1, 2)])
    (0, 1, 2)

    Raises:
        ConfigError: a node does not exist, or the edges make a cycle.
    """
    parents = [0] * nodes
    for parent, child in edges:
        if not (0 <= parent < nodes and 0 <= child < nodes):
            raise ConfigError(f"edge {parent} → {child}; nodes are 0 … {nodes - 1}")
        if reaches(parents, child, parent):
            raise ConfigError(f"edge {parent} → {child} makes a cycle")
        parents[child] |= 1 << parent
    return tuple(parents)


def edges_of(dag: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the edges of a graph, each from parent to child."""
    return [(parent, child) for child, mask in enumerate(dag) for parent in bits(mask)]
