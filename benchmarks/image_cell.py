"""Cells that a search finds on digits, beside random cells of equal size: test loss and accuracy.

1,500 images of MNIST, 500 to validate; two cells, the second halving, of two nodes and 8 channels, operations of DARTS. Four
random cells have the parameters of the one that was found, within a fifth, and are trained by the same recipe from fresh
weights, as the found one is. ``random`` is their mean, ``the best`` that of least validation loss: a random search that knows
the size. Strategies and recipe have their defaults, but for the length of training.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import torch

import netdial as nd
from benchmarks.result import Result
from benchmarks.timing import one_thread
from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset
from netdial.measure.forward import outputs
from netdial.structure.derived import DerivedNetwork
from netdial.structure.graph.genotype import Genotype
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.job import SearchJob
from netdial.structure.search.searching import prepare
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
    train = data.train.select(torch.arange(300 if quick else 1_500))
    valid = data.valid.select(torch.arange(200 if quick else 500))
    space = ready_space(
        "image-cell",
        input_shape=data.input_shape,
        n_outputs=data.n_outputs,
        cells=2,
        channels=8,
        nodes=2,
    )
    settings = {"strategy": strategy, "seed": seed, "epochs": 1 if quick else 8, "batch_size": 64}
    config = make(SearchConfig, {**settings, "compare": False})
    job = prepare(space, train, valid, config, kind=data.kind)
    outcome = job.run()
    found = _scores(outcome.network, data, valid)
    others = [
        _scores(job.trained(genotype, config.passes)[0], data, valid)
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


def _scores(net: DerivedNetwork, data: nd.Splits, valid: Dataset) -> _Scores:
    task = named(data.kind)
    with evaluating(net):
        out = losses(net, data.test, task), losses(net, valid, task)
    right = (outputs(net, data.test).argmax(1) == data.test.y).double().mean()
    params = sum(one.numel() for one in net.parameters())
    return _Scores(float(out[0].mean()), 100 * float(right), float(out[1].mean()), params)
