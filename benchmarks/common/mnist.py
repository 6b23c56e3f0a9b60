"""The MNIST experiment that several figures read: families and directly trained networks, 784-50-10, scaled KL.

Trained networks are cells in ``runs/benchmarks``, so several figures share them and one that was interrupted goes on where it
was. Delete the folder to train anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netdial.data import Dataset, Splits, load_data
from netdial.family import Family, symmetrised_kl
from netdial.jobs.pool import make_all
from netdial.measure import evaluate
from netdial.papers.lab.training import Training
from netdial.runs.store import Store
from netdial.train.config import make_config

LAMS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
RECIPE: dict[str, Any] = {"objective": "scaled-kl", "batch_size": 512, "lr": 8e-3}
_WHOLE = {"groups": 16, "knots": 0.25}
EPOCHS = {"stratified": 150, "whole": 140, "direct": 150, "maps": 50}
_STORE = Store(Path("runs/benchmarks"))
_N_SAMPLES = 16


@dataclass(frozen=True)
class Cell:
    """Training runs that differ in the seed alone; ``map`` is the map of a family, or ``direct``.

    Under ``sampling="whole"`` every λ of a step sees the whole batch, as a directly trained network does; there are sixteen
    of them, and a quarter of those inside the range stand at knots.
    """

    map: str
    seeds: tuple[int, ...]
    epochs: int
    examples: int
    regions: int = 5
    sampling: str = "stratified"

    @property
    def trainings(self) -> list[Training]:
        """One for each seed."""
        kind = {"map": "table", "lams": LAMS} if self.map == "direct" else {"map": self.map}
        settings = {
            **RECIPE,
            **kind,
            "epochs": self.epochs,
            "regions": self.regions,
            "sampling": self.sampling,
            **(_WHOLE if self.sampling == "whole" else {}),
        }
        return [
            Training("mnist", "mlp:50", make_config(**settings, seed=seed), examples=self.examples)
            for seed in self.seeds
        ]


def data(quick: bool) -> Splits:
    """Returns MNIST as vectors; the training part is cut to 10,000 examples if ``quick``.

    Raises:
        DataError: MNIST is not there.
    """
    task = load_data("mnist", flat=True)
    if not quick:
        return task
    first = torch.arange(10_000)
    return Splits(
        task.name, task.kind, task.train.select(first), task.valid.select(first[:2000]), task.test,
        task.n_outputs, task.classes, task.source, task.rows,
    )  # fmt: skip


def train(cells: Sequence[Cell]) -> None:
    """Trains what is missing, one run on every core."""
    make_all([run for cell in cells for run in cell.trainings], _STORE, report=print)


def families(cell: Cell) -> list[Family]:
    """Returns the trained families of a cell, one for each seed."""
    return [run.family(_STORE) for run in cell.trainings]


@dataclass(frozen=True)
class Paths:
    """What a list of families is worth: ``[seeds, λ]`` each.

    Attributes:
        accuracy: test accuracy of mean weights, in points.
        valid: validation objective, nats per example, averaged over draws of the posterior.
        train: the same on training data (the first 10,000 examples).
    """

    accuracy: Tensor
    valid: Tensor
    train: Tensor


def paths(made: Sequence[Family], task: Splits, lams: Sequence[float] = LAMS) -> Paths:
    """Evaluates families; draws are the same for all."""
    accuracy, valid, training = [], [], []
    for family in made:
        accuracy.append(evaluate(family, task.test, lams=lams, n_samples=0).column("accuracy"))
        valid.append(_objective(family, task.valid, lams, len(task.train)))
        part = task.train.select(torch.arange(min(10_000, len(task.train))))
        training.append(_objective(family, part, lams, len(task.train)))
    return Paths(torch.tensor(accuracy) * 100, torch.tensor(valid), torch.tensor(training))


def piecewise_and_direct(quick: bool) -> tuple[dict[str, Paths], Paths, list[int], str]:
    """Returns the paths of the piecewise families by sampling, those of the direct networks, seeds, baseline in words."""
    task = data(quick)
    seeds, examples, epochs = plan(quick)
    made = {
        sampling: Cell("piecewise", tuple(seeds), epochs[sampling], examples, sampling=sampling)
        for sampling in ("stratified", "whole")
    }
    direct = Cell("direct", tuple(seeds), epochs["direct"], examples)
    train([direct, *made.values()])
    ours = {sampling: paths(families(cell), task) for sampling, cell in made.items()}
    words = (
        f"direct networks, {epochs['direct']} epochs; families {epochs['stratified']} epochs, "
        f"{epochs['whole']} under whole batches"
    )
    return ours, paths(families(direct), task), seeds, words


def divergence(first: Sequence[Family], second: Sequence[Family]) -> Tensor:
    """Returns symmetrised KL between members, nats, ``[seeds, λ]``."""
    with torch.no_grad():
        return torch.stack(
            [
                symmetrised_kl(a.fields_at(LAMS), b.fields_at(LAMS))
                for a, b in zip(first, second, strict=True)
            ]
        )


def plan(quick: bool) -> tuple[list[int], int, dict[str, int]]:
    """Returns (seeds, training examples, epochs by kind)."""
    if quick:
        return [0], 10_000, dict.fromkeys(EPOCHS, 8)
    return [0, 1, 2, 3, 4], 54_000, EPOCHS


def _objective(family: Family, part: Dataset, lams: Sequence[float], n_data: int) -> list[float]:
    path = evaluate(family, part, lams=lams, n_data=n_data, n_samples=_N_SAMPLES)
    return path.column("objective")
