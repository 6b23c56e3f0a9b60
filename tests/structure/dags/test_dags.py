"""Bayesian networks: all graphs, closed forms, and posteriors by enumeration and by a chain against brute force."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import ConfigError, DataError
from netdial.structure.dags import (
    BlockPrior,
    EdgePrior,
    FamilyScores,
    all_dags,
    dag_of,
    dag_posterior,
    edges_of,
)
from netdial.structure.dags.priors import ordered_partitions

COUNTS = {1: 1, 2: 3, 3: 25, 4: 543, 5: 29_281}


def rows(nodes: int, count: int = 40, seed: int = 0) -> Any:
    """Binary and ternary variables: 0 → 1 → 2, 0 → 3, the others alone."""
    source = np.random.default_rng(seed)
    x = source.integers(0, 2, size=(count, nodes))
    for parent, child in ((0, 1), (1, 2), (0, 3)):
        if child < nodes:
            copied = source.random(count) < 0.8
            x[copied, child] = x[copied, parent]
    if nodes > 4:
        x[:, 4] = source.integers(0, 3, size=count)
    return x


@pytest.mark.parametrize("nodes", COUNTS)
def test_all_graphs_are_found_and_differ(nodes: int) -> None:
    graphs = {tuple(dag) for dag in all_dags(nodes).tolist()}
    assert len(graphs) == len(all_dags(nodes)) == COUNTS[nodes]
    some = list(graphs)[:: max(1, len(graphs) // 50)]
    assert all(dag_of(nodes, edges_of(dag)) == dag for dag in some)


def test_graphs_beyond_five_nodes_are_not_enumerated() -> None:
    for nodes in (0, 6):
        with pytest.raises(ConfigError, match=f"{nodes} nodes"):
            all_dags(nodes)


def one_by_one(x: Any, node: int, parents: tuple[int, ...], size: float) -> float:
    """log p(column | parents) as the product of the predictions of each row from those before it."""
    values = int(x[:, node].max()) + 1
    configurations = math.prod(int(x[:, p].max()) + 1 for p in parents)
    alpha = size / (values * configurations)
    seen: Counter[Any] = Counter()
    total = 0.0
    for row in x:
        at = tuple(row[list(parents)])
        total += math.log((alpha + seen[at, row[node]]) / (alpha * values + seen[at]))
        seen[at, row[node]] += 1
        seen[at] += 1
    return total


@given(st.integers(0, 1000), st.sampled_from([0.3, 1.0, 8.0]))
def test_likelihood_is_the_product_of_predictions(seed: int, size: float) -> None:
    x = rows(5, 25, seed)
    scores = FamilyScores(x, size)
    for node, parents in ((0, ()), (2, (1,)), (4, (0, 3)), (1, (0, 2, 4))):
        mask = sum(1 << p for p in parents)
        assert scores.family(node, mask) == pytest.approx(one_by_one(x, node, parents, size))


def test_graphs_of_equal_independences_have_equal_likelihood() -> None:
    scores = FamilyScores(rows(3), 2.5)
    chain, reverse, fork, collider = (
        scores.log_likelihood(dag_of(3, edges))
        for edges in (
            [(0, 1), (1, 2)],
            [(2, 1), (1, 0)],
            [(1, 0), (1, 2)],
            [(0, 1), (2, 1)],
        )
    )
    assert chain == pytest.approx(reverse) == pytest.approx(fork)
    assert abs(chain - collider) > 0.1


@pytest.mark.slow
def test_posterior_over_29281_graphs_is_that_of_brute_force() -> None:
    """Graphs as subsets of the edges of each order of the nodes, families scored row by row."""
    x = rows(5, 30)
    found = dag_posterior(FamilyScores(x), EdgePrior(0.3))
    graphs = {
        frozenset(edges)
        for order in itertools.permutations(range(5))
        for edges in _subsets([*itertools.combinations(order, 2)])
    }
    assert len(graphs) == len(found.graphs) == 29_281
    known: dict[Any, float] = {}
    joint, prior = {}, {}
    for edges in graphs:
        total = 0.0
        for node in range(5):
            parents = tuple(sorted(p for p, child in edges if child == node))
            if (node, parents) not in known:
                known[node, parents] = one_by_one(x, node, parents, 1.0)
            total += known[node, parents]
        prior[edges] = 0.3 ** len(edges) * 0.7 ** (20 - len(edges))
        joint[edges] = total + math.log(prior[edges])
    top = max(joint.values())
    whole = sum(math.exp(one - top) for one in joint.values())
    evidence = top + math.log(whole) - math.log(sum(prior.values()))
    assert found.log_evidence == pytest.approx(evidence)
    for dag, prob in found.graphs[:200]:
        assert prob == pytest.approx(math.exp(joint[frozenset(edges_of(dag))] - top) / whole)
    for edge in ((0, 1), (2, 4), (3, 0)):
        summed = sum(math.exp(one - top) for edges, one in joint.items() if edge in edges)
        assert found.edge_probs[edge] == pytest.approx(summed / whole)


def _subsets(items: list[Any]) -> list[Any]:
    return [
        [item for place, item in enumerate(items) if mask >> place & 1]
        for mask in range(1 << len(items))
    ]


def test_ordered_partitions_are_counted_by_fubini_numbers() -> None:
    for nodes, count in ((1, 1), (2, 3), (3, 13), (4, 75), (5, 541)):
        assert len(set(ordered_partitions(nodes))) == count


@pytest.mark.parametrize("prior", [BlockPrior(), BlockPrior(0.4, 1.0, 3.0)])
def test_a_block_prior_is_normalised_over_graphs(prior: BlockPrior) -> None:
    for nodes in (1, 3, 4):
        dags = all_dags(nodes)
        log_probs = prior.log_probs(dags)
        assert np.exp(log_probs).sum() == pytest.approx(1)
        last = tuple(map(int, dags[-1]))
        each = [prior.log_prob(last, blocks) for blocks in ordered_partitions(nodes)]
        assert np.logaddexp.reduce(each) == pytest.approx(log_probs[-1])


def test_a_block_prior_favours_blocks() -> None:
    """Causes 0, 1 and symptoms 2, 3: all four edges across are likelier than as many edges in a line."""
    across = dag_of(4, [(0, 2), (0, 3), (1, 2), (1, 3)])
    line = dag_of(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    one, two = BlockPrior().log_probs(np.array([across, line]))
    assert one > two + 0.5
    assert EdgePrior().log_probs(np.array([across, line])).tolist() == [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nodes", "prior"), [(4, EdgePrior(0.4)), (4, BlockPrior(1.0, 0.5, 1.0)), (5, EdgePrior())]
)
def test_the_chain_agrees_with_enumeration(nodes: int, prior: Any) -> None:
    scores = FamilyScores(rows(nodes, 15), 1.0)
    exact = dag_posterior(scores, prior)
    drawn = dag_posterior(scores, prior, draws=4000, seed=1)
    assert np.abs(exact.edge_probs - drawn.edge_probs).max() < 0.06
    assert drawn.disagreement is not None and drawn.disagreement < 0.1
    known = dict(exact.graphs)
    assert sum(abs(share - known[dag]) for dag, share in drawn.graphs[:20]) < 0.12
    assert drawn.log_evidence is None and exact.disagreement is None


def test_above_five_variables_the_chain_finds_what_the_data_came_from() -> None:
    x = rows(6, 250, seed=4)
    names = ["a", "b", "c", "d", "e", "f"]
    columns = {
        name: [f"v{value}" for value in column] for name, column in zip(names, x.T, strict=True)
    }
    found = dag_posterior(FamilyScores(columns), draws=600, seed=0)
    either = found.edge_probs + found.edge_probs.T
    for one, two in itertools.combinations(range(6), 2):
        joined = (one, two) in {(0, 1), (1, 2), (0, 3)}
        assert (either[one, two] > 0.5) == joined
    text = found.formula(dag_of(6, [(0, 1), (1, 2), (0, 3)]))
    assert text == "p(a) p(b | a) p(c | b) p(d | a) p(e) p(f)"
    assert found.names == names


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 → 2"):
        dag_of(3, [(0, 1), (2, 0), (0, 2)])
    with pytest.raises(ConfigError, match="0 → 9"):
        dag_of(3, [(0, 9)])
    with pytest.raises(DataError, match=r"'a'.*0\.5"):
        FamilyScores({"a": [0.5, 1.0], "b": [1, 0]})
    with pytest.raises(DataError, match=r"\[1, 2\]"):
        FamilyScores({"a": [1], "b": [1, 0]})
    with pytest.raises(DataError, match="0"):
        FamilyScores({"a": []})
    with pytest.raises(DataError, match=r"\[3\]"):
        FamilyScores(np.zeros(3))
    with pytest.raises(ConfigError, match="25 variables"):
        FamilyScores(np.zeros((2, 25)))
    for make in (
        lambda: FamilyScores(rows(2), 0.0),
        lambda: EdgePrior(1.0),
        lambda: BlockPrior(absent=-1.0),
        lambda: dag_posterior(FamilyScores(rows(2)), draws=3),
    ):
        with pytest.raises(ConfigError, match="="):
            make()


def test_a_frame_has_the_names_of_its_columns() -> None:
    """They were x0 and x1."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"rain": ["yes", "no"] * 20, "wet": [True, False] * 20})
    posterior = dag_posterior(FamilyScores(frame), BlockPrior())
    assert posterior.formula() in ("p(rain) p(wet | rain)", "p(rain | wet) p(wet)")
    assert FamilyScores(frame).names == FamilyScores(dict(frame)).names == ["rain", "wet"]


@pytest.mark.parametrize("gone", [None, float("nan"), "NA"])
def test_missing_values_are_refused_in_words(gone: Any) -> None:
    """They ended in a traceback."""
    pandas = pytest.importorskip("pandas")
    values = pandas.array([1, pandas.NA, 2], dtype="Int64") if gone == "NA" else ["a", gone, "b"]
    with pytest.raises(DataError, match=r"'x' has no value in 1 row\(s\), first in row 1"):
        FamilyScores({"x": values, "y": [0, 1, 0]})


def test_values_that_differ_in_most_rows_are_refused() -> None:
    """Such a column, pure noise, had all others as its parents with probability 1."""
    noise = [round(7919 * i % 1009) for i in range(200)]
    with pytest.raises(DataError, match=r"'id' has 200 different values in 200 rows.*bins"):
        FamilyScores({"id": noise, "y": [i % 2 for i in range(200)]})
    FamilyScores({"few": list(range(10)), "y": [0, 1] * 5})
