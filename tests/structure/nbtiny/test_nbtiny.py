"""NB-Tiny: cells, their trainings, the table in the package against trainings made here, and regrets in closed form."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.noise import generator
from netdial.measure.ranks import kendall, ranks, spearman
from netdial.structure import canonical_form, derive
from netdial.structure.nbtiny import (
    CELLS,
    PROBLEMS,
    TinyRecipe,
    TinyTable,
    cell_code,
    cell_index,
    expected_regret,
    load_table,
    random_search_regret,
    train_cells,
)
from netdial.structure.nbtiny.cells import live_edges
from netdial.structure.nbtiny.regret import best_of, first_places, median_regret
from netdial.structure.nbtiny.space import genotype_of, index_of, same_networks, tiny_space
from netdial.structure.nbtiny.table import SEEDS, save_tables
from netdial.structure.nbtiny.training import _Group

SHORT = TinyRecipe(epochs=(1, 2))


def test_cells_have_codes_and_genotypes() -> None:
    assert len(CELLS) == 3**6 == tiny_space().count
    assert [cell_index(cell_code(cell)) for cell in CELLS] == list(range(729))
    space = tiny_space()
    assert [genotype_of(space, cell) for cell in CELLS] == list(space.enumerate())
    assert all(index_of(genotype_of(space, CELLS[at])) == at for at in (0, 5, 400, 728))
    with pytest.raises(ConfigError, match="rnx"):
        cell_index("rnx")


def test_live_edges_are_those_of_the_derived_network() -> None:
    space = tiny_space()
    for index in random.Random(0).sample(range(729), 60):
        net = derive(space, genotype_of(space, CELLS[index]))
        names = {f"{a}->{b}" for a, b in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))}
        live = live_edges(CELLS[index])
        assert len(names & set(net.edges)) == len(live.linear) + len(live.skip)


def test_same_networks_are_the_same() -> None:
    first, space = same_networks(), tiny_space()
    # one hidden path through node 1, or through node 2
    assert first[cell_index("rnnnsn")] == first[cell_index("nrnnns")] == first[cell_index("nnnrnn")]
    assert first[cell_index("rrrrrr")] == cell_index("rrrrrr")
    dead = [index for index, cell in enumerate(CELLS) if not any(live_edges(cell))]
    assert {first[index] for index in dead} == {0}
    for index in (7, 77, 700):
        forms = {canonical_form(space, genotype_of(space, CELLS[i])) for i in (index, first[index])}
        assert len(forms) == 1


@pytest.mark.parametrize("code", ["rrrrrr", "snrnsr", "nnnsnn", "srnrsn"])
def test_a_batched_network_computes_what_the_derived_one_does(code: str) -> None:
    space, cell = tiny_space(3), cell_index(code)
    group = _Group([cell], [4], 8, PROBLEMS["three-spirals"])
    net = derive(space, genotype_of(space, CELLS[cell]))
    stem, *inner, head = ((w[0].T, b[0, 0]) for w, b in group._split())
    edges = [f"{a}->{b}" for a, b in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))]
    given = {"x->0.linear": stem, "3->y.relu-linear.1": head}
    for at, layer in zip(live_edges(CELLS[cell]).linear, inner, strict=True):
        given[f"{edges[at]}.relu-linear.1"] = layer
    state = {
        f"edges.{n}.{k}": v
        for n, wb in given.items()
        for k, v in zip(("weight", "bias"), wb, strict=True)
    }
    net.load_state_dict(state)
    x = torch.randn(6, 2)
    assert torch.allclose(net(x), group.outputs(x[None])[0], atol=1e-6)


def test_a_training_is_that_of_an_ordinary_loop() -> None:
    problem, cell = PROBLEMS["spirals"], cell_index("rsnnrr")
    found = train_cells(problem, [cell], [2], SHORT)
    group = _Group([cell], [2], 8, problem)
    data, source = problem.part("train"), generator("nbtiny", "order", 2)
    weights = group.weights.detach().clone().requires_grad_()
    group.weights = weights
    optimizer = torch.optim.Adam([weights], lr=SHORT.lr)
    for _ in range(2):
        order = torch.randperm(len(data), generator=source)
        for rows in order.split(SHORT.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(group.outputs(data.x[rows][None])[0], data.y[rows]).backward()
            optimizer.step()
    test = problem.part("test")
    loss = functional.cross_entropy(group.outputs(test.x[None])[0], test.y).item()
    assert found.test.item() == pytest.approx(loss, abs=1e-5)


def test_a_training_does_not_depend_on_what_is_trained_beside_it() -> None:
    problem = PROBLEMS["spirals"]
    cells = [cell_index(code) for code in ("rrrrrr", "nnnrnn", "nnnsnn", "nnnnnn", "rnnnrn")]
    together = train_cells(problem, cells, [0, 3], SHORT)
    for at, cell in enumerate(cells):
        alone = train_cells(problem, [cell], [3], SHORT)
        assert torch.allclose(alone.valid[0, 0], together.valid[at, 1], atol=1e-5)
        assert torch.allclose(alone.test[0, 0], together.test[at, 1], atol=1e-5)
    assert together.test[3].tolist() == pytest.approx([math.log(2)] * 2)
    assert not torch.equal(together.test[0, 0], together.test[0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("problem", list(PROBLEMS))
def test_rows_of_the_table_come_out_again(problem: str) -> None:
    table = load_table(problem)
    cells = random.Random(problem).sample(range(729), 6)
    seeds = [1, 6]
    found = train_cells(PROBLEMS[problem], cells, seeds, table.recipe)
    error = np.abs(found.test.numpy() - table.test[np.ix_(cells, seeds)])
    assert (
        np.median(error) < 1e-3
    )  # another processor rounds differently, and training makes more of it
    assert error.max() < 0.3
    early = np.abs(found.valid[..., 0].numpy() - table.valid[np.ix_(cells, seeds)][..., 0])
    assert np.median(early) < 1e-3


@pytest.mark.parametrize("problem", list(PROBLEMS))
def test_the_table_is_reliable_and_says_what_the_problem_is(problem: str) -> None:
    table = load_table(problem)
    assert table.seeds == SEEDS
    assert table.valid_for_regret
    assert table.of_seeds(range(4)).reliability >= 0.8
    assert table.reliability > table.of_seeds(range(4)).reliability
    best = int(table.truth.argmin())
    assert table.regret(best) == table.percentile(best) == 0
    assert "r" in cell_code(CELLS[best])
    assert table.tied(best)
    assert not table.tied(cell_index("ssssss"))
    assert table.regret(cell_index("ssssss")) > 5 * table.noise
    assert table.truth[0] == pytest.approx(math.log(PROBLEMS[problem].arms), abs=1e-4)
    assert spearman(table.valid[..., -1].mean(axis=1), table.test.mean(axis=1)) > 0.99
    assert table.latency_ms is not None
    assert (table.latency_ms > 0).all()
    assert table.latency_ms[728] > table.latency_ms[cell_index("nnnsnn")]
    assert table.costs[728].params == 2 * 8 + 8 + 6 * 72 + 9 * PROBLEMS[problem].arms


def test_cells_that_are_the_same_network_have_the_same_law() -> None:
    """Losses vary within a class as much as between the cells of a class: F tests, of which few are small by chance."""
    table, first = load_table(), np.asarray(same_networks())
    low, classes = 0, 0
    for cell, count in zip(*np.unique(first, return_counts=True), strict=True):
        losses = table.test[first == cell]
        if cell and count > 1:
            between = losses.mean(axis=1).var(ddof=1) * losses.shape[1]
            within = losses.var(axis=1, ddof=1).mean()
            classes += 1
            low += between / within > 4.5
    assert classes > 30
    assert low <= 4


def test_tables_are_kept_and_damage_is_found(tmp_path: Path) -> None:
    table = load_table()
    file = tmp_path / "tables.npz"
    save_tables(file, [table])
    again = load_table("spirals", str(file))
    assert np.array_equal(again.test, table.test)
    assert np.array_equal(again.valid, table.valid)
    assert (again.seeds, again.recipe) == (table.seeds, table.recipe)
    with pytest.raises(CheckpointError, match="three-spirals"):
        load_table("three-spirals", file)
    file.with_name("half").write_bytes(file.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="half"):
        load_table("spirals", file.with_name("half"))
    with pytest.raises(ConfigError, match="spirals"):
        load_table("spirales")


def test_reliability_of_noise_and_of_truth() -> None:
    source = np.random.default_rng(0)
    quality = np.linspace(0, 1, 729)[:, None].repeat(4, axis=1)
    noise = source.normal(size=(729, 4))

    def table(test: np.ndarray) -> TinyTable:
        return TinyTable(PROBLEMS["spirals"], SHORT, (0, 1, 2, 3), test[..., None], test, test)

    assert table(quality).reliability == pytest.approx(1)
    assert abs(table(noise).reliability) < 0.1
    assert not table(noise).valid_for_regret


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_regret_of_random_search_against_all_its_draws(n: int) -> None:
    source = random.Random(n)
    loss = [source.random() for _ in range(7)]
    order = source.sample(range(7), 7)
    draws = [min(draw, key=order.index) for draw in itertools.combinations(range(7), n)]
    mean = sum(loss[network] - min(loss) for network in draws) / len(draws)
    assert random_search_regret(order, loss, n) == pytest.approx(mean)
    assert sum(first_places(7, n)) == pytest.approx(1)
    regrets = sorted(loss[network] - min(loss) for network in draws)
    assert (
        median_regret([order], loss, n) in regrets[(len(regrets) - 1) // 2 : len(regrets) // 2 + 1]
    )


def test_regret_at_a_cost_between_whole_numbers() -> None:
    loss = [0.0, 1.0, 2.0, 3.0]
    ends = [random_search_regret(range(4), loss, n) for n in (1, 2)]
    assert expected_regret(range(4), loss, 1.25) == pytest.approx(0.75 * ends[0] + 0.25 * ends[1])
    assert expected_regret(range(4), loss, 99.5) == 0
    assert best_of([3.0, 1.0, 2.0]) == [1, 2, 0]
    with pytest.raises(ConfigError, match="n=0"):
        random_search_regret(range(4), loss, 0)


def test_rank_correlations_with_ties() -> None:
    assert ranks([5, 1, 5, 0]).tolist() == [3.5, 2, 3.5, 1]
    a, b = [1, 2, 2, 3], [1, 3, 2, 4]
    assert spearman(a, b) == pytest.approx(0.9486833)
    assert kendall(a, b) == pytest.approx(0.9128709)
    assert math.isnan(kendall([1, 1], [1, 2]))
    assert math.isnan(spearman([1, 1], [1, 2]))
