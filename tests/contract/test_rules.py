"""What every rule of choice must keep to: it names a row that it may choose. A new one is enrolled by its name."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netdial.choice import rules as on_tables
from netdial.choice.table import Candidate, CandidateTable
from netdial.core.best import RULES, Row
from netdial.core.errors import ConfigError

names = pytest.mark.parametrize("name", list(RULES))
LOSSES = st.sampled_from([0.1, 0.2, 0.5, math.nan, math.inf])


@st.composite
def members(draw: st.DrawFn) -> list[Row]:
    rows = st.builds(
        Row,
        lam=st.sampled_from([0.01, 1.0, 100.0]),
        loss=LOSSES,
        error=st.sampled_from([0.0, 0.1, math.nan]),
        size=st.sampled_from([1.0, 10.0]),
    )
    return [Row(1.0, 0.3, 0.0, 10.0), *draw(st.lists(rows, max_size=6))]


@names
@given(rows=members(), data=st.data())
def test_one_measured_row_of_those_allowed(name: str, rows: list[Row], data: st.DataObject) -> None:
    among = [0, *data.draw(st.sets(st.integers(0, len(rows) - 1)))]
    found = RULES[name](rows, among)
    assert found in among and rows[found].is_measured
    assert RULES[name](rows, among) == found, "the same rows have the same answer"
    assert RULES[name](rows, list(reversed(among))) in [
        i for i in among if (rows[i].size, rows[i].lam) == (rows[found].size, rows[found].lam)
    ]


@names
def test_nothing_to_choose_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="none of 2 members has a finite loss"):
        RULES[name]([Row(1.0, math.nan), Row(2.0, math.inf)], None)
    with pytest.raises(ConfigError, match="none of 0"):
        RULES[name]([Row(1.0, 0.5)], [])


@names
def test_the_same_rule_chooses_from_a_table(name: str) -> None:
    """Of members over λ × share removed, by losses on the same examples."""
    losses = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.25, 0.3], [0.9, 0.8, 0.7]]).double()
    cells = [
        Candidate(lam, 0.0, float(row.mean()), params, 4 * params, params)
        for lam, row, params in zip((0.1, 1.0, 10.0), losses, (30, 20, 10), strict=True)
    ]
    table = CandidateTable(tuple(cells), losses)
    found = on_tables.RULES[name](table, [0, 1, 2])
    assert found == RULES[name](table.rows([0, 1, 2]), None)
    assert on_tables.RULES[name](table, [2]) == 2


@names
def test_the_tables_of_rules_agree_and_say_what_comes_back(name: str) -> None:
    assert set(on_tables.RULES) == set(RULES)
    for rule in (RULES[name], on_tables.RULES[name]):
        assert (inspect.getdoc(rule) or "").startswith("Returns the")
