"""NB-Tiny: exact regret of every search strategy, beside random search at equal cost, over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.common.result import Result
from benchmarks.common.timing import one_thread
from netdial.data.dataset import Dataset
from netdial.measure.ranks import kendall
from netdial.structure.derived import derive
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.nbtiny import CELLS, TinyRecipe, TinyTable, expected_regret, load_table
from netdial.structure.nbtiny.cells import live_edges
from netdial.structure.nbtiny.regret import best_of, median_regret
from netdial.structure.nbtiny.space import genotype_of, index_of, same_networks, tiny_space
from netdial.structure.search import Asked, Scope, TrialStrategy, Tried, strategy_of
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.guards import count_skips
from netdial.structure.search.running import run_trials
from netdial.structure.search.searching import prepare
from netdial.structure.search.state import SearchState
from netdial.structure.search.training import try_network
from netdial.task import TASKS
from netdial.train.config import make
from netdial.train.loop import Epoch

_BY_GRADIENT: dict[str, dict[str, Any]] = {
    "darts": {},
    "darts, no guards": {"max_skips": 6},
    "darts, exact": {"options": {"order": "exact"}},
    "darts, finite": {"options": {"order": "finite"}},
    "darts, curvature": {"curvature": True},
    "snas": {},
    "dnas": {},
    "gdas": {},
    "drnas": {},
    "fair": {},
    "pc": {},
    "enas": {},
}
"""Settings beside those that all share; options of strategies are their defaults."""

_BY_TRIALS = ("random", "evolution", "halving", "reinforce", "exhaustive")
_ALIVE = [index for index, cell in enumerate(CELLS) if any(live_edges(cell))]


def search_config(recipe: TinyRecipe, strategy: str, seed: int, **more: Any) -> SearchConfig:
    """Returns settings of a search with the training that all networks of a table had; ``more`` replaces some."""
    settings = {
        "strategy": strategy,
        "epochs": recipe.epochs[-1],
        "network_epochs": recipe.epochs[-1],
        "batch_size": recipe.batch_size,
        "lr": recipe.lr,
        "schedule": "constant",
        "compare": False,
        "seed": seed,
        **more,
    }
    return make(SearchConfig, settings)


@dataclass(frozen=True)
class _Found:
    """What one search came to: a cell, its cost in trainings, and what is known of the supernet."""

    cell: int
    trainings: float
    seconds: float
    skips: int
    tau: float | None = None
    gap: float | None = None
    retrained: float | None = None


def measure(*, quick: bool) -> Result:
    """Runs all strategies on both problems with sixteen seeds; the quick version four of them with two seeds on one."""
    seeds = range(2 if quick else 16)
    with one_thread():
        return _measured(seeds, quick)


def _measured(seeds: range, quick: bool) -> Result:
    value, spread = dict[str, float](), dict[str, tuple[float, float]]()
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for problem in ("spirals",) if quick else ("spirals", "three-spirals"):
        table = load_table(problem)
        lab = _Lab(table)
        found = {
            name: [lab.by_gradient(name, seed) for seed in seeds]
            for name in (["darts", "drnas"] if quick else _BY_GRADIENT)
        }
        found |= {
            name: [lab.by_trials(name, seed) for seed in seeds]
            for name in (("random", "evolution") if quick else _BY_TRIALS)
        }
        tables[problem] = {name: _row(name, table, several) for name, several in found.items()}
    for problem, rows in tables.items():
        name = _best(tables[next((other for other in tables if other != problem), problem)])
        label, best = f"{problem}, {name}", rows[name]
        value[label], spread[label] = best["ratio"], (best["q1"], best["q3"])
        value[f"{label}, means"] = best["ratio, means"]
    return Result(
        "nbtiny-regret",
        value,
        "median regret over that of random search at equal cost",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="random search that draws as many connected networks as a search costs in processor time, trains each once, "
        "and keeps the one of least validation loss; in closed form over all draws and the seeds of the table",
        floor="0; tied: searches whose regret is within one standard error of what is known of two networks. The strategy is "
        "the best by gradient, with guards, on the other problem",
        spread=spread,
        rows=[row for rows in tables.values() for row in rows.values()],
    )


class _Lab:
    """Searches on one problem."""

    def __init__(self, table: TinyTable) -> None:
        self.table = table
        self.space: SearchSpace = tiny_space(table.problem.arms, table.recipe.width)
        self.parts: dict[str, Dataset] = {
            "train": table.problem.part("train"),
            "valid": table.problem.part("valid"),
        }
        self.training = self._training()

    def by_gradient(self, name: str, seed: int) -> _Found:
        """Returns what a search by gradient came to, with its structure trained by the loop as any other."""
        config = search_config(self.table.recipe, name.partition(",")[0], seed).changed(
            **_BY_GRADIENT[name]
        )
        job = prepare(self.space, self.parts["train"], self.parts["valid"], config)
        held: list[SearchState] = []

        def hold(epoch: Epoch, state: SearchState, probabilities: Gamma) -> None:
            held[:] = [state]

        job.report = hold
        found = job.run()
        assert found.gap is not None
        return _Found(
            index_of(found.genotype),
            found.seconds / self.training,
            found.seconds,
            count_skips(self.space, found.genotype),
            self._tau(held[0]),
            found.gap.inherited - found.gap.mixture,
            found.gap.retrained,
        )

    def by_trials(self, name: str, seed: int) -> _Found:
        """Returns what a search by trials came to, with validation losses of the table in place of trainings."""
        strategy = strategy_of(name)
        assert isinstance(strategy, TrialStrategy)
        full = self.table.recipe.epochs[-1]
        alive = set(_ALIVE)
        scope = Scope(self.space, full, seed, lambda genotype: index_of(genotype) in alive)

        def looked_up(asked: Asked) -> Tried:
            at = self.table.recipe.epochs.index(asked.epochs)
            loss = float(
                self.table.valid[index_of(asked.genotype), seed % len(self.table.seeds), at]
            )
            return Tried(asked.genotype, asked.epochs, loss, 0, 0.0)

        results = run_trials(strategy, scope, looked_up, [])
        best = strategy.best(results)
        trainings = sum(each.epochs for each in results) / full
        return _Found(
            index_of(best.genotype),
            trainings,
            trainings * self.training,
            count_skips(self.space, best.genotype),
        )

    def _training(self) -> float:
        """Returns the processor seconds of one training, mean over networks drawn evenly."""
        config, task = search_config(self.table.recipe, "random", 0), TASKS["classification"]()
        source, taken = torch.Generator().manual_seed(0), []
        for place in torch.randperm(len(_ALIVE), generator=source)[:12].tolist():
            net = derive(self.space, genotype_of(self.space, CELLS[_ALIVE[place]]))
            tried = try_network(
                net,
                self.parts["train"],
                self.parts["valid"],
                task,
                config.training(self.table.recipe.epochs[-1]),
            )
            taken.append(tried.seconds)
        return statistics.fmean(taken[2:])

    def _tau(self, state: SearchState) -> float:
        """Returns Kendall's τ between losses with weights of the supernet and true losses, over different networks."""
        valid, task = self.parts["valid"], TASKS["classification"]()
        cells = sorted({same_networks()[cell] for cell in _ALIVE})
        space, found = state.supernet.space, []
        with torch.inference_mode():
            for cell in cells:
                gamma = space.gamma(dict(genotype_of(self.space, CELLS[cell]).chosen))
                found.append(float(task.nll(state.supernet(valid.x, gamma), valid.y).mean()))
        return kendall(found, self.table.truth[cells])


