"""Cells that a search finds on digits, beside random cells of equal size: test loss and accuracy.

2,000 images of MNIST averaged to 14 × 14, 500 to validate and 5,000 to test; two cells, the second halving, of two nodes and
8 channels, operations of DARTS. Four random cells have the parameters of the one that was found, within a fifth, and are
trained by the same recipe from fresh weights, as the found one is. ``random`` is their mean, ``the best`` that of least
validation loss: a random search that knows the size. Strategies and recipe have their defaults, but for the length of
training and the batch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from torch.nn import functional

import netdial as nd
from benchmarks.common.result import Result
from benchmarks.common.timing import one_thread
from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset
from netdial.measure.forward import outputs
from netdial.structure.derived import DerivedNetwork
from netdial.structure.graph.genotype import Genotype
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.job import SearchJob
from netdial.structure.search.searching import prepare
from netdial.structure.search.strategy import Asked
from netdial.structure.search.training import losses
from netdial.structure.spaces import ready_space
from netdial.task import named
from netdial.train.config import make

STRATEGIES = ("darts", "halving")
_ALIKE = 0.2
"""Largest relative difference of parameters between cells that are compared."""


@dataclass(frozen=True)
class _Scores:
    """Losses in nats, and accuracy in percent.

    Attributes:
        loss, accuracy: on test images.
        valid: loss on validation images.
        params: parameters.
    """

    loss: float
    accuracy: float
    valid: float
    params: int


def measure(*, quick: bool) -> Result:
    """Searches with each strategy and four seeds; the quick version with one, briefly."""
    with one_thread():
        return _measured(range(1 if quick else 4), quick)


def _measured(seeds: range, quick: bool) -> Result:
    rows: list[dict[str, object]] = []
    value, spread = dict[str, float](), dict[str, object]()
    for strategy in STRATEGIES:
        differences: dict[str, list[float]] = {}
        for seed in seeds:
            found, others, seconds = _one(strategy, seed, quick)
            best = min(others, key=lambda each: each.valid)
            mean = statistics.fmean(each.loss for each in others)
            differences.setdefault("random", []).append(found.loss - mean)
            differences.setdefault("the best", []).append(found.loss - best.loss)
            row = {
                "strategy": strategy,
                "seed": seed,
                "found": found.loss,
                "random": mean,
                "the best": best.loss,
                "found %": found.accuracy,
                "random %": statistics.fmean(each.accuracy for each in others),
                "best %": best.accuracy,
                "parameters": found.params,
                "of random": [each.params for each in others],
                "s": seconds,
            }
            print(row)
            rows.append(row)
        for rival, of_seeds in differences.items():
            label = f"{strategy}, loss less that of {rival}"
            value[label] = statistics.fmean(of_seeds)
            if len(of_seeds) > 1:
                spread[label] = statistics.stdev(of_seeds) / math.sqrt(len(of_seeds))
    return Result(
        "image-cell",
        value,
        "nats",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="random cells with as many parameters within a fifth, trained alike",
        floor="spread is the standard error of the mean over seeds",
        spread=spread,
        rows=rows,
    )


def _one(strategy: str, seed: int, quick: bool) -> tuple[_Scores, list[_Scores], float]:
    """Returns what a search found, random cells of its size, and processor time of the search."""
    data = nd.load_data("mnist", seed=seed)
    train = _halved(data.train, 300 if quick else 2_000)
    valid, test = _halved(data.valid, 200 if quick else 500), _halved(data.test, 5_000)
    space = ready_space(
        "image-cell",
        input_shape=tuple(train.x.shape[1:]),
        n_outputs=data.n_outputs,
        cells=2,
        channels=8,
        nodes=2,
    )
    settings = {"strategy": strategy, "seed": seed, "epochs": 1 if quick else 8, "batch_size": 32}
    config = make(SearchConfig, {**settings, "compare": False})
    job = prepare(space, train, valid, config, kind=data.kind)
    outcome = job.run()
    found = _scores(outcome.network, test, valid, data.kind)
    others = [
        _scores(job.trained(Asked(genotype, config.passes))[0], test, valid, data.kind)
        for genotype in _alike(job, outcome.genotype, 1 if quick else 4)
    ]
    return found, others, outcome.seconds


def _alike(job: SearchJob, found: Genotype, count: int) -> Iterator[Genotype]:
    """Yields random structures that differ from each other, and have about as many parameters as one that was found."""
    goal, known = job.limit.costs.of(found).params, {found}
    source = job.scope.source("benchmark")
    for _ in range(100_000):
        if len(known) > count:
            return
        drawn = job.scope.draw(source)
        if drawn is None or drawn in known:
            continue
        if abs(job.limit.costs.of(drawn).params - goal) <= _ALIKE * goal:
            known.add(drawn)
            yield drawn
    raise RuntimeError(f"fewer than {count} structures have about {goal} parameters")


def _halved(part: Dataset, count: int) -> Dataset:
    """Returns the first examples of a part, their images averaged to half the height and width."""
    x = functional.avg_pool2d(part.x[:count], 2)
    return Dataset(x, part.y[:count])


def _scores(net: DerivedNetwork, test: Dataset, valid: Dataset, kind: str) -> _Scores:
    task = named(kind)
    with evaluating(net):
        out = losses(net, test, task), losses(net, valid, task)
    right = (outputs(net, test).argmax(1) == test.y).double().mean()
    params = sum(one.numel() for one in net.parameters())
    return _Scores(float(out[0].mean()), 100 * float(right), float(out[1].mean()), params)
