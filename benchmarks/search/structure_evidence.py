"""Rank correlation of evidence and of validation loss, from equal data, with the exact quality of networks of NB-Tiny."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch

from benchmarks.common.result import Result
from benchmarks.common.timing import one_thread
from netdial.data.dataset import Dataset
from netdial.measure.ranks import spearman
from netdial.structure.derived import derive
from netdial.structure.evidence import EvidenceWay, weigh_network, weigh_structures
from netdial.structure.nbtiny import CELLS, TinyTable, load_table
from netdial.structure.nbtiny.cells import live_edges
from netdial.structure.nbtiny.space import genotype_of, same_networks, tiny_space
from netdial.structure.search.training import mean_loss, train_network
from netdial.task import TASKS
from netdial.train.config import TrainConfig, make

_NETWORKS, _TRAINED_ON = 48, 600
"""Networks, of the 156 that differ; examples of 800 that are trained on where the others validate."""


def measure(*, quick: bool) -> Result:
    """Weighs networks on both problems with two seeds; the quick version six on one, by Laplace's method alone."""
    with one_thread():
        return _measured((0,) if quick else (0, 1), quick)


def _measured(seeds: tuple[int, ...], quick: bool) -> Result:
    rows, value, spread = [], dict[str, float](), dict[str, object]()
    for problem in ("three-spirals",) if quick else ("spirals", "three-spirals"):
        table = load_table(problem)
        runs = [_judged(table, seed, quick) for seed in seeds]
        truth = table.truth[_cells(6 if quick else _NETWORKS)]
        for name in runs[0]:
            found = [run[name] for run in runs if name in run]
            ranks = [spearman(truth, scores) for scores in found]
            chosen = [float(truth[scores.argmin()] - truth.min()) for scores in found]
            rows.append(
                {
                    "problem": problem,
                    "by": name,
                    "rank correlation": statistics.fmean(ranks),
                    "least": min(ranks),
                    "most": max(ranks),
                    "regret of the best by it, nats": statistics.fmean(chosen),
                }
            )
            if name in ("laplace", "elbo", "validation loss"):
                value[f"{problem}, {name}"] = statistics.fmean(ranks)
                spread[f"{problem}, {name}"] = (min(ranks), max(ranks))
    return Result(
        "structure-evidence",
        value,
        "rank correlation with test loss",
        "higher",
        seeds=list(seeds),
        quick=quick,
        baseline=f"validation loss on {800 - _TRAINED_ON} examples after training on the other {_TRAINED_ON} of 800, as many "
        "steps; evidence is of all 800",
        floor="1; what one training with 1,500 validation examples more says is given as a row",
        spread=spread,
        rows=rows,
    )


def _cells(count: int) -> list[int]:
    """Returns networks that differ and connect input and output, drawn evenly."""
    alive = (at for at, cell in enumerate(CELLS) if any(live_edges(cell)))
    different = sorted({same_networks()[at] for at in alive})
    order = torch.randperm(len(different), generator=torch.Generator().manual_seed(0)).tolist()
    return [different[at] for at in order[:count]]


def _judged(table: TinyTable, seed: int, quick: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Returns scores of the networks by each way, lower is better."""
    task, space = TASKS["classification"](), tiny_space(table.problem.arms, table.recipe.width)
    train, valid = table.problem.part("train"), table.problem.part("valid")
    epochs = 2 if quick else table.recipe.epochs[-1]
    recipe = table.recipe
    settings = {"batch_size": recipe.batch_size, "lr": recipe.lr, "schedule": "constant"}
    config = make(TrainConfig, {"epochs": epochs, "seed": seed, **settings})
    longer = config.changed(epochs=epochs * len(train) // _TRAINED_ON)
    fitted, held = (
        Dataset(train.x[rows], train.y[rows])
        for rows in (slice(_TRAINED_ON), slice(_TRAINED_ON, None))
    )
    found: dict[str, list[float]] = {}
    genotypes = [genotype_of(space, CELLS[cell]) for cell in _cells(6 if quick else _NETWORKS)]
    for genotype in genotypes:
        whole, part = (derive(space, genotype, seed=seed) for _ in range(2))
        train_network(whole, train, task, config)
        train_network(part, fitted, task, longer)
        scores = {
            "laplace": -weigh_network(whole, train, task),
            "validation loss": mean_loss(part, held, task),
            "training loss": mean_loss(whole, train, task),
            "parameters": -float(sum(p.numel() for p in whole.parameters())),
            "validation loss, 1,500 more": mean_loss(whole, valid, task),
        }
        for name, score in scores.items():
            found.setdefault(name, []).append(score)
    if not quick and seed == 0:
        way: EvidenceWay = "elbo"
        weighed = weigh_structures(space, genotypes, train, config, way=way)
        found["elbo"] = [-row.log_evidence for row in weighed.rows]
    return {name: np.array(scores) for name, scores in found.items()}
