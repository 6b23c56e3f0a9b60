"""The table: what all networks of NB-Tiny came to, how reliable that is, and the file that it is kept in.

Losses are kept as whole numbers of 1e-4 nats and right answers as numbers of examples, two bytes each.

Shapes: 729 cells, S seeds, R epochs at which networks were validated.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import math
import statistics
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from netdial.core.arguments import checked
from netdial.core.errors import CheckpointError, ConfigError, unknown
from netdial.core.storage.files import write_bytes
from netdial.measure.latency import Machine
from netdial.measure.ranks import spearman
from netdial.structure.cost import StructureCost
from netdial.structure.nbtiny.cells import CELLS
from netdial.structure.nbtiny.problems import PROBLEMS, SIZES, TinyProblem
from netdial.structure.nbtiny.space import same_networks, tiny_costs, tiny_latencies
from netdial.structure.nbtiny.training import TinyRecipe, train_cells

Floats = npt.NDArray[np.float64]

SEEDS = tuple(range(24))
"""Seeds of the table in the package."""

RELIABLE = 0.8
"""Split-half reliability that a table must have before regrets in it mean anything."""

_HALVINGS = 63
"""Halvings of the seeds that reliability is a mean over, at most."""

_NATS = 1e-4
_HERE = Path(__file__).parent / "table.npz"


@dataclass(frozen=True)
class TinyTable:
    """What the networks came to on one problem.

    Attributes:
        problem: the problem.
        recipe: how they were trained.
        seeds: seeds of the trainings.
        valid: negative log-likelihood on the validation part after each of the recipe's epochs ``[729, S, R]``, in nats.
        test: that on the test part at the end ``[729, S]``.
        accuracy: share of the test part that is classified rightly ``[729, S]``.
        latency_ms: milliseconds of a call on one example ``[729]``; None if it was not measured.
        machine: what latencies were measured on.
    """

    problem: TinyProblem
    recipe: TinyRecipe
    seeds: tuple[int, ...]
    valid: Floats
    test: Floats
    accuracy: Floats
    latency_ms: Floats | None = None
    machine: str = ""

    @classmethod
    def trained(
        cls, problem: TinyProblem, seeds: Sequence[int] = SEEDS, recipe: TinyRecipe | None = None
    ) -> TinyTable:
        """Trains all networks with all seeds; measures no latencies."""
        recipe = recipe or TinyRecipe()
        found = train_cells(problem, range(len(CELLS)), seeds, recipe)
        valid, test, right = map(_numbers, (found.valid, found.test, found.correct))
        return cls(problem, recipe, tuple(seeds), valid, test, right)

    @functools.cached_property
    def truth(self) -> Floats:
        """The test loss of each network ``[729]``: what a search is judged by.

        The mean over seeds and over all cells that are the same network, whose trainings are independent of one another.
        """
        return self._over_same()[0]

    @functools.cached_property
    def error(self) -> Floats:
        """The standard error of each truth ``[729]``."""
        return self._over_same()[1]

    @property
    def noise(self) -> float:
        """Root of the mean squared standard error over networks."""
        return float(np.sqrt(np.square(self.error).mean()))

    def tied(self, cell: int) -> bool:
        """Returns whether the regret of a network is within a standard error of what is known of it and of the best."""
        return self.regret(cell) <= math.hypot(self.error[cell], self.error[self.truth.argmin()])

    def _over_same(self) -> tuple[Floats, Floats]:
        """Returns mean and standard error of the test loss over all trainings of the same network ``[729]`` each."""
        first = np.asarray(same_networks())
        mean, error = np.empty(len(first)), np.empty(len(first))
        for cell in np.unique(first):
            losses = self.test[first == cell]
            mean[first == cell] = losses.mean()
            error[first == cell] = losses.std(ddof=1) / np.sqrt(losses.size)
        return mean, error

    @property
    def reliability(self) -> float:
        """Rank correlation of the mean losses over one half of the seeds with those over the other, mean over halvings.

        All of them, or as many as ``_HALVINGS`` that are drawn.

        Raises:
            ConfigError: there are fewer than two seeds.
        """
        count = len(self.seeds)
        if count < 2:
            raise ConfigError(f"{count} seed; reliability compares two halves of the seeds")
        if math.comb(count, count // 2) <= 2 * _HALVINGS:
            halves = itertools.combinations(range(count), count // 2)
            drawn = [half for half in halves if count % 2 or 0 in half]
        else:
            source = np.random.default_rng(0)
            drawn = [tuple(source.permutation(count)[: count // 2]) for _ in range(_HALVINGS)]
        found = []
        for half in drawn:
            rest = [seed for seed in range(count) if seed not in half]
            means = (self.test[:, list(part)].mean(axis=1) for part in (half, rest))
            found.append(spearman(*means))
        return statistics.fmean(found)

    @property
    def valid_for_regret(self) -> bool:
        """Whether the table is reliable enough to judge searches by."""
        return self.reliability >= RELIABLE

    def regret(self, cell: int) -> float:
        """Returns how much worse a network is than the best, in nats."""
        return float(self.truth[cell] - self.truth.min())

    def percentile(self, cell: int) -> float:
        """Returns the share of networks that are better than one, 0 (the best) … 1."""
        return float((self.truth < self.truth[cell]).mean())

    @functools.cached_property
    def costs(self) -> list[StructureCost]:
        """Parameters, multiply-accumulates, vertices and edges of each network, counted."""
        return tiny_costs(self.problem.arms, self.recipe.width)

    def timed(self) -> TinyTable:
        """Returns the table with latencies, measured here and now."""
        latency = tiny_latencies(self.problem.arms, self.recipe.width)
        return replace(self, latency_ms=latency, machine=str(Machine.here()))

    def of_seeds(self, seeds: Sequence[int]) -> TinyTable:
        """Returns the table of some of its seeds."""
        places = [self.seeds.index(seed) for seed in seeds]
        valid, test, right = (part[:, places] for part in (self.valid, self.test, self.accuracy))
        return replace(self, seeds=tuple(seeds), valid=valid, test=test, accuracy=right)


def save_tables(path: Path, tables: Sequence[TinyTable]) -> None:
    """Writes tables of one recipe and the same seeds to a file, which numpy reads without unpickling anything."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for table in tables:
        count = SIZES["test"]
        arrays[f"{table.problem.name}.valid"] = _whole(table.valid / _NATS)
        arrays[f"{table.problem.name}.test"] = _whole(table.test / _NATS)
        arrays[f"{table.problem.name}.right"] = _whole(table.accuracy * count)
        if table.latency_ms is not None:
            arrays[f"{table.problem.name}.latency_ms"] = table.latency_ms.astype(np.float32)
    about = {
        "recipe": asdict(tables[0].recipe),
        "seeds": tables[0].seeds,
        "problems": [asdict(table.problem) for table in tables],
        "machine": tables[0].machine,
    }
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(path, content.getvalue())


