"""Priors over directed acyclic graphs: edges by chance, and blocks of nodes that feed alike (Mansinghka et al. 2006).

A block prior says that there are classes of nodes, in an order, and that edges go from earlier classes to later ones with a
probability for each pair of classes: causes, then symptoms. The classes are a Chinese restaurant process, the order is uniform,
and the probabilities of edges have Beta priors that are integrated out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from netdial.core.errors import ConfigError
from netdial.structure.dags.graphs import Dags, bits

Blocks = tuple[int, ...]
"""Nodes of each class, as bits, earlier classes first."""


class DagPrior(Protocol):
    """A prior over graphs that knows no node from another, with latent classes of nodes or with one class of all."""

    def log_probs(self, dags: Dags) -> NDArray[np.float64]:
        """Returns log p(graph) of several graphs ``[D]``, up to a constant."""

    def log_prob(self, dag: Sequence[int], blocks: Blocks) -> float:
        """Returns log p(graph, classes), up to a constant; -inf if classes forbid the graph."""

    def start(self, nodes: int) -> Blocks:
        """Returns classes that allow the graph without edges."""

    def redrawn(self, dag: Sequence[int], blocks: Blocks, source: np.random.Generator) -> Blocks:
        """Returns classes after one move that leaves p(classes | graph) as it is."""


@dataclass(frozen=True)
class EdgePrior:
    """Each edge is there with one probability, given that there is no cycle.

    Attributes:
        edge: that probability; 0.5 is the uniform prior over graphs.
    """

    edge: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.edge < 1:
            raise ConfigError(f"edge={self.edge}; a probability between 0 and 1, both excluded")

    def log_probs(self, dags: Dags) -> NDArray[np.float64]:
        """Returns log p(graph) ``[D]``, up to a constant."""
        edges: NDArray[np.float64] = _ones(dags, dags.shape[1]).sum(axis=1).astype(float)
        return edges * self._log_odds

    def log_prob(self, dag: Sequence[int], blocks: Blocks) -> float:
        """Returns log p(graph), up to a constant."""
        return sum(mask.bit_count() for mask in dag) * self._log_odds

    def start(self, nodes: int) -> Blocks:
        """Returns the one class of all nodes."""
        return ((1 << nodes) - 1,)

    def redrawn(self, dag: Sequence[int], blocks: Blocks, source: np.random.Generator) -> Blocks:
        """Returns the one class."""
        return blocks

    @property
    def _log_odds(self) -> float:
        return math.log(self.edge) - math.log1p(-self.edge)


@dataclass(frozen=True)
class BlockPrior:
    """Classes of nodes in an order, and edges from earlier to later classes.

    Attributes:
        concentration: of the Chinese restaurant process, above 0: the larger, the more classes.
        present: first parameter of the Beta prior of a pair of classes.
        absent: second parameter; large against ``present`` for sparse graphs.
    """

    concentration: float = 1.0
    present: float = 0.5
    absent: float = 0.5

    def __post_init__(self) -> None:
        for name in ("concentration", "present", "absent"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name}={value}; expected a finite number above 0")

    def log_probs(self, dags: Dags) -> NDArray[np.float64]:
        """Returns log p(graph) ``[D]``, summed over all classes and orders, normalised over graphs."""
        nodes = dags.shape[1]
        total = np.full(len(dags), -np.inf)
        for blocks in ordered_partitions(nodes):
            masks = _before(blocks, nodes)
            allowed = np.flatnonzero(((dags & ~np.array(masks)) == 0).all(axis=1))
            within = dags[allowed]
            score = np.full(len(within), self._log_blocks(blocks, nodes))
            for early, late in itertools.combinations(blocks, 2):
                edges = np.zeros(len(within), dtype=np.int64)
                for node in bits(late):
                    edges += _ones(within[:, node] & early, nodes)
                pairs = early.bit_count() * late.bit_count()
                table = np.array([self._log_pair(k, pairs) for k in range(pairs + 1)])
                score += table[edges]
            total[allowed] = np.logaddexp(total[allowed], score)
        return total

    def log_prob(self, dag: Sequence[int], blocks: Blocks) -> float:
        """Returns log p(graph, classes, order); -inf if an edge does not go to a later class."""
        nodes = len(dag)
        if any(mask & ~free for mask, free in zip(dag, _before(blocks, nodes), strict=True)):
            return -math.inf
        total = self._log_blocks(blocks, nodes)
        for early, late in itertools.combinations(blocks, 2):
            edges = sum((dag[node] & early).bit_count() for node in bits(late))
            total += self._log_pair(edges, early.bit_count() * late.bit_count())
        return total

    def start(self, nodes: int) -> Blocks:
        """Returns a class for each node."""
        return tuple(1 << node for node in range(nodes))

    def redrawn(self, dag: Sequence[int], blocks: Blocks, source: np.random.Generator) -> Blocks:
        """Returns the classes with one node drawn anew, given the graph and the others (Gibbs)."""
        node = 1 << int(source.integers(len(dag)))
        rest = [left for block in blocks if (left := block & ~node)]
        joined = [(*rest[:i], b | node, *rest[i + 1 :]) for i, b in enumerate(rest)]
        alone = [(*rest[:i], node, *rest[i:]) for i in range(len(rest) + 1)]
        choices: list[Blocks] = [*joined, *alone]
        scores = np.array([self.log_prob(dag, choice) for choice in choices])
        chances = np.exp(scores - scores.max())
        return choices[int(source.choice(len(choices), p=chances / chances.sum()))]

    def _log_blocks(self, blocks: Blocks, nodes: int) -> float:
        """Returns log p(classes) of the Chinese restaurant process, and of one order of them."""
        rate, count = self.concentration, len(blocks)
        total = count * math.log(rate) + math.lgamma(rate) - math.lgamma(rate + nodes)
        total += sum(math.lgamma(block.bit_count()) for block in blocks)
        return total - math.lgamma(count + 1)

    def _log_pair(self, edges: int, pairs: int) -> float:
        a, b = self.present, self.absent
        here = math.lgamma(a + edges) + math.lgamma(b + pairs - edges) - math.lgamma(a + b + pairs)
        return here - math.lgamma(a) - math.lgamma(b) + math.lgamma(a + b)


def ordered_partitions(nodes: int) -> Iterator[Blocks]:
    """Yields all partitions of nodes into classes, in all orders."""

    def rest(mask: int) -> Iterator[Blocks]:
        if not mask:
            yield ()
        part = mask
        while part:
            for others in rest(mask & ~part):
                yield (part, *others)
            part = (part - 1) & mask

    return rest((1 << nodes) - 1)


def _before(blocks: Blocks, nodes: int) -> list[int]:
    """Returns for each node the nodes of earlier classes."""
    free, earlier = [0] * nodes, 0
    for block in blocks:
        for node in bits(block):
            free[node] = earlier
        earlier |= block
    return free


def _ones(masks: NDArray[np.int64], nodes: int) -> NDArray[np.int64]:
    """Returns how many bits of each number are 1."""
    found: NDArray[np.int64] = sum(
        (masks >> place & 1 for place in range(nodes)), np.zeros_like(masks)
    )
    return found
