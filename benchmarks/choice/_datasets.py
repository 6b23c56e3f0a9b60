"""Six classification data sets and families on each; what the figures of choosing stand on.

A family is as ``netdial fit`` trains it by default, or with ``--objective ard --sampling whole``.

Trained families lie in ``runs/benchmarks`` and are shared by the figures. A data set whose file is absent is left out and
named.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from netdial.core.errors import DataError
from netdial.core.noise import generator
from netdial.data import Splits, load_data
from netdial.family import Family
from netdial.jobs.pool import make_all
from netdial.jobs.presets import PRESETS, default_model
from netdial.models.family import load_family, save_family
from netdial.nets import build
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.train.config import make_config
from netdial.train.fit import run as train

TARGETS = {"covertype_15120.parquet": "Cover_Type", "gas_sensor_drift_8of10.parquet": "gas"}
NAMES = ("wine", "breast-cancer", "digits", "mnist", *TARGETS)
MNIST = 8000, 2000
"""Training and validation images that are used."""

_OTHERWISE = {"mnist": {"epochs": 80}}
"""The preset is for seven times as many images."""

_STORE = Store(Path("runs/benchmarks/choose"))
_FILE = "family.safetensors"


@dataclass(frozen=True)
class Learned(Cell):
    """A family trained with the defaults for its data.

    Attributes:
        data: name.
        seed: draws the split, the start and the batches.
        quick: a tenth of the epochs.
        noise: share of training labels that are replaced by labels drawn at random.
        objective: ``scaled-kl`` with the defaults, or ``ard`` with every λ seeing the whole batch.
    """

    data: str
    seed: int
    quick: bool = False
    noise: float = 0.0
    objective: str = "scaled-kl"

    @property
    def label(self) -> str:
        """Words for people."""
        noise = f" noise {self.noise:g}" if self.noise else ""
        return (
            f"{self.data} {self.objective} seed {self.seed}{noise}{' quick' if self.quick else ''}"
        )

    def make(self, run: Run, store: Store) -> None:
        """Trains the family and writes it."""
        task = self.task
        chosen: dict[str, Any] = {
            **PRESETS.get(self.data, {}),
            **_OTHERWISE.get(self.data, {}),
        }
        model = chosen.pop("model", default_model(self.data))
        settings = {k: v for k, v in chosen.items() if k not in ("samples", "points")}
        if self.objective == "ard":
            settings |= {"objective": "ard", "sampling": "whole"}
        common = {"objective": "scaled-kl", "regions": 5, "lo": 1e-3, "hi": 1e2}
        config = make_config(**{**common, **settings, "seed": self.seed}).for_rows(len(task.train))
        config = config.changed(epochs=max(config.known_epochs // (10 if self.quick else 1), 2))
        shape, count = task.input_shape, task.n_outputs
        net = build(model, input_shape=shape, n_outputs=count, seed=self.seed)
        family = train(
            Family(net, config.family()), task.train, None, kind=task.kind, config=config
        )
        described = {"spec": model, "input_shape": list(shape), "n_outputs": count}
        save_family(family, run.model_path / _FILE, {"net": described})

    @functools.cached_property
    def task(self) -> Splits:
        """The data; only training labels are ever replaced."""
        task = task_of(self.data, self.seed)
        if not self.noise:
            return task
        source = generator(self.seed, "label noise")
        drawn = torch.randint(0, task.n_outputs, task.train.y.shape, generator=source)
        wrong = torch.rand(task.train.y.shape, generator=source) < self.noise
        return replace(task, train=replace(task.train, y=drawn.where(wrong, task.train.y)))

    @property
    def family(self) -> Family:
        """The trained family."""
        return load_family(_STORE.path(self) / "model" / _FILE)


def learned(
    quick: bool, *, noise: float = 0.0, objective: str = "scaled-kl"
) -> tuple[list[Learned], list[str]]:
    """Trains what is missing; returns one entry for each data set and seed, and the data sets that are absent.

    Args:
        quick: one seed and a tenth of the epochs.
        noise: share of training labels drawn at random; with noise there is one seed.
        objective: what the families are trained under.
    """
    present, absent = [], []
    for name in NAMES:
        try:
            task_of(name, 0)
            present.append(name)
        except DataError:
            absent.append(name)
    chosen = (0,) if noise else seeds(quick)
    cells = [Learned(name, seed, quick, noise, objective) for name in present for seed in chosen]
    make_all(cells, _STORE, report=print)
    return cells, absent


def medians(losses: Mapping[str, Sequence[float]]) -> float:
    """Returns the median over data sets of the mean over seeds."""
    return statistics.median(statistics.fmean(values) for values in losses.values())


def seeds(quick: bool) -> Sequence[int]:
    """Returns the seeds."""
    return (0,) if quick else (0, 1, 2)


def task_of(name: str, seed: int) -> Splits:
    """Returns a data set, split by the seed.

    Raises:
        DataError: its file is absent.
    """
    if name != "mnist":
        return load_data(name, seed=seed, target=TARGETS.get(name))
    task = load_data(name, seed=seed, flat=True)
    train, valid = (torch.arange(count) for count in MNIST)
    return replace(task, train=task.train.select(train), valid=task.valid.select(valid))
