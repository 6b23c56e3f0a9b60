"""Posterior over the graphs of a Bayesian network: all of them up to 5 variables, by a Markov chain above."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netdial.core.errors import ConfigError
from netdial.core.noise import derive_seed
from netdial.structure.dags.graphs import MOST_ENUMERATED, Dag, all_dags, bits, edges_of, reaches
from netdial.structure.dags.priors import DagPrior, EdgePrior
from netdial.structure.dags.scores import FamilyScores


@dataclass(frozen=True)
class DagPosterior:
    """What data say about the graph of a Bayesian network.

    Attributes:
        names: variables.
        graphs: graphs and their probabilities, the most probable first; of a chain, those that it visited.
        edge_probs: ``[parent, child]``, the probability of each edge.
        log_evidence: log p(data) under the prior; None for a chain.
        disagreement: of a chain, the largest difference of an edge's probability between its two halves; None if exact.
    """

    names: list[str]
    graphs: list[tuple[Dag, float]]
    edge_probs: NDArray[np.float64]
    log_evidence: float | None = None
    disagreement: float | None = None

    @property
    def best(self) -> Dag:
        """The most probable graph."""
        return self.graphs[0][0]

    def formula(self, dag: Dag | None = None) -> str:
        """Returns a graph as the factors of its joint probability, ``p(rain) p(wet | rain)``; by default the best one."""
        factors = []
        for child, mask in enumerate(self.best if dag is None else dag):
            given = ", ".join(self.names[parent] for parent in bits(mask))
            factors.append(f"p({self.names[child]}{f' | {given}' if given else ''})")
        return " ".join(factors)


def dag_posterior(
    scores: FamilyScores,
    prior: DagPrior | None = None,
    *,
    draws: int | None = None,
    seed: int = 0,
) -> DagPosterior:
    """Returns the posterior over graphs: exact up to 5 variables, by a Markov chain above or where ``draws`` are asked for.

    Args:
        scores: marginal likelihoods of the data.
        prior: prior over graphs; None for the uniform one.
        draws: draws of the chain, after a fifth as many that are left out; None for all graphs, or 20,000 above 5 variables.
        seed: of the chain.

    Raises:
        ConfigError: fewer than 10 draws are asked for.
    """
    prior = EdgePrior() if prior is None else prior
    if draws is None and scores.nodes <= MOST_ENUMERATED:
        return _enumerated(scores, prior)
    count = 20_000 if draws is None else draws
    if count < 10:
        raise ConfigError(f"draws={count}; expected at least 10")
    return _drawn(scores, prior, count, seed)


def _enumerated(scores: FamilyScores, prior: DagPrior) -> DagPosterior:
    dags = all_dags(scores.nodes)
    log_prior = prior.log_probs(dags)
    joint = scores.log_likelihoods(dags) + log_prior
    whole = np.logaddexp.reduce(joint)
    probs = np.exp(joint - whole)
    order = np.argsort(-probs, kind="stable")
    edges = np.zeros((scores.nodes, scores.nodes))
    for child in range(scores.nodes):
        for parent in range(scores.nodes):
            edges[parent, child] = probs[dags[:, child] >> parent & 1 == 1].sum()
    graphs = [(tuple(map(int, dags[i])), float(probs[i])) for i in order]
    log_evidence = float(whole - np.logaddexp.reduce(log_prior))
    return DagPosterior(scores.names, graphs, edges, log_evidence)


def _drawn(scores: FamilyScores, prior: DagPrior, count: int, seed: int) -> DagPosterior:
    chain = DagChain(scores, prior, seed)
    for _ in range(count // 5):
        chain.step()
    halves = [Counter[Dag](), Counter[Dag]()]
    for number in range(count):
        chain.step()
        halves[2 * number // count][chain.dag] += 1
    shares = [_edge_shares(half, scores.nodes) for half in halves]
    seen = halves[0] + halves[1]
    graphs = [(dag, times / count) for dag, times in seen.most_common()]
    return DagPosterior(
        scores.names,
        graphs,
        _edge_shares(seen, scores.nodes),
        disagreement=float(np.abs(shares[0] - shares[1]).max()),
    )


def _edge_shares(seen: Counter[Dag], nodes: int) -> NDArray[np.float64]:
    found = np.zeros((nodes, nodes))
    for dag, times in seen.items():
        for parent, child in edges_of(dag):
            found[parent, child] += times
    return found / max(seen.total(), 1)


class DagChain:
    """Markov chain over graphs.

    A step draws classes anew, proposes another state (no edge, either direction) of as many pairs as there are nodes, and
    proposes that two nodes change places, edges and classes included: that reverses edges whose direction classes hold.

    Args:
        scores: marginal likelihoods of the data.
        prior: prior over graphs.
        seed: of the random numbers.
    """

    def __init__(self, scores: FamilyScores, prior: DagPrior, seed: int = 0) -> None:
        self._scores, self._prior = scores, prior
        self._source = np.random.default_rng(derive_seed(seed, "graphs"))
        self.dag: Dag = (0,) * scores.nodes
        self._blocks = prior.start(scores.nodes)
        self._log_prior = prior.log_prob(self.dag, self._blocks)

    def step(self) -> None:
        """Makes one step."""
        self._blocks = self._prior.redrawn(self.dag, self._blocks, self._source)
        self._log_prior = self._prior.log_prob(self.dag, self._blocks)
        if self._scores.nodes > 1:
            for _ in range(self._scores.nodes):
                self._pair()
            self._swap()

    def _pair(self) -> None:
        one, two = self._two()
        new = self._proposed(one, two, bool(self._source.random() < 0.5))
        if new is None:
            return
        gain = sum(
            self._scores.family(node, new[node]) - self._scores.family(node, self.dag[node])
            for node in (one, two)
        )
        log_prior = self._prior.log_prob(new, self._blocks)
        if math.log(1.0 - self._source.random()) < gain + log_prior - self._log_prior:
            self.dag, self._log_prior = new, log_prior

    def _swap(self) -> None:
        one, two = self._two()
        exchanged = [_exchanged(mask, one, two) for mask in self.dag]
        exchanged[one], exchanged[two] = exchanged[two], exchanged[one]
        new = tuple(exchanged)
        gain = self._scores.log_likelihood(new) - self._scores.log_likelihood(self.dag)
        if math.log(1.0 - self._source.random()) < gain:  # priors do not know one node from another
            self.dag = new
            self._blocks = tuple(_exchanged(block, one, two) for block in self._blocks)

    def _two(self) -> tuple[int, int]:
        one = int(self._source.integers(self._scores.nodes))
        return one, (one + int(self._source.integers(1, self._scores.nodes))) % self._scores.nodes

    def _proposed(self, one: int, two: int, first: bool) -> Dag | None:
        """Returns the graph with another state of a pair, or None where that makes a cycle."""
        forward, backward = self.dag[two] >> one & 1, self.dag[one] >> two & 1
        parents = list(self.dag)
        parents[two] &= ~(1 << one)
        parents[one] &= ~(1 << two)
        states = [(0, 0), (1, 0), (0, 1)]
        states.remove((forward, backward))
        there, back = states[0] if first else states[1]
        if (there and reaches(parents, two, one)) or (back and reaches(parents, one, two)):
            return None
        parents[two] |= there << one
        parents[one] |= back << two
        return tuple(parents)


def _exchanged(mask: int, one: int, two: int) -> int:
    """Returns bits with two of them exchanged."""
    differ = (mask >> one ^ mask >> two) & 1
    return mask ^ (differ << one | differ << two)
