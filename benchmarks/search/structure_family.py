"""One search along λ against separate searches at five λ, NB-Tiny: processor time, and exact regrets at each λ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common.result import Result
from benchmarks.common.timing import one_thread
from benchmarks.search.nbtiny_regret import search_config
from netdial.data.dataset import Dataset
from netdial.structure.cost import StructureCosts
from netdial.structure.nbtiny import CELLS, TinyTable, load_table
from netdial.structure.nbtiny.space import genotype_of, index_of, tiny_space
from netdial.structure.penalty import SizeShare
from netdial.structure.search import AlongStrategy
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.searching import prepare

_LAMS = (0.01, 0.03162277660168379, 0.1, 0.31622776601683794, 1.0)
_SEEDS = tuple(range(100, 108))
"""Not those on which settings of the strategy were tried, 0 to 5."""


@dataclass(frozen=True)
class _Path:
    """What was found at the five λ.

    Attributes:
        cells: of all networks that were trained the one of least validation loss plus price.
        likeliest: the network that the search itself found at each λ.
        seconds: processor time of searches and trainings.
    """

    cells: list[int]
    likeliest: list[int]
    seconds: float


def measure(*, quick: bool) -> Result:
    """Searches on both problems with eight seeds; the quick version with one seed on one, briefly."""
    with one_thread():
        return _measured(_SEEDS[:1] if quick else _SEEDS, quick)


def _measured(seeds: Sequence[int], quick: bool) -> Result:
    rows, value, spread = [], dict[str, float](), dict[str, object]()
    for problem in ("three-spirals",) if quick else ("spirals", "three-spirals"):
        lab = _Lab(load_table(problem), quick)
        family = [lab.along(seed) for seed in seeds]
        apart = [lab.apart(seed) for seed in seeds]
        times = [one.seconds / many.seconds for one, many in zip(family, apart, strict=True)]
        differences = [
            lab.mean_regret(one) - lab.mean_regret(many)
            for one, many in zip(family, apart, strict=True)
        ]
        value[f"{problem}, time"] = statistics.median(times)
        spread[f"{problem}, time"] = (min(times), max(times))
        value[f"{problem}, regret less that of separate searches, nats"] = statistics.fmean(
            differences
        )
        if len(differences) > 1:
            error = statistics.stdev(differences) / math.sqrt(len(differences))
            spread[f"{problem}, regret less that of separate searches, nats"] = error
        rows += [lab.row(place, family, apart) for place in range(len(_LAMS))]
    return Result(
        "structure-family",
        value,
        "ratio of times; nats",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="five searches by dnas, one at each λ, with the same loss and as many passes as the networks of the table",
        floor="regret 0: the network of least test loss plus λ times its share of parameters; a fifth of the time at as many "
        "passes. Spread of a difference is its standard error",
        spread=spread,
        rows=rows,
    )


class _Lab:
    """Searches on one problem, and the exact worth of every network at every λ."""

    def __init__(self, table: TinyTable, quick: bool) -> None:
        self.table, self.quick = table, quick
        self.space = tiny_space(table.problem.arms, table.recipe.width)
        self.parts: dict[str, Dataset] = {
            "train": table.problem.part("train"),
            "valid": table.problem.part("valid"),
        }
        share = SizeShare(StructureCosts(self.space))
        self.shares = np.array([share.of(genotype_of(self.space, cell)) for cell in CELLS])

    def along(self, seed: int) -> _Path:
        """Returns what one search for all λ finds, each network that differs trained."""
        options = {"lo": _LAMS[0], "hi": _LAMS[-1], "count": 2 * len(_LAMS) - 1}
        config = self._config("family", seed, options=options)
        job = prepare(self.space, self.parts["train"], self.parts["valid"], config)
        strategy = job.strategy
        assert isinstance(strategy, AlongStrategy)
        state, seconds = job.searched(strategy, {})
        likeliest = []
        for lam in _LAMS:
            strategy.settle(state, lam)
            likeliest.append(index_of(job.chosen(strategy, state)[1]))
        front, tried = job.front(strategy, state)
        seconds += sum(each.seconds for each in tried)
        return _Path([index_of(point.genotype) for point in front[::2]], likeliest, seconds)

    def apart(self, seed: int) -> _Path:
        """Returns what separate searches find, each network trained; and which of their networks is best at each λ."""
        cells, losses, total = [], [], 0.0
        for lam in _LAMS:
            config = self._config("dnas", seed, penalty=f"{lam!r} params")
            job = prepare(self.space, self.parts["train"], self.parts["valid"], config)
            found = job.run()
            cells.append(index_of(found.genotype))
            losses.append(found.tried.loss)
            total += found.seconds
        shared = [
            min(
                zip(losses, cells, strict=True), key=lambda one: one[0] + lam * self.shares[one[1]]
            )[1]
            for lam in _LAMS
        ]
        return _Path(shared, cells, total)

    def regret(self, cell: int, lam: float) -> float:
        """Returns how much more a network loses and costs at a λ than the best."""
        worth: npt.NDArray[np.float64] = self.table.truth + lam * self.shares
        return float(worth[cell] - worth.min())

    def mean_regret(self, path: _Path) -> float:
        """Returns the mean regret over the five λ."""
        return statistics.fmean(
            self.regret(c, lam) for c, lam in zip(path.cells, _LAMS, strict=True)
        )

    def row(self, place: int, family: Sequence[_Path], apart: Sequence[_Path]) -> dict[str, Any]:
        """Returns what the searches came to at one λ."""
        lam = _LAMS[place]
        found: dict[str, Any] = {"problem": self.table.problem.name, "λ": lam}
        best = int((self.table.truth + lam * self.shares).argmin())
        for name, paths in (("family", family), ("separate", apart)):
            cells = [path.cells[place] for path in paths]
            alone = [path.likeliest[place] for path in paths]
            found[f"{name}: regret"] = statistics.fmean(self.regret(c, lam) for c in cells)
            found[f"{name}: of the likeliest"] = statistics.fmean(
                self.regret(c, lam) for c in alone
            )
            found[f"{name}: share"] = statistics.fmean(float(self.shares[c]) for c in cells)
        found["best: share"] = float(self.shares[best])
        worth = self.table.truth + lam * self.shares
        found["random network: mean regret"] = float((worth - worth.min()).mean())
        return found

    def _config(self, strategy: str, seed: int, **more: Any) -> SearchConfig:
        short = {"epochs": 2, "network_epochs": 2} if self.quick else {}
        return search_config(self.table.recipe, strategy, seed, **short, **more)
