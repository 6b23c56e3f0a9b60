"""One seed of a compression beside its control: a dense network, the same trained on by the same recipe, and the file."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor, nn

import netdial as nd
from netdial.compression.file import write
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.leaves import divide
from netdial.compression.pipeline.result import Compressed
from netdial.compression.pipeline.steps import Context, recipe_alone
from netdial.measure.compare import terms_of
from netdial.measure.forward import outputs
from netdial.task import named

PAPERS_LENET5 = "lenet5 of Han et al."
"""431,080 parameters, in place of the 61,706 of LeCun et al. 1998."""


@dataclass(frozen=True)
class Recipe:
    """How dense networks are trained and compressed.

    Attributes:
        spec: the network, or ``PAPERS_LENET5``.
        epochs: passes over the data of the dense network.
        lr: its peak learning rate.
        augment: how images are varied.
        settings: of the compression.
        metric: that decides; None for the proper loss.
    """

    spec: str
    epochs: int
    lr: float
    augment: str | None
    settings: dict[str, Any]
    metric: str | None


@dataclass(frozen=True, eq=False)
class Pair:
    """A network that was compressed, and the dense one that was trained on for as long.

    Attributes:
        start: the dense network that both go on from.
        found: what became of it.
        control: the same trained on, as many times as the search tried sizes.
        path: file of the compressed network.
        side: share of tables and biases in it.
        split: its bytes by kind.
        sizes: how many sizes were tried.
        seconds: processor time of the first training, the compression and the control.
    """

    start: nn.Module
    found: Compressed
    control: nn.Module
    path: Path
    side: float
    split: dict[str, float]
    sizes: int
    seconds: dict[str, float]


def context_of(
    data: nd.Splits, start: nn.Module, config: CompressConfig, augment: str | None
) -> Context:
    """Returns what trainings that start from a network work on."""
    return Context(data.train, named(data.kind), config, divide(start), start, augment)


def pair(
    data: nd.Splits, recipe: Recipe, seed: int, folder: Path, start: nn.Module | None = None
) -> Pair:
    """Returns a compressed network of one seed, its file in a folder, beside its control; ``start`` is trained already."""
    config = CompressConfig(**recipe.settings, metric=recipe.metric, seed=seed)
    clock = [process_time()]
    if start is None:
        start = _started(data, recipe, config)
    clock.append(process_time())
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
    clock.append(process_time())
    control = start
    for _ in sizes:  # as many trainings as the search for the size took
        control = recipe_alone(context_of(data, start, config, recipe.augment), control, "control")
    clock.append(process_time())
    path = folder / f"seed{seed}.ndz"
    ledger = write(path, found.chosen.tensors, recipe={"spec": recipe.spec})
    steps = zip(("start", "ours", "control"), itertools.pairwise(clock), strict=True)
    seconds = {name: end - begin for name, (begin, end) in steps}
    return Pair(start, found, control, path, ledger.side, dict(ledger.split), len(sizes), seconds)


def _started(data: nd.Splits, recipe: Recipe, config: CompressConfig) -> nn.Module:
    """Returns the dense network of a recipe, trained."""
    net = _built(recipe.spec, data, config.seed)
    alone = CompressConfig(
        epochs=recipe.epochs,
        tuning=0,
        distil=0.0,
        lr=recipe.lr,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    return recipe_alone(context_of(data, net, alone, recipe.augment), net, "dense")


def _built(spec: str, data: nd.Splits, seed: int) -> nn.Module:
    """Returns the network of a recipe, with the weights of a seed."""
    if spec != PAPERS_LENET5:
        return nd.build(spec, input_shape=data.input_shape, n_outputs=data.n_outputs, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 20, 5),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(800, 500),
            nn.ReLU(),
            nn.Linear(500, data.n_outputs),
        )
    for leaf in net.parameters():
        if leaf.ndim == 4:  # channels last in memory are half again as fast on a processor
            leaf.data = leaf.data.contiguous(memory_format=torch.channels_last)
    return net


def one_seed(
    data: nd.Splits, recipe: Recipe, seed: int, folder: Path, start: nn.Module | None = None
) -> dict[str, Any]:
    """Returns sizes of one seed, and the test loss of each example of the dense, the control and the compressed network."""
    made = pair(data, recipe, seed, folder, start)
    found = made.found

    def losses(one: nn.Module) -> list[float]:
        return _losses(one, data.test, data.kind, recipe.metric).tolist()

    dense = {"start": made.start, "control": made.control}
    held = {
        n: float(_losses(one, data.valid, data.kind, recipe.metric).mean())
        for n, one in dense.items()
    }

    return {
        "bytes": made.path.stat().st_size,
        "dense_bytes": found.stages[0].n_bytes,
        "n_weights": found.chosen.n_weights,
        "split": made.split,
        "side": made.side,
        "sizes": made.sizes,
        "seconds": made.seconds,
        **{name: losses(one) for name, one in dense.items()},
        "compressed": losses(found.net),
        "valid": {name: getattr(found.chosen, name) for name in ("loss", "excess", "error")},
        "dense valid": held,
    }


def _losses(net: nn.Module, part: nd.Dataset, kind: str, metric: str | None) -> Tensor:
    return terms_of(outputs(net, part)[None], part.y, named(kind), metric)[0]


def stacked(found: list[dict[str, Any]], name: str) -> Tensor:
    """Returns the test losses of all seeds ``[S, N]``."""
    return torch.tensor([one[name] for one in found], dtype=torch.float64)
