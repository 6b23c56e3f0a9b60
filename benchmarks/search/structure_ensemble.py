"""Test loss of an average over different structures that searches found, beside deep ensembles in the same time, on NB-Tiny."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.common.result import Result
from benchmarks.common.timing import one_thread
from benchmarks.search.nbtiny_regret import search_config
from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset
from netdial.structure.derived import derive
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import SearchSpace
from netdial.structure.nbtiny import CELLS, TinyTable, load_table
from netdial.structure.nbtiny.space import genotype_of, index_of, same_networks, tiny_space
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.searching import search
from netdial.structure.search.training import train_network
from netdial.task import TASKS

_STRUCTURES, _WEIGHTS = 3, (1.0, 0.01)
"""Searches with λ_struct = [0; 0; 0], [λ; 0; 0] and [λ; λ; 0]; values of λ."""

_DENSEST = 728
"""The cell with a linear layer on each edge."""


def measure(*, quick: bool) -> Result:
    """Searches three times on both problems with eight seeds; the quick version on one with two, briefly."""
    with one_thread():
        return _measured(range(2 if quick else 8), quick)


def _measured(seeds: range, quick: bool) -> Result:
    rows, value, spread = [], dict[str, float](), dict[str, object]()
    for problem in ("spirals",) if quick else ("spirals", "three-spirals"):
        table = load_table(problem)
        runs = [_run(table, seed, quick) for seed in seeds]
        for name in runs[0]:
            row: dict[str, Any] = {"problem": problem, "of": name}
            row["test loss, nats"] = statistics.fmean(run[name].nats for run in runs)
            for weight in _WEIGHTS:
                apart = [run[name].nats - run[_label(weight)].nats for run in runs]
                row[f"less three, λ {weight:g}"] = statistics.fmean(apart)
                row[f"error, {weight:g}"] = _error(apart)
            row["networks"] = statistics.median(run[name].networks for run in runs)
            row["that differ"] = statistics.fmean(run[name].different for run in runs)
            row["s"] = statistics.fmean(run[name].seconds for run in runs)
            rows.append(row)
        for weight in _WEIGHTS:
            for rival in ("deep ensemble, equal time", "deep ensemble of three"):
                apart = [run[_label(weight)].nats - run[rival].nats for run in runs]
                name = f"{problem}, λ {weight:g}, less {rival}"
                value[name], spread[name] = statistics.fmean(apart), (min(apart), max(apart))
    return Result(
        "structure-ensemble",
        value,
        "nats of three structures less those of a rival",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="deep ensembles: the first structure found trained from other starts, as many as three, or for as long as all "
        "three searches took; and the same of the network with a linear layer on each edge, which needs no search",
        floor="predictions are means of probabilities, all with equal weight",
        spread=spread,
        rows=rows,
    )


def _label(weight: float) -> str:
    return f"three structures, λ {weight:g}"


@dataclass(frozen=True)
class _Came:
    """What one way came to: test loss in nats, networks, those of them that differ in structure, processor time in seconds."""

    nats: float
    networks: int
    different: int
    seconds: float


def _run(table: TinyTable, seed: int, quick: bool) -> dict[str, _Came]:
    """Returns what each way came to."""
    space = tiny_space(table.problem.arms, table.recipe.width)
    train, valid, test = (table.problem.part(part) for part in ("train", "valid", "test"))
    config = search_config(table.recipe, "dnas", seed, **({"epochs": 3} if quick else {}))

    def searched(unlike: dict[Genotype, float]) -> tuple[Genotype, Tensor, float]:
        begun = time.process_time()
        one = search(space, train, valid, unlike=unlike, config=config)
        taken = time.process_time() - begun
        return one.genotype, _chances(one.network, test), taken

    first = searched({})
    answers = {"the first structure": _Came(_nats([first[1]], test), 1, 1, first[2])}
    whole = 0.0
    for weight in _WEIGHTS:
        found = [first]
        while len(found) < _STRUCTURES:
            found.append(searched(dict.fromkeys((each[0] for each in found), weight)))
        kinds = {same_networks()[index_of(each[0])] for each in found}
        taken = sum(each[2] for each in found)
        whole = max(whole, taken)
        nats = _nats([each[1] for each in found], test)
        answers[_label(weight)] = _Came(nats, len(found), len(kinds), taken)
    dense = genotype_of(space, CELLS[_DENSEST])
    for name, genotype, before, spent in (
        ("deep ensemble", first[0], [first[1]], first[2]),
        ("densest network", dense, [], 0.0),
    ):
        more = _Ensemble(space, genotype, train, test, config)
        same = [*before, *more.upto(_STRUCTURES - len(before))]
        answers[f"{name} of three"] = _Came(_nats(same, test), len(same), 1, spent + more.seconds)
        same = [*before, *more.within(whole - spent)]
        nats = _nats(same, test)
        answers[f"{name}, equal time"] = _Came(nats, len(same), 1, spent + more.seconds)
    return answers


class _Ensemble:
    """Networks of one structure from different starts, trained as they are asked for."""

    def __init__(
        self,
        space: SearchSpace,
        genotype: Genotype,
        train: Dataset,
        test: Dataset,
        config: SearchConfig,
    ) -> None:
        self._about = space, genotype, train, test, config
        self._chances: list[Tensor] = []
        self.seconds = 0.0

    def upto(self, count: int) -> list[Tensor]:
        """Returns the probabilities of so many networks."""
        while len(self._chances) < count:
            self._more()
        return self._chances[:count]

    def within(self, seconds: float) -> list[Tensor]:
        """Returns the probabilities of the networks that can be trained in some processor time."""
        while self.seconds * (len(self._chances) + 1) <= seconds * len(self._chances):
            self._more()
        return list(self._chances)

    def _more(self) -> None:
        space, genotype, train, test, config = self._about
        begun = time.process_time()
        seed = 1000 * (1 + len(self._chances)) + config.seed
        net = derive(space, genotype, seed=seed)
        settings = config.training(config.passes).changed(seed=seed)
        train_network(net, train, TASKS["classification"](), settings)
        self.seconds += time.process_time() - begun
        self._chances.append(_chances(net, test))


def _chances(net: torch.nn.Module, test: Dataset) -> Tensor:
    """Returns the probabilities of the classes ``[N, C]``."""
    with evaluating(net):
        found: Tensor = net(test.x).double().softmax(dim=1)
    return found


def _nats(chances: list[Tensor], test: Dataset) -> float:
    """Returns the loss of the mean of probabilities."""
    mean = torch.stack(chances).mean(dim=0)
    return float(-mean.gather(1, test.y[:, None]).log().mean())


def _error(values: list[Any]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
