"""Time of a step of the paper's CNN (9.07M parameters) as a family, over a plain step (CIFAR-10, one thread).

The family is trained as the library trains it: linear map, scaled KL, 4 groups of λ in the batch. The plain network is
trained by a loop without any of netdial: tensors in memory, fused Adam, the same batches.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.common.result import Result
from benchmarks.common.timing import interleaved
from netdial.core.errors import DataError
from netdial.data import Dataset, load_data
from netdial.family import Family
from netdial.nets import build
from netdial.task import Classification
from netdial.train.config import make_config
from netdial.train.feed import Batch
from netdial.train.method import FamilyMethod, FamilyState

_BATCH, _GROUPS = 128, 4
_CONFIG = make_config(
    objective="scaled-kl",
    map="linear",
    epochs=25,
    batch_size=_BATCH,
    groups=_GROUPS,
    lo=1e-2,
    hi=1.0,
)


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio, and where the time of both goes."""
    torch.set_num_threads(1)
    data, origin = images(real=not quick)
    batches = [Batch(data.inputs(i), data.y[i]) for i in torch.arange(len(data)).split(_BATCH)]
    optimizer, plain = plain_step(batches)
    method, state, step = family_step(batches, n_data=45_000)
    seconds, ratios, reach = interleaved(
        {"plain": plain, "family": step}, baseline="plain", rounds=3 if quick else 11
    )
    rows: list[dict[str, object]] = [
        {"part": f"{label} step", "s": taken, "share of a plain step": taken / seconds["plain"]}
        for label, taken in seconds.items()
    ]
    for part, taken in split(optimizer, method, state).items():
        rows.append({"part": part, "s": taken, "share of a plain step": taken / seconds["plain"]})
    return Result(
        "cnn-cost",
        ratios["family"],
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline=f"one plain CNN, batch {_BATCH}, fused Adam, one thread; images: {origin}",
        floor="1.0 for the convolutions (a sample of weights for each group), 2.0 for the dense layers (mean and "
        "variance); 4 numbers to update for each weight (two ends of mean and log_std) where plain training has 1",
        spread={"cnn-cost": reach["family"]},
        rows=rows,
    )


def images(*, real: bool) -> tuple[Dataset, str]:
    """Returns some batches of images and what they are; random ones if CIFAR-10 is not wanted or not there."""
    if real:
        try:
            task = load_data("cifar10")
            return task.train.select(torch.arange(4 * _BATCH)), str(task.source["origin"])
        except DataError as error:
            print(f"CIFAR-10 is not there, random images instead: {error}")
    source = torch.Generator().manual_seed(0)
    x = torch.randn(2 * _BATCH, 3, 32, 32, generator=source)
    return Dataset(x, torch.randint(0, 10, (len(x),), generator=source)), "random tensors"


def plain_step(batches: list[Batch]) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
    """Returns an ordinary network's optimiser, and one step of an ordinary training loop."""
    net = build("cnn", input_shape=(3, 32, 32), n_outputs=10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    turn = iter(range(1_000_000))

    def step() -> None:
        x, y, *_ = batches[next(turn) % len(batches)]
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    return optimizer, step


def family_step(
    batches: list[Batch], *, n_data: int
) -> tuple[FamilyMethod, FamilyState, Callable[[], None]]:
    """Returns the library's method, its state, and one step as the library's loop makes it."""
    net = build("cnn", input_shape=(3, 32, 32), n_outputs=10)
    method = FamilyMethod(_CONFIG, task=Classification(), n_data=n_data, steps=n_data // _BATCH)
    state = method.init(Family(net, _CONFIG.family()).train())

    def step() -> None:
        method.step(state, batches[state.step % len(batches)])

    return method, state, step


def split(
    optimizer: torch.optim.Optimizer, method: FamilyMethod, state: FamilyState
) -> dict[str, float]:
    """Returns seconds of the parts of a step that do not run the network."""
    family = state.family

    def fields() -> None:
        for value in range(_GROUPS):
            made = family.fields(torch.tensor([(value + 0.5) / _GROUPS], dtype=torch.float64))
            made.kl(torch.ones(1)).sum().backward()

    parts: dict[str, Callable[[], Any]] = {
        "plain: optimiser": optimizer.step,
        "family: optimiser": state.optimizer.step,
        "family: maps, divergence, their gradients": fields,
    }
    found = {}
    for name, work in parts.items():
        times = []
        for _ in range(4):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        found[name] = statistics.median(times[1:])
    return found
