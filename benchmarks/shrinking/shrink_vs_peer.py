"""Parameters Torch-Pruning needs at equal test accuracy over those that shrinking needs, on COVERTYPE (subset) and MNIST.

Both start from the same networks and have the same optimiser, peak learning rate, weight penalty, batches in the same
order and number of epochs. COVERTYPE has 15,120 balanced rows, split anew by each seed; of MNIST the first 20,000 images
are for training.

Either side has three recipes. Ours: ``shrink(size=...)`` as it comes; ``patient``, which lets the network learn before channels
fade; and ``inputs``, ``inputs=True`` with a deadline of 0.6, where each input that is left counts as a parameter more (one, two
or four collections an epoch were tried on COVERTYPE; one is best on validation data, and the quickest). The peer's are in
``common/peer.py``. At each size that one counts which is best on validation data, by the mean over seeds. Torch-Pruning cannot
cut inputs, so a second pair of figures is for channels only. Test data are looked at once, at the end.

A front is test accuracy, mean over seeds, by parameters: the largest accuracy up to a size, straight in the logarithm of
size. Levels of accuracy are spread evenly over what both reach. Seconds are processor time of one thread. Where
Torch-Pruning is not installed, only ours is shown.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from time import process_time
from typing import Any

import torch
from torch import nn

from benchmarks.common.peer import NOT_INSTALLED, Recipe, count, installed, pruned
from benchmarks.common.result import Result
from netdial.channels.layers.pick import Pick
from netdial.core.errors import DataError
from netdial.data import Dataset, Splits, load_data
from netdial.measure import outputs
from netdial.nets import build
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.shrink import shrink
from netdial.train.config import make

RECIPES = (
    Recipe("lamp", 0.5, 0.5, cuts=1, rewind=True),
    Recipe("lamp", 0.3, 0.6, cuts=4, rewind=True),
    Recipe("taylor", 0.5, 0.5, cuts=1, rewind=True),
)
"""The best on validation data of a dozen that were tried; plain magnitude, ranked globally, empties layers."""

_LEVELS = 7
_OURS: dict[str, dict[str, Any]] = {
    "shrink": {},
    "patient": {"wait": 0.35, "deadline": 0.65},
    "inputs": {"inputs": True, "deadline": 0.6},
}
_SIDES = {"": tuple(_OURS), ", channels only,": ("shrink", "patient")}
"""What is added to the name of a data set, and which of our recipes stand behind it."""


@dataclass(frozen=True)
class Course:
    """A data set, a network to start from, sizes to arrive at and how both sides train.

    Attributes:
        data: name or file.
        target: column to predict, for a file.
        model: network.
        examples: training examples that are used.
        sizes: parameters.
        settings: of the training.
    """

    data: str
    target: str | None
    model: str
    examples: int
    sizes: tuple[int, ...]
    settings: Mapping[str, Any]

    def task(self, seed: int) -> Splits:
        """Returns the data."""
        if self.target:
            return load_data(self.data, seed=seed, target=self.target)
        task = load_data(self.data, seed=seed, flat=True)
        return replace(task, train=task.train.select(torch.arange(self.examples)))

    def net(self, task: Splits, seed: int) -> nn.Module:
        """Returns the network at the start."""
        return build(self.model, input_shape=task.input_shape, n_outputs=task.n_outputs, seed=seed)

    def smaller(self) -> Course:
        """Returns two of the sizes, and a third of the epochs."""
        epochs = self.settings["epochs"] // 3
        return replace(self, sizes=self.sizes[::2], settings={**self.settings, "epochs": epochs})


COURSES = {
    "covertype": Course(
        "covertype_15120.parquet",
        "Cover_Type",
        "mlp:256-256-256",
        9_072,
        (4_000, 8_000, 16_000, 32_000),
        {"epochs": 30, "batch_size": 128, "lr": 1e-2},
    ),
    "mnist": Course(
        "mnist",
        None,
        "mlp:300-100",
        20_000,
        (8_000, 12_000, 20_000, 40_000),
        {"epochs": 12, "batch_size": 128, "lr": 5e-3},
    ),
}


@dataclass(frozen=True)
class Run:
    """What one training gave.

    Attributes:
        way: one of our recipes, or one of the peer's.
        seed: of everything.
        target: parameters wanted.
        size: parameters got.
        valid: validation accuracy, in points.
        test: test accuracy, in points.
        seconds: processor time.
    """

    way: str
    seed: int
    target: int
    size: int
    valid: float
    test: float
    seconds: float


@dataclass(frozen=True)
class Point:
    """Runs of one way at one target, over all seeds."""

    runs: tuple[Run, ...]

    def mean(self, what: str) -> float:
        """Returns the mean of an attribute of the runs."""
        return statistics.fmean(getattr(run, what) for run in self.runs)


def measure(*, quick: bool = False) -> Result:
    """Returns for each data set the smallest and the median ratio over levels; without the peer, our accuracy by size.

    Raises:
        DataError: neither data set is there.
    """
    torch.set_num_threads(1)
    seeds = (0,) if quick else tuple(range(6))
    value: dict[str, float] = {}
    spread: dict[str, object] = {}
    rows: list[Mapping[str, object]] = []
    courses = {"covertype": COURSES["covertype"].smaller()} if quick else COURSES
    for name, course in courses.items():
        try:
            runs = [run for seed in seeds for run in _runs(course, seed)]
        except DataError as error:
            print(f"{name} is left out: {error}")
            continue
        peer = _best(run for run in runs if run.way not in _OURS)
        rows += [_row(name, point) for point in peer]
        for side, ways in _SIDES.items():
            label = name + side
            ours = _best(run for run in runs if run.way in ways)
            rows += [_row(name, point) for point in ours]
            if not peer:
                value |= {f"{label} {p.runs[0].target}": p.mean("test") for p in ours}
                continue
            levels = _ratios(ours, peer)
            if not levels:
                print(f"{label}: no level of accuracy is reached by both")
                continue
            rows += [
                {"data": name, "way": f"peer / {' or '.join(ways)}", **level} for level in levels
            ]
            ratios = [level["ratio"] for level in levels]
            value |= {
                f"{label} smallest": min(ratios),
                f"{label} median": statistics.median(ratios),
            }
            spread |= _spread(label, ours, peer, seeds)
    if not rows:
        raise DataError(
            "shrink-vs-peer: neither COVERTYPE nor MNIST is there; name their folder in NETDIAL_DATA"
        )
    if not installed():
        print(NOT_INSTALLED)
    return Result(
        "shrink-vs-peer",
        value,
        "ratio" if installed() else "test accuracy (the peer is missing)",
        "higher",
        seeds=seeds,
        quick=quick,
        baseline=f"Torch-Pruning, the best on validation of {', '.join(map(str, RECIPES))}"
        if installed()
        else NOT_INSTALLED,
        floor="1: equal sizes",
        spread=spread,
        rows=[{**dict.fromkeys(rows[0]), **row} for row in rows],
    )


def _runs(course: Course, seed: int) -> Iterator[Run]:
    """Yields all runs of a seed."""
    task, sizes = course.task(seed), course.sizes
    settings = {**course.settings, "seed": seed}
    for way, more in _OURS.items():
        for size in sizes:
            begin = process_time()
            chosen = {**settings, **more, "size": f"{size} params"}
            shrunk = shrink(course.net(task, seed), task.train, kind=task.kind, **chosen)
            picked = sum(len(m.index) for m in shrunk.net.modules() if isinstance(m, Pick))
            yield _run(
                way, seed, size, shrunk.n_params + picked, shrunk.net, task, process_time() - begin
            )
    config = make(ShrinkConfig, settings)
    for recipe in RECIPES if installed() else ():
        net = course.net(task, seed)
        found = pruned(net, task.train, recipe, sizes=sizes, config=config)
        for size, (small, seconds) in zip(sizes, found, strict=True):
            yield _run(str(recipe), seed, size, count(small), small, task, seconds)


def _run(
    way: str, seed: int, target: int, size: int, net: nn.Module, task: Splits, seconds: float
) -> Run:
    net.eval()
    found = Run(
        way, seed, target, size, _accuracy(net, task.valid), _accuracy(net, task.test), seconds
    )
    print(f"{task.name} {found}")
    return found


def _accuracy(net: nn.Module, part: Dataset) -> float:
    return float((outputs(net, part).argmax(1) == part.y).float().mean()) * 100


def _best(runs: Iterable[Run]) -> list[Point]:
    """Returns for each target the way with the best mean validation accuracy."""
    found: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.target, run.way), []).append(run)
    points: dict[int, list[Point]] = {}
    for (target, _), alike in found.items():
        points.setdefault(target, []).append(Point(tuple(alike)))
    return [max(points[t], key=lambda point: point.mean("valid")) for t in sorted(points)]


def _row(name: str, point: Point) -> dict[str, object]:
    tests = [run.test for run in point.runs]
    return {
        "data": name,
        "way": point.runs[0].way,
        "target": point.runs[0].target,
        "parameters": point.mean("size"),
        "valid": point.mean("valid"),
        "test": point.mean("test"),
        "sd": statistics.stdev(tests) if len(tests) > 1 else None,
        "seconds": point.mean("seconds"),
        "level": None,
        "ours": None,
        "peer": None,
        "ratio": None,
    }


def _ratios(ours: Sequence[Point], peer: Sequence[Point]) -> list[dict[str, float]]:
    """Returns at each level of accuracy that both reach what each needs, and the ratio; nothing if they have none in common."""
    fronts = [_front([(p.mean("size"), p.mean("test")) for p in side]) for side in (ours, peer)]
    low = max(front[0][1] for front in fronts)
    high = min(front[-1][1] for front in fronts)
    if low > high:
        return []
    found = []
    for number in range(_LEVELS):
        level = low + (high - low) * number / (_LEVELS - 1)
        mine, theirs = (_needed(front, level) for front in fronts)
        found.append({"level": level, "ours": mine, "peer": theirs, "ratio": theirs / mine})
    return found


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns (size, accuracy) with sizes rising and accuracies that do not fall."""
    sizes, accuracies = zip(*sorted(points), strict=True)
    return list(zip(sizes, accumulate(accuracies, max), strict=True))


def _needed(front: Sequence[tuple[float, float]], level: float) -> float:
    """Returns the parameters that a front needs for an accuracy within its reach."""
    if level <= front[0][1]:
        return front[0][0]
    for (small, below), (large, above) in pairwise(front):
        if below < level <= above:
            share = (level - below) / (above - below)
            return math.exp((1 - share) * math.log(small) + share * math.log(large))
    return front[-1][0]


def _spread(
    name: str, ours: Sequence[Point], peer: Sequence[Point], seeds: Sequence[int]
) -> dict[str, object]:
    """Returns lowest and highest over seeds of the figures, seeds by themselves; nothing for one seed."""
    each = []
    for seed in seeds if len(seeds) > 1 else ():
        sides = [
            [Point(tuple(run for run in p.runs if run.seed == seed)) for p in side]
            for side in (ours, peer)
        ]
        if ratios := [level["ratio"] for level in _ratios(*sides)]:
            each.append((min(ratios), statistics.median(ratios)))
    if not each:
        return {}
    smallest, medians = zip(*each, strict=True)
    return {
        f"{name} smallest": (min(smallest), max(smallest)),
        f"{name} median": (min(medians), max(medians)),
    }