@checked
@functools.cache
def load_table(problem: str = "spirals", path: str | Path = _HERE) -> TinyTable:
    """Returns the table of a problem, by default that of the package.

    Args:
        problem: its name.
        path: a file of ``save_tables``.

    Raises:
        ConfigError: the problem is unknown.
        CheckpointError: the file is damaged, or belongs to problems of another netdial.
    """
    if problem not in PROBLEMS:
        raise unknown("problem of NB-Tiny", problem, PROBLEMS)
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            parts = [arrays[f"{problem}.{name}"] for name in ("valid", "test", "right")]
            stored = {one["name"]: one for one in about["problems"]}[problem]
            recipe = TinyRecipe(**{**about["recipe"], "epochs": tuple(about["recipe"]["epochs"])})
            seeds, machine = tuple(about["seeds"]), str(about["machine"])
            latency = arrays.get(f"{problem}.latency_ms")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path}: holds no table of NB-Tiny ({error}); make it again by python -m netdial.structure.nbtiny FILE"
        ) from error
    if TinyProblem(**stored) != PROBLEMS[problem]:
        raise CheckpointError(
            f"{path}: was made for {stored}, the problem is {asdict(PROBLEMS[problem])} now; make it again by "
            "python -m netdial.structure.nbtiny FILE"
        )
    valid, test, right = (part.astype(np.float64) for part in parts)
    return TinyTable(
        PROBLEMS[problem],
        recipe,
        seeds,
        valid * _NATS,
        test * _NATS,
        right / SIZES["test"],
        None if latency is None else latency.astype(np.float64),
        machine,
    )


def _numbers(part: Tensor) -> Floats:
    return part.double().numpy()


def _whole(part: Floats) -> npt.NDArray[np.uint16]:
    """Returns the nearest whole numbers that fit two bytes; a loss above 6.5 nats is kept as 6.5535."""
    return np.clip(part.round(), 0, 65535).astype(np.uint16)
