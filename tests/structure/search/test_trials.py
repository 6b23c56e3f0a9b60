"""Strategies by trials on a space whose losses are known, without training."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError
from netdial.structure import Genotype, SearchSpace, canonical_form
from netdial.structure.nbtiny import CELLS, load_table
from netdial.structure.nbtiny.space import index_of, same_networks, tiny_space
from netdial.structure.search import SEARCHES, Asked, Scope, TrialStrategy, Tried, strategy_of
from netdial.structure.search.running import run_trials
from netdial.structure.search.shared.choosing import VertexCode
from netdial.structure.search.shared.controller import Baseline, Controller, reinforce_loss

from ..spaces_of_tests import dense_cell

SPACE = tiny_space()
OPTIONS: dict[str, dict[str, Any]] = {
    "random": {"trials": 20},
    "evolution": {"trials": 60},
    "halving": {"trials": 27},
    "reinforce": {"trials": 50},
    "exhaustive": {},
}


def scope(seed: int = 0, space: SearchSpace = SPACE) -> Scope:
    return Scope(space, 60, seed, lambda genotype: True)


def looked_up(asked: Asked) -> Tried:
    """The validation loss of a cell by the table, at the epochs asked for."""
    table = load_table()
    at = table.recipe.epochs.index(asked.epochs)
    loss = float(table.valid[index_of(asked.genotype), 0, at])
    return Tried(asked.genotype, asked.epochs, loss, 800 * asked.epochs, 0.0)


def ran(name: str, seed: int = 0, **options: Any) -> tuple[TrialStrategy, list[Tried]]:
    strategy = strategy_of(name, {**OPTIONS[name], **options})
    assert isinstance(strategy, TrialStrategy)
    return strategy, run_trials(strategy, scope(seed), looked_up, [])


def test_all_strategies_by_trials_are_tested() -> None:
    kinds = {name for name in SEARCHES if issubclass(SEARCHES[name], TrialStrategy)}
    assert kinds == set(OPTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(OPTIONS))
def test_a_search_repeats_and_goes_on_from_any_of_its_results(name: str) -> None:
    strategy, whole = ran(name, 3)
    again = run_trials(strategy, scope(3), looked_up, whole[:7])
    assert [each.genotype for each in again] == [each.genotype for each in whole]
    other = ran(name, 4)[1]
    assert name == "exhaustive" or [t.genotype for t in other] != [t.genotype for t in whole]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evolution", "reinforce"])
def test_it_learns(name: str) -> None:
    gains = []
    for seed in range(4):
        _, results = ran(name, seed)
        losses = [each.loss for each in results]
        gains.append(statistics.fmean(losses[:10]) - statistics.fmean(losses[-15:]))
    assert statistics.median(gains) > 0.05


def test_evolution_changes_one_choice_of_one_of_the_youngest() -> None:
    _, results = ran("evolution", 1, population=6, tournament=2, trials=40)
    code = VertexCode(SPACE)
    for at in range(6, 40):
        child, young = code.code(results[at].genotype), results[at - 6 : at]
        apart = [
            sum(a != b for a, b in zip(code.code(y.genotype), child, strict=True)) for y in young
        ]
        assert 1 in apart
    assert len({each.genotype for each in results}) == 40
    losses = [y.loss for y in results[:6]]
    only_best = strategy_of("evolution", {"population": 6, "tournament": 6, "trials": 40})
    assert isinstance(only_best, TrialStrategy)
    (asked,) = only_best.propose(scope(1), results[:6])
    parent = code.code(results[losses.index(min(losses))].genotype)
    assert sum(a != b for a, b in zip(parent, code.code(asked.genotype), strict=True)) == 1


def test_rungs_of_few_structures_and_epochs_are_climbed_once() -> None:
    space = SearchSpace("few")
    x, y = space.input("x", (2,)), space.node("y")
    names = [f"operation{number}" for number in range(7)]
    space.edge(x, y, dict.fromkeys(names, lambda: nn.Linear(2, 2)))
    space.output(y)
    strategy = strategy_of("halving", {"trials": 18})
    assert isinstance(strategy, TrialStrategy)

    def made(asked: Asked) -> Tried:
        loss = float(names.index(asked.genotype["x->y"][0]))
        return Tried(asked.genotype, asked.epochs, loss, 1, 0.0)

    results = run_trials(strategy, Scope(space, 4, 0, lambda genotype: True), made, [])
    assert [each.epochs for each in results] == [1] * 7 + [1] * 2 + [4]
    assert sorted(each.loss for each in results[7:9]) == [0, 1]
    assert results[-1].loss == 0


def test_halving_climbs_its_rungs() -> None:
    strategy, results = ran("halving")
    assert Counter(each.epochs for each in results) == {7: 27, 20: 9, 60: 3}
    short, middle = results[:27], results[27:36]
    best = {each.genotype for each in sorted(short, key=lambda each: each.loss)[:9]}
    assert {each.genotype for each in middle} == best
    assert strategy.best(results).epochs == 60
    assert Counter(t.epochs for t in ran("halving", trials=1)[1]) == {7: 1, 20: 1, 60: 1}
    assert {t.epochs for t in ran("halving", rungs=1)[1]} == {60}


def test_exhaustive_search_finds_the_best_and_trains_nothing_twice() -> None:
    strategy, results = ran("exhaustive")
    assert len(results) == len(set(same_networks()))
    forms = [canonical_form(SPACE, each.genotype) for each in results]
    assert len(set(forms)) == len(forms)
    best = strategy.best(results).loss
    assert best == min(each.loss for each in results)
    with pytest.raises(ConfigError, match=r"729.*700"):
        ran("exhaustive", most=700)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_limits_are_kept(name: str) -> None:
    space = dense_cell(3)

    def few(genotype: Genotype) -> bool:
        return [genotype[key] for key in genotype].count(("linear",)) <= 1

    def loss(asked: Asked) -> Tried:
        return Tried(asked.genotype, asked.epochs, float(len(str(asked.genotype))), 1, 0.0)

    strategy = strategy_of(name, OPTIONS[name])
    assert isinstance(strategy, TrialStrategy)
    results = run_trials(strategy, Scope(space, 60, 0, few), loss, [])
    assert all(few(each.genotype) for each in results)


@pytest.mark.parametrize("domain", ["simplex", "cube"])
def test_codes_are_those_of_all_vertices(domain: Any) -> None:
    space = dense_cell(3, domain=domain)
    code = VertexCode(space)
    found = list(space.enumerate())
    codes = [code.code(genotype) for genotype in found]
    assert len({tuple(each) for each in codes}) == space.count
    assert [code.genotype(each) for each in codes] == found
    source = torch.Generator().manual_seed(0)
    changed = Counter(code.mutated(found[0], source) for _ in range(2000))
    assert found[0] not in changed
    assert len(changed) == sum(count - 1 for count in code.counts)
    assert min(changed.values()) > 0.5 * 2000 / len(changed)


def test_too_many_gates_on_an_edge_are_refused() -> None:
    space = SearchSpace()
    x, y = space.input("x", (2,)), space.node("y")
    space.edge(x, y, {f"line{at}": lambda: nn.Linear(2, 2) for at in range(13)}, domain="cube")
    space.output(y)
    with pytest.raises(ConfigError, match=r"x->y: 13 gates have 8192"):
        VertexCode(space)


def test_probabilities_of_the_controller_add_up_and_are_those_of_its_draws() -> None:
    controller = Controller([3, 2, 3], seed=1)
    for parameter in controller.parameters():
        parameter.data *= 8
    every = torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(3))
    with torch.no_grad():
        chances = controller(every).log_prob.exp()
        assert chances.sum().item() == pytest.approx(1, abs=1e-5)
        draw = controller(count=20_000, source=torch.Generator().manual_seed(0))
        place = draw.codes @ torch.tensor([6, 3, 1])
        shares = torch.bincount(place, minlength=18) / 20_000
        assert (shares - chances).abs().max() < 0.02
        assert torch.allclose(controller(draw.codes).log_prob, draw.log_prob, atol=1e-5)
        entropy = -(chances * chances.log()).sum()
        assert draw.entropy.mean().item() == pytest.approx(entropy.item(), rel=0.02)
        best = controller()
        assert best.chances[0][0].argmax() == best.codes[0, 0]


def test_reinforce_is_the_gradient_of_the_expected_loss() -> None:
    controller = Controller([3, 2], seed=2)
    every = torch.cartesian_prod(torch.arange(3), torch.arange(2))
    losses = torch.tensor([0.3, 2.0, 1.0, -1.0, 0.5, 0.1])
    parameters = list(controller.parameters())
    exact = torch.autograd.grad((controller(every).log_prob.exp() * losses).sum(), parameters)
    for baseline in (0.0, 5.0):
        draw = controller(every)
        weight = draw.log_prob.detach().exp() * len(every)  # each structure as often as it is drawn
        loss = reinforce_loss(draw.log_prob, draw.entropy, weight * (losses - baseline), 0.0)
        for a, b in zip(torch.autograd.grad(loss, parameters), exact, strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_a_baseline_does_not_depend_on_the_scale_of_losses() -> None:
    losses = [torch.tensor([1.0, 3.0]), torch.tensor([2.0, 8.0]), torch.tensor([0.0, 1.0])]
    ends = []
    for scale in (1.0, 1000.0):
        baseline = Baseline()
        for some in losses:
            advantage = baseline.advantage(scale * some)
            baseline = baseline.after(scale * some)
        ends.append(advantage)
    assert torch.allclose(*ends)
    assert Baseline().advantage(torch.tensor([1.0, 3.0])).tolist() == [-1, 1]
    assert torch.isfinite(Baseline().advantage(torch.tensor([2.0, 2.0]))).all()


def test_the_table_has_what_the_searches_ask_for() -> None:
    assert load_table().recipe.epochs == (7, 20, 60)
    assert len(CELLS) == SPACE.count