def _row(name: str, table: TinyTable, found: Sequence[_Found]) -> dict[str, Any]:
    """Returns what searches with all seeds came to."""
    regrets = [table.regret(each.cell) for each in found]
    n = max(1.0, statistics.fmean(each.trainings for each in found))
    loss = table.truth.tolist()
    orders = []
    for seed in range(len(table.seeds)):
        orders.append([_ALIVE[i] for i in best_of(table.valid[_ALIVE, seed, -1].tolist())])
    random = statistics.fmean(expected_regret(order, loss, n) for order in orders)
    middle = median_regret(orders, loss, max(1, round(n)))
    return {
        "problem": table.problem.name,
        "strategy": name,
        "regret": statistics.median(regrets),
        "q1": float(np.quantile(regrets, 0.25)),
        "q3": float(np.quantile(regrets, 0.75)),
        "mean": statistics.fmean(regrets),
        "rank %": 100 * statistics.median(table.percentile(each.cell) for each in found),
        "tied": f"{sum(table.tied(each.cell) for each in found)}/{len(found)}",
        "cost": n,
        "random": middle,
        "ratio": statistics.median(regrets) / middle if middle else None,
        "random, mean": random,
        "ratio, means": statistics.fmean(regrets) / random if random else None,
        "tau": _middle([each.tau for each in found]),
        "gap": _middle([each.gap for each in found]),
        "again": _middle([each.retrained for each in found]),
        "skips": statistics.median(each.skips for each in found),
        "s": statistics.median(each.seconds for each in found),
    }


def _best(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the strategy by gradient, with guards, of the least ratio of means."""
    guarded = [name for name in rows if name in _BY_GRADIENT and "no guards" not in name]
    return min(guarded, key=lambda name: rows[name]["ratio, means"])


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(known) if known else None
