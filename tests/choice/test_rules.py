"""Rules on random tables: what is chosen obeys the rule, whatever the numbers; and cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.choice.rules import best, one_se, sparsest
from netdial.choice.table import Candidate, CandidateTable
from netdial.task import named

ASKED = {"classification": "accuracy", "regression": None}


def table_of(losses: Tensor, kind: str, params: list[int], lams: list[float]) -> CandidateTable:
    """Members by accuracy, whose losses are 0 or 1, or by RMSE, whose losses are squared errors."""
    means = losses.mean(dim=1)
    values = 1 - means if kind == "classification" else means.sqrt()
    cells = tuple(
        Candidate(
            lam, 1 - count / 100, value, count, 4 * count, 2 * count, metrics={"accuracy": value}
        )
        for value, count, lam in zip(values.tolist(), params, lams, strict=True)
    )
    return CandidateTable(cells, losses, named(kind), ASKED[kind])


@st.composite
def tables(draw: st.DrawFn) -> CandidateTable:
    """Random members: right or wrong with some probability each, or squared errors, on shared examples."""
    count, examples = draw(st.integers(1, 12)), draw(st.integers(1, 40))
    kind = draw(st.sampled_from(["classification", "regression"]))
    source = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scale = torch.rand(count, 1, generator=source, dtype=torch.float64)
    losses = torch.rand(count, examples, generator=source, dtype=torch.float64)
    losses = (losses < scale).double() if kind == "classification" else losses * scale
    params = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    lams = draw(st.lists(st.sampled_from([0.01, 1.0, 10.0]), min_size=count, max_size=count))
    return table_of(losses, kind, params, lams)


@given(tables())
def test_best_is_best_and_then_sparsest(table: CandidateTable) -> None:
    chosen = best(table, range(len(table.cells)))
    for index, cell in enumerate(table.cells):
        assert table.losses[chosen].mean() <= table.losses[index].mean()
        if table.losses[chosen].mean() == table.losses[index].mean():
            assert table.cells[chosen].params <= cell.params


@given(tables())
def test_one_se_is_within_one_error_and_nothing_sparser_is(table: CandidateTable) -> None:
    everyone = range(len(table.cells))
    top, chosen = best(table, everyone), one_se(table, everyone)
    assert table.cells[chosen].params <= table.cells[top].params
    for index in everyone:
        gaps = (table.losses[index] - table.losses[top]).tolist()
        mean = math.fsum(gaps) / len(gaps)
        spread = sum((gap - mean) ** 2 for gap in gaps) / max(len(gaps) - 1, 1)
        near = mean <= math.sqrt(spread / len(gaps)) + 1e-12
        if index == chosen:
            assert near
        elif near:
            cell, other = table.cells[chosen], table.cells[index]
            assert (cell.params, -cell.lam) <= (other.params, -other.lam)


@given(tables(), st.data())
def test_fewer_to_choose_from_is_never_better(table: CandidateTable, data: st.DataObject) -> None:
    everyone = list(range(len(table.cells)))
    some = data.draw(st.lists(st.sampled_from(everyone), min_size=1, unique=True))
    means = table.losses.mean(dim=1)
    assert means[best(table, some)] >= means[best(table, everyone)]
    fewest = [table.cells[sparsest(table, among)].params for among in (some, everyone)]
    assert fewest[0] >= fewest[1]
    assert {best(table, some), one_se(table, some), sparsest(table, some)} <= set(some)


@given(tables(), st.integers(2, 4))
def test_rules_do_not_depend_on_the_order(table: CandidateTable, turns: int) -> None:
    order = [(i + turns) % len(table.cells) for i in range(len(table.cells))]
    turned = CandidateTable(
        tuple(table.cells[i] for i in order), table.losses[order], table.task, table.asked
    )
    everyone = range(len(order))
    for rule in (best, one_se, sparsest):
        one, two = table.cells[rule(table, everyone)], turned.cells[rule(turned, everyone)]
        assert (one.params, one.lam, one.value) == (two.params, two.lam, two.value)


def wrong(*examples: int, count: int = 50) -> Tensor:
    losses = torch.zeros(count, dtype=torch.float64)
    losses[list(examples)] = 1
    return losses


@pytest.mark.parametrize(
    ("other", "allowed"),
    [
        (wrong(0), True),  # one example lost: exactly one standard error
        (wrong(0, 1), False),
        (wrong(0, 1, 2, count=50), False),
    ],
)
def test_one_example_is_no_evidence_and_two_are(other: Tensor, allowed: bool) -> None:
    table = table_of(torch.stack([wrong(), other]), "classification", [9, 1], [1.0, 1.0])
    assert one_se(table, [0, 1]) == int(allowed)


def test_examples_gained_count_against_those_lost() -> None:
    first, second = wrong(0, 1, 2), wrong(3, 4, 5, 6, 7)  # five lost, three gained: 2 <= √8
    table = table_of(torch.stack([first, second]), "classification", [9, 1], [1.0, 1.0])
    assert one_se(table, [0, 1]) == 1
    excess, error = table.excess([0, 1], 0)
    assert excess.tolist() == [0, pytest.approx(2 / 50)]
    assert float(error[1]) == pytest.approx(math.sqrt((8 - 4 / 50) / 49 / 50))


def test_what_is_lost_is_positive_for_the_worse() -> None:
    for kind in ("classification", "regression"):
        table = table_of(torch.stack([wrong(), wrong(0)]), kind, [1, 1], [1.0, 1.0])
        assert table.lost(1, 0) > 0 > table.lost(0, 1)


def test_an_accuracy_without_spread_leaves_the_choice_to_the_log_loss() -> None:
    """Three members are right on all 36 examples; of them only two are within one standard error by log loss."""
    source = torch.Generator().manual_seed(0)
    noise = torch.rand(36, generator=source, dtype=torch.float64)
    proper = torch.stack([noise, noise + 0.5 * torch.rand(36, generator=source) - 0.25, noise + 1])
    cells = tuple(
        Candidate(lam, 0.0, 1.0, params, 1, 1) for lam, params in ((0.1, 9), (1.0, 5), (10.0, 1))
    )
    table = CandidateTable(
        cells, torch.zeros(3, 36, dtype=torch.float64), asked="accuracy", proper=proper
    )
    top = int(proper.mean(dim=1).argmin())
    assert best(table, range(3)) == top
    assert one_se(table, range(3)) == 1
    alone = CandidateTable(cells, table.losses, asked="accuracy")
    assert one_se(alone, range(3)) == 2  # nothing else to go by
