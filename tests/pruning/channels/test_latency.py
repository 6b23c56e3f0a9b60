"""Widths by the clock: what a table picks, and that measuring measures."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from netdial.channels.graph import Graph
from netdial.core.errors import ConfigError
from netdial.pruning.channels import LatencyTable, Rounding, latency_table, round_widths
from netdial.pruning.channels.latency import candidates

TABLES = st.lists(
    st.tuples(st.integers(1, 60), st.floats(0.01, 10)),
    min_size=1,
    max_size=6,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: LatencyTable("g", 1, *map(tuple, zip(*sorted(pairs), strict=True))))


@given(table=TABLES, widths=st.tuples(st.integers(1, 60), st.integers(1, 60)), near=st.floats(0, 1))
def test_rounding_is_monotone(table: LatencyTable, widths: tuple[int, int], near: float) -> None:
    less, more = (table.pick(width, tolerance=near) for width in sorted(widths))
    assert less <= more


@given(table=TABLES, which=st.integers(0, 5), near=st.floats(0, 1))
def test_nothing_is_slower_and_nothing_wider_is_as_fast(
    table: LatencyTable, which: int, near: float
) -> None:
    place = which % len(table.widths)
    width, ms = table.widths[place], table.ms[place]
    picked = table.pick(width)
    took = table.ms[table.widths.index(picked)]
    assert picked >= width
    assert took <= ms
    wider = [t for w, t in zip(table.widths, table.ms, strict=True) if w > picked]
    assert all(t > took for t in wider)
    loose = table.pick(width, tolerance=near)
    assert table.ms[table.widths.index(loose)] <= ms * (1 + near)


@given(
    size=st.integers(1, 80),
    width=st.integers(1, 80),
    grid=st.integers(1, 16),
    least=st.integers(1, 4),
)
def test_candidates_lie_around_the_width(size: int, width: int, grid: int, least: int) -> None:
    width = min(width, size)
    found = candidates(width, size, grid=grid, minimum=least)
    assert found[0] <= width
    assert all(w % grid == 0 or w in (size, width) for w in found)
    assert found[-1] <= size


def graph_of(wide: int = 256) -> Graph:
    net = nn.Sequential(
        nn.Linear(64, wide), nn.ReLU(), nn.Linear(wide, 64), nn.ReLU(), nn.Linear(64, 3)
    )
    return Graph.of(net.eval(), torch.randn(2, 64))


def test_a_wide_layer_takes_longer_than_a_narrow_one_and_nothing_changes() -> None:
    graph = graph_of(1024)
    before = {n: p.clone() for n, p in graph.traced.named_parameters()}
    table = latency_table(graph, "0", (1024, 8), batch=64, seconds=0.1)
    assert table.widths == (8, 1024)
    assert table.ms[0] < table.ms[1]
    assert all(torch.equal(before[n], p) for n, p in graph.traced.named_parameters())


def test_time_is_bounded_and_shared_by_the_groups_that_lose() -> None:
    graph = graph_of(32)
    start = time.perf_counter()
    widths, tables = round_widths(graph, {"0": 20, "2": 64}, Rounding(batch=2, seconds=0.1))
    assert time.perf_counter() - start < 5
    assert [table.group for table in tables] == ["0"]
    assert widths["2"] == 64
    assert widths["0"] in tables[0].widths


@pytest.mark.parametrize(
    ("group", "widths", "words"),
    [
        ("1", (4,), "unknown group '1'"),
        ("0", (0, 4), r"widths \[0, 4\] asked for, expected 1…32"),
        ("0", (33,), "expected 1…32"),
        ("0", (), "expected 1…32"),
    ],
)
def test_what_is_refused(group: str, widths: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        latency_table(graph_of(32), group, widths, seconds=0.01)


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="grid has to be positive"):
        Rounding(grid=0)
    with pytest.raises(ConfigError, match="tolerance has to be positive"):
        Rounding(tolerance=-1)
