"""Cells that train one family each, and the data they are trained on."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from netdial.core.errors import ConfigError
from netdial.data import Dataset, Splits, load_data
from netdial.family import Family
from netdial.models.family import load_family, save_family
from netdial.nets import build
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.train.config import FitConfig
from netdial.train.fit import run as train

_FILE, _LAST = "family.safetensors", "last.safetensors"


@dataclass(frozen=True)
class Training(Cell):
    """One training run.

    Attributes:
        data: name of a classification data set.
        model: a network of ``netdial.nets``.
        config: settings; ``map="table"`` trains networks directly at ``lams``, all in one batched run.
        examples: training examples used, the first ones; 0 for all.
        with_valid: train on the validation part too, as the papers do, who have none.
        augment: vary training images, where the data set says how.
    """

    data: str
    model: str
    config: FitConfig
    examples: int = 0
    with_valid: bool = False
    augment: bool = False

    @property
    def label(self) -> str:
        """Words for people."""
        config = self.config
        kind = "direct" if config.map == "table" else config.map
        by = "" if config.optimizer == "Adam" else f" by {config.optimizer}"
        return (
            f"{self.data} {config.objective} {kind} {config.epochs} epochs{by} seed {config.seed}"
        )

    @property
    def cost(self) -> float:
        """Epochs; twice that where each of several networks or complexity values sees whole batches."""
        whole = self.config.map == "table" or self.config.sampling == "independent"
        return float(self.config.known_epochs * (2 if whole else 1))

    @property
    def run_config(self) -> dict[str, Any]:
        """Settings of the run: those of the training, beside the fields of the cell."""
        config = {"data": self.data, "model": self.model, **self.config.model_dump(mode="json")}
        return {**config, **super().run_config, "way": "fit"}

    def make(self, run: Run, store: Store) -> None:
        """Trains the family, or goes on, and writes it to a file that ``nd.load_model`` opens without further help."""
        task = self.task(store)
        family = train(
            Family(self.net(task), self.config.family()),
            self.part(task),
            None,
            kind=task.kind,
            config=self.config,
            augment=task.augment if self.augment else None,
            checkpoint=run.checkpoint_path / _LAST,
            resuming=True,
            identity=self.run_config,
        )
        save_family(
            family, run.model_path / _FILE, {"net": self.described(task), "data": self.data}
        )
        shutil.rmtree(run.checkpoint_path)

    def family(self, store: Store) -> Family:
        """Returns the trained family, on the accelerator if there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return load_family(store.path(self) / "model" / _FILE).to(device)

    def task(self, store: Store) -> Splits:
        """Returns the data, as this network takes them."""
        return classification(self.data, store.data_dir, flat=is_flat(self.model))

    def part(self, task: Splits) -> Dataset:
        """Returns what is trained on."""
        part = both(task.train, task.valid) if self.with_valid else task.train
        return part.select(torch.arange(min(self.examples, len(part)))) if self.examples else part

    def net(self, task: Splits) -> nn.Module:
        """Returns the network before training."""
        shape, count = task.input_shape, task.n_outputs
        return build(self.model, input_shape=shape, n_outputs=count, seed=self.config.seed)

    def described(self, task: Splits) -> dict[str, object]:
        """Returns the network as ``save_family`` wants it described."""
        return {
            "spec": self.model,
            "input_shape": list(task.input_shape),
            "n_outputs": task.n_outputs,
        }


def classification(name: str, data_dir: str | None = None, *, flat: bool = True) -> Splits:
    """Returns data with classes to predict; loaded once in a process.

    Raises:
        ConfigError: the name is unknown, or there are no classes to predict.
        DataError: the files are not there.
    """
    task = _load(name, data_dir, flat)
    if task.kind != "classification":
        raise ConfigError(
            f"data {name!r} is a {task.kind}; the experiments compare accuracies: give a data set with classes"
        )
    return task


@functools.lru_cache(maxsize=2)
def _load(name: str, data_dir: str | None, flat: bool) -> Splits:
    return load_data(name, data_dir=data_dir, flat=flat)


def both(first: Dataset, second: Dataset) -> Dataset:
    """Returns two parts as one."""
    return Dataset(
        torch.cat([first.x, second.x]),
        torch.cat([first.y, second.y]),
        first.shift,
        first.scale,
    )


def is_flat(model: str) -> bool:
    """Returns whether a network takes vectors and not images."""
    return model.split(":")[0] in ("linear", "mlp")
