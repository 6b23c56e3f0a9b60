"""Fronts and their comparison by hand, and the whole experiment at its smallest."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import ConfigError
from netdial.nets.named import build
from netdial.papers import perform
from netdial.papers.lab.front_arms import trained_arms
from netdial.papers.lab.fronts import (
    FrontNetwork,
    affordable,
    front_of,
    geometric_mean,
    hypervolume,
    smallest,
)
from netdial.papers.lab.lab import Lab
from netdial.papers.shrink_front import PROBLEMS, _missing, _ratios
from netdial.runs.store import Store

SHAPES = {
    "covertype": ((51,), 7),  # three of its columns are constant
    "mnist": ((784,), 10),
    "cifar10": ((3, 32, 32), 10),
    "wine": ((13,), 3),
}
"""Shape of an input, and number of classes."""


def network(params: float, valid: float, seconds: float = 1.0) -> FrontNetwork:
    return FrontNetwork(params, valid, valid - 0.01, (), {}, seconds)


networks = st.lists(
    st.builds(network, st.integers(2, 999).map(float), st.integers(41, 99).map(lambda n: n / 100)),
    min_size=1,
)


@given(networks)
def test_the_front_is_what_no_smaller_network_is_as_good_as(found: list[FrontNetwork]) -> None:
    front = front_of(found)
    assert all(a.params < b.params and a.valid < b.valid for a, b in itertools.pairwise(front))
    for one in found:
        assert any(f.params <= one.params and f.valid >= one.valid for f in front)
        assert smallest(found, one.valid) in front


@given(networks, networks)
def test_more_networks_cover_no_less(first: list[FrontNetwork], more: list[FrontNetwork]) -> None:
    alone = hypervolume(first, 1000.0, 0.4)
    assert 0 < alone <= hypervolume([*first, *more], 1000.0, 0.4) + 1e-9


def test_trials_that_failed_are_told() -> None:
    whole = [network(10, 0.8)] * PROBLEMS["wine"].runs
    arms = dict.fromkeys(("shrunken", "independent", "factor", "channels"), whole)
    assert _missing(PROBLEMS["wine"], arms) == []
    (said,) = _missing(PROBLEMS["wine"], {**arms, "channels": whole[:1]})
    assert "5 of channels" in said and "6 each" in said


def test_ratios_are_of_the_smallest_networks_of_equal_accuracy() -> None:
    ours = [network(10, 0.80), network(20, 0.90), network(500, 0.95)]
    theirs = [network(40, 0.85), network(100, 0.90)]
    rows = {round(row["accuracy"], 3): row["ratio"] for row in _ratios(ours, theirs)}
    assert rows == {0.9: 5.0, 0.895: 5.0, 0.89: 5.0, 0.88: 5.0, 0.85: 2.0}
    assert _ratios([], theirs) == []
    assert affordable([network(1, 0.5, 2.0), network(1, 0.5, 2.0)], 3.0) == [network(1, 0.5, 2.0)]
    assert math.isnan(geometric_mean([]))


def test_unknown_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'covertype'"):
        perform("shrink-front", folder=tmp_path, data="covertyp")


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("size", ["quick", "usual", "full"])
def test_every_size_that_is_drawn_lies_between_the_smallest_network_and_the_start(
    name: str, size: str
) -> None:
    lab = Lab("shrink-front", Store(Path("unused")), quick=size == "quick", full=size == "full")
    problem, (shape, n_outputs) = PROBLEMS[name].at(lab), SHAPES[name]
    low, high = problem.sizes

    def count(*widths: int) -> int:
        net = build(problem.model(*widths), input_shape=shape, n_outputs=n_outputs)
        return sum(p.numel() for p in net.parameters())

    assert count(*[1] * len(problem.start)) < low < high < count()


@pytest.mark.parametrize("name", PROBLEMS)
def test_all_arms_draw_rates_and_decays_from_the_same_ranges(name: str) -> None:
    problem = PROBLEMS[name]
    for arm in trained_arms(problem).values():
        for what, (low, high) in (("lr", problem.rates), ("lam2", problem.decays)):
            assert arm["space"][what] == {"low": low, "high": high, "log": True}


@pytest.mark.slow
def test_the_experiment_at_its_smallest(tmp_path: Path) -> None:
    found = perform("shrink-front", folder=tmp_path, quick=True, data="wine", workers=1)
    arms = found.values["arms"]
    assert [len(arms[name]) for name in ("shrunken", "channels", "independent")] == [4, 4, 4]
    assert len(arms["family"]) == len(arms["one-shot"]) == 3
    for name in ("family", "one-shot"):
        sizes = [one["params"] for one in arms[name]]
        assert sizes == sorted(sizes, reverse=True)
        assert all(abs(size - goal) < 20 for size, goal in zip(sizes, (120, 85, 60), strict=True))
        assert [one["seconds"] > 0 for one in arms[name]] == [True, False, False]
    widths = [network["widths"] for network in arms["factor"]]
    assert all(len(set(line)) == 1 for line in widths)
    assert all(0 < one["inputs"] <= 13 for one in arms["shrunken"])
    assert all(one["inputs"] is None for one in arms["channels"])
    assert {len(set(one["widths"])) for one in arms["grid"]} == {1}
    front = {tuple(n["widths"]) for n in arms["channels"]}
    assert {tuple(n["widths"]) for n in arms["retrained"]} <= front
    for row in found.values["ratios"]["independent"]:
        assert row["ratio"] == row["theirs"] / row["ours"] and row["faster_1"] > 0
    assert "times the parameters" in found.lead
