"""One seed of a compression beside its control: a dense network, the same trained on by the same recipe, and the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import netdial as nd
from netdial.compression.file import write
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.leaves import divide
from netdial.compression.pipeline.steps import Context, recipe_alone
from netdial.measure.compare import terms_of
from netdial.measure.forward import outputs
from netdial.task import named


@dataclass(frozen=True)
class Recipe:
    """How dense networks are trained and compressed.

    Attributes:
        spec: the network.
        epochs: passes over the data of the dense network.
        lr: its peak learning rate.
        augment: how images are varied.
        settings: of the compression.
        metric: that decides.
    """

    spec: str
    epochs: int
    lr: float
    augment: str | None
    settings: dict[str, Any]
    metric: str


def one_seed(data: nd.Splits, recipe: Recipe, seed: int, folder: Path) -> dict[str, Any]:
    """Returns sizes of one seed, and the test loss of each example of the dense, the control and the compressed network."""
    task = named(data.kind)
    net = nd.build(recipe.spec, input_shape=data.input_shape, n_outputs=data.n_outputs, seed=seed)
    config = CompressConfig(**recipe.settings, metric=recipe.metric, seed=seed)

    def context(start: nn.Module, own: CompressConfig) -> Context:
        return Context(data.train, task, own, divide(start), start, recipe.augment)

    alone = CompressConfig(
        epochs=recipe.epochs,
        tuning=0,
        distil=0.0,
        lr=recipe.lr,
        batch_size=config.batch_size,
        seed=seed,
    )
    start = recipe_alone(context(net, alone), net, "dense")
    sizes: set[str] = set()

    def told(name: str, *_: object) -> None:
        if name.startswith("size") and "-" not in name:
            sizes.add(name)

    found = nd.compress(
        start,
        data.train,
        data.valid,
        kind=data.kind,
        config=config,
        augment=recipe.augment,
        report=told,
    )
    control = start
    for _ in sizes:  # as many trainings as the search for the size took
        control = recipe_alone(context(start, config), control, "control")
    path = folder / f"seed{seed}.ndz"
    ledger = write(path, found.chosen.tensors, recipe={"spec": recipe.spec})

    def losses(one: nn.Module) -> list[float]:
        return _losses(one, data, recipe.metric).tolist()

    return {
        "bytes": path.stat().st_size,
        "dense_bytes": found.stages[0].n_bytes,
        "n_weights": found.chosen.n_weights,
        "split": dict(ledger.split),
        "side": ledger.side,
        "start": losses(start),
        "control": losses(control),
        "compressed": losses(found.net),
        "valid": {name: getattr(found.chosen, name) for name in ("loss", "excess", "error")},
    }


def _losses(net: nn.Module, data: nd.Splits, metric: str) -> Tensor:
    task = named(data.kind)
    return terms_of(outputs(net, data.test)[None], data.test.y, task, metric)[0]


def stacked(found: list[dict[str, Any]], name: str) -> Tensor:
    """Returns the test losses of all seeds ``[S, N]``."""
    return torch.tensor([one[name] for one in found], dtype=torch.float64)
