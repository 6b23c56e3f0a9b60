"""The MNIST experiment that several figures read: families and directly trained networks, 784-50-10, scaled KL.

Trained networks are kept in ``runs/benchmarks`` under a name made from their settings, so several figures share them and one
that was interrupted goes on where it was. Delete the folder to train anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netdial.data import Dataset, Task, load
from netdial.evaluation import evaluate
from netdial.family import Family, symmetrised_kl
from netdial.fitting import fit, fit_direct
from netdial.nets import build
from netdial.saving import load_family, save_family

LAMS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
RECIPE: dict[str, Any] = {"batch_size": 512, "lr": 8e-3, "weighting": "balanced"}
EPOCHS = {"family": 150, "direct": 150, "maps": 50}
_STORE = Path("runs/benchmarks")
_N_SAMPLES = 16


@dataclass(frozen=True)
class Cell:
    """One training run: ``map`` is the map of a family, or ``direct``; ``seeds`` are trained together if direct."""

    map: str
    seeds: tuple[int, ...]
    epochs: int
    examples: int
    regions: int = 5

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the training."""
        return {**RECIPE, "epochs": self.epochs, "seed": self.seeds[0], "regions": self.regions}

    def file(self, seed: int) -> Path:
        """Returns where the family of a seed is kept."""
        key = hashlib.sha256(repr((self, RECIPE)).encode()).hexdigest()[:12]
        return _STORE / f"mnist-{self.map}-{self.regions}-{seed}-{key}.safetensors"


def data(quick: bool) -> Task:
    """Returns MNIST as vectors; the training part is cut to 10,000 examples if ``quick``.

    Raises:
        DataError: MNIST is not there.
    """
    task = load("mnist", flat=True)
    if not quick:
        return task
    first = torch.arange(10_000)
    return Task(
        task.name, task.kind, task.train.select(first), task.valid.select(first[:2000]), task.test,
        task.n_outputs, task.classes, task.source, task.splits,
    )  # fmt: skip


def train(cells: Sequence[Cell], *, quick: bool) -> None:
    """Trains the cells that are missing, two at a time, one thread each."""
    missing = [cell for cell in cells if not all(cell.file(seed).exists() for seed in cell.seeds)]
    if not missing:
        return
    workers = min(os.cpu_count() or 1, len(missing))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_train, missing, [quick] * len(missing)):
            pass


def families(cell: Cell) -> list[Family]:
    """Returns the trained families of a cell, one for each seed."""
    return [load_family(cell.file(seed), _net(seed)) for seed in cell.seeds]


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


def paths(made: Sequence[Family], task: Task, lams: Sequence[float] = LAMS) -> Paths:
    """Evaluates families; draws are the same for all."""
    accuracy, valid, training = [], [], []
    for family in made:
        accuracy.append(evaluate(family, task.test, lams=lams).column("accuracy"))
        valid.append(_objective(family, task.valid, lams, len(task.train)))
        part = task.train.select(torch.arange(min(10_000, len(task.train))))
        training.append(_objective(family, part, lams, len(task.train)))
    return Paths(torch.tensor(accuracy) * 100, torch.tensor(valid), torch.tensor(training))


def piecewise_and_direct(quick: bool) -> tuple[Paths, Paths, list[int], str]:
    """Returns the paths of the piecewise families and of the direct networks, the seeds, and the baseline in words."""
    task = data(quick)
    seeds, examples, epochs = plan(quick)
    cells = [Cell("piecewise", (seed,), epochs["family"], examples) for seed in seeds]
    direct = [Cell("direct", (seed,), epochs["direct"], examples) for seed in seeds]
    train([*direct, *cells], quick=quick)
    ours, theirs = (
        paths([family for cell in group for family in families(cell)], task)
        for group in (cells, direct)
    )
    words = f"direct networks, {epochs['direct']} epochs; family {epochs['family']} epochs"
    return ours, theirs, seeds, words


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
        return [0], 10_000, {"family": 8, "direct": 8, "maps": 8}
    return [0, 1, 2, 3, 4], 54_000, EPOCHS


def _objective(family: Family, part: Dataset, lams: Sequence[float], n_data: int) -> list[float]:
    path = evaluate(family, part, lams=lams, n_data=n_data, n_samples=_N_SAMPLES)
    return path.column("objective")


def _train(cell: Cell, quick: bool) -> None:
    torch.set_num_threads(1)
    part = data(quick).train
    nets = [_net(seed) for seed in cell.seeds]
    if cell.map == "direct":
        made = fit_direct(nets, part, lams=LAMS, **cell.settings)
    else:
        made = [fit(nets[0], part, map=cell.map, **cell.settings)]
    for seed, family in zip(cell.seeds, made, strict=True):
        save_family(family, cell.file(seed))


def _net(seed: int) -> torch.nn.Module:
    return build("mlp:50", input_shape=(784,), n_outputs=10, seed=seed)
