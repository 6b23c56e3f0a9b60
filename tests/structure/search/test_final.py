"""The final of a search: which structures enter, which stay, which wins."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import netdial as nd
from netdial.structure import Genotype, SearchSpace, StructureCosts, canonical_form
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.ending.final import candidates, play_final
from netdial.structure.search.guards import count_skips
from netdial.structure.search.job import SearchJob
from netdial.structure.search.searching import prepare
from netdial.structure.search.shared.choosing import likeliest_first
from netdial.structure.search.strategy import Tried
from netdial.structure.spaces import ready_space
from netdial.train.session import Interrupted

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)


def gated() -> SearchSpace:
    """A space with a choice of three, and two gates."""
    space = SearchSpace("gated")
    x, y = space.input("x", (3,)), space.node("y")
    h = space.node("h")
    space.edge(x, h, {"a": nn.Identity, "b": nn.ReLU, "c": nn.Tanh})
    space.edge(
        h, y, {"one": lambda: nn.Linear(3, 1), "two": lambda: nn.Linear(3, 1)}, domain="cube"
    )
    space.output(y)
    return space


def job(
    space: SearchSpace, losses: list[tuple[Genotype, int, float]], **settings: Any
) -> SearchJob:
    """Returns a search whose final was trained by an earlier run, with these losses in this order."""
    config = SearchConfig(epochs=1, compare=False, **settings)
    made = prepare(space, (X, Y), (X, Y), config)
    made.done = {"candidate": [Tried(g, 1, loss, 12, 0.0, start) for g, start, loss in losses]}
    made.told = lambda part, tried: pytest.fail("is trained again")
    return made


@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2),
)
def test_structures_come_from_the_likeliest_on(row: list[float], gates: list[float]) -> None:
    space = gated()
    one, two = space.choices
    chances = {one: torch.tensor(row) / sum(row), two: torch.tensor(gates)}

    def probability(genotype: Genotype) -> float:
        found = 1.0
        for name, chance in zip(("a", "b", "c"), chances[one].tolist(), strict=True):
            found *= chance if name in genotype[one] else 1.0
        for name, chance in zip(("one", "two"), chances[two].tolist(), strict=True):
            found *= chance if name in genotype[two] else 1 - chance
        return found

    found = list(likeliest_first(space, chances))
    assert sorted(map(str, found)) == sorted(map(str, space.enumerate()))
    told = [probability(genotype) for genotype in found]
    assert all(a >= b * (1 - 1e-6) for a, b in itertools.pairwise(told))


def test_the_better_half_stays_and_the_mean_over_starts_decides() -> None:
    space = ready_space("polynomial", input_shape=(1,), n_outputs=1, degree=4)
    a, b, c, d = space.enumerate()
    made = prepare(
        space, (X[:, :1], Y), (X[:, :1], Y), SearchConfig(epochs=1, compare=False, starts=3)
    )
    losses = [(a, 0, 0.1), (b, 0, 0.2), (c, 0, 0.3), (d, 0, 0.4)]
    losses += [(a, 1, 0.5), (b, 1, 0.2), (b, 2, 0.15), (a, 2, 0.1)]
    made.done = {"candidate": [Tried(g, 1, loss, 12, 0.0, start) for g, start, loss in losses]}
    (best,), trained = play_final(made, [a, b, c, d])
    assert [(each.genotype, each.start) for each in trained] == [(g, s) for g, s, _ in losses]
    assert (best.genotype, best.start) == (b, 2)  # .55 in all, a has .7 and the best start
    made.config = made.config.changed(starts=1)
    assert [each.genotype for each in play_final(made, [a, b, c, d])[0]] == [a]


def test_each_price_has_a_winner_and_trainings_are_shared() -> None:
    """The larger structure loses less; from a price of .2 of a nat on the smaller one is better."""
    space = gated()
    a, b, c, *_ = space.enumerate()
    size = {a: 1.0, b: 0.5, c: 0.0}
    losses = [(a, 0, 0.1), (b, 0, 0.2), (c, 0, 0.9), (a, 1, 0.15), (b, 1, 0.2)]
    best, trained = play_final(
        job(space, losses, starts=2),
        [a, b, c],
        worths=[lambda g, loss, lam=lam: loss + lam * size[g] for lam in (0.0, 0.1, 0.2, 0.4)],  # type: ignore[misc]
    )
    assert [each.genotype for each in best] == [a, a, b, b]
    assert [each.loss for each in best] == [0.1, 0.1, 0.2, 0.2]
    assert len(trained) == len(losses)


def test_a_training_that_diverges_is_last() -> None:
    space = gated()
    a, b, *_ = space.enumerate()
    losses = [(a, 0, math.inf), (b, 0, 3.0), (b, 1, 4.0), (a, 1, 0.1)]
    (best,), _ = play_final(job(space, losses, starts=2), [a, b])
    assert (best.genotype, best.loss) == (b, 3.0)


def test_first_trainings_that_are_known_are_not_made_again() -> None:
    space = gated()
    a, b, *_ = space.enumerate()
    first = [Tried(a, 1, 0.3, 12, 0.0), Tried(b, 1, 0.2, 12, 0.0)]
    (best,), trained = play_final(job(space, [(b, 1, 0.3), (a, 1, 0.1)], starts=2), [], first)
    assert (best.genotype, best.loss, len(trained)) == (a, 0.1, 2)


def test_the_usual_structure_enters_once_and_within_the_limit() -> None:
    space = ready_space("mlp", input_shape=(3,), n_outputs=1, depth=1, width=8)
    assert space.usual is not None
    usual = space.genotype(space.usual)
    other = next(
        g for g in space.enumerate() if canonical_form(space, g) != canonical_form(space, usual)
    )
    settings = {"epochs": 1, "compare": False, "starts": 1}
    entered = {
        size: [t.genotype for t in play_final(made, first)[1]]
        for size, first in (
            (None, [other]),
            ("150 params", [other]),
            ("2k params", [other, usual]),
        )
        for made in [prepare(space, (X, Y), (X, Y), SearchConfig(size=size, **settings))]
    }
    assert entered[None] == entered["2k params"] == [other, usual]
    params = 3 * 8 + 8 + 8 * 8 + 8 + 8 + 1
    assert params == 113
    small = prepare(space, (X, Y), (X, Y), SearchConfig(size="112 params", **settings))
    assert [t.genotype for t in play_final(small, [other])[1]] == [other]
    assert entered["150 params"] == [other, usual]


def test_candidates_differ_as_networks_and_keep_the_guard() -> None:
    space = ready_space("mlp", input_shape=(3,), n_outputs=1, depth=2, width=4, widths=[2])
    even = {k: torch.full((len(c.operations),), 0.5) for k, c in space.choices.items()}
    even = {k: row / row.sum() for k, row in even.items()}
    made = prepare(space, (X, Y), (X, Y), SearchConfig(epochs=1, max_skips=1, compare=False))
    likeliest = space.discretise(even)
    found = candidates(made, even, likeliest, 12)
    assert found[0] == likeliest
    assert len({canonical_form(space, genotype) for genotype in found}) == len(found) == 12
    for genotype in found[1:]:
        assert sum("skip" in genotype[key] for key in genotype) <= 1


def test_what_size_and_likeness_add_counts_in_the_final() -> None:
    space = ready_space("mlp", input_shape=(3,), n_outputs=1, depth=1, width=4, widths=[2])
    settings: dict[str, Any] = {"epochs": 1, "compare": False, "candidates": 8, "starts": 2}
    parts = (X, Y), (X, Y)
    free = nd.search(space, *parts, **settings)
    priced = nd.search(space, *parts, penalty="1000 params", **settings)
    costs = StructureCosts(space)
    sizes = {costs.of(each.genotype).params for each in priced.trials}
    assert len(sizes) > 1 and priced.cost.params == min(sizes)
    apart = nd.search(space, *parts, unlike={free.genotype: 1000.0}, **settings)
    assert all(apart.genotype[key] != free.genotype[key] for key in space.choices)


def test_an_explicit_limit_of_identities_holds_for_the_usual_structure_too() -> None:
    """It has two: its plain normalisation, and the block that is skipped."""
    space = ready_space("mlp", input_shape=(3,), n_outputs=1, depth=2, width=4, widths=[2])
    usual = space.genotype(space.usual or {})
    assert count_skips(space, usual) == 2
    other = next(g for g in space.enumerate() if count_skips(space, g) == 1)
    for most, entered in ((None, [other, usual]), (2, [other, usual]), (1, [other])):
        config = SearchConfig(epochs=1, compare=False, starts=1, max_skips=most)
        made = prepare(space, (X, Y), (X, Y), config)
        assert [t.genotype for t in play_final(made, [other])[1]] == entered


def test_trainings_of_an_earlier_run_are_taken_over_by_what_they_were() -> None:
    """Measured times may let other structures enter the second time."""
    space = gated()
    a, b, c, *_ = space.enumerate()
    (best,), trained = play_final(
        job(space, [(a, 0, 0.1), (b, 0, 0.3), (c, 0, 0.2)], starts=1), [b, c]
    )
    assert [(each.genotype, each.loss) for each in trained] == [(b, 0.3), (c, 0.2)]
    assert best.genotype == c


def test_a_stop_within_a_training_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is that of one network and not of the search."""
    space = gated()
    made = prepare(space, (X, Y), (X, Y), SearchConfig(epochs=1, compare=False))

    def stopped(*args: Any, **settings: Any) -> Any:
        raise Interrupted("stopped at step 1")

    monkeypatch.setattr("netdial.structure.search.job.try_network", stopped)
    with pytest.raises(Interrupted, match="stopped while a structure was trained"):
        play_final(made, [next(iter(space.enumerate()))])
