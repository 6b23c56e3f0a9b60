"""Wall time per epoch of a family over that of one plain deterministic network (MNIST size, 784-50-10, one thread).

The plain network is trained by a loop without any of netdial: tensors in memory, fused Adam. The family is trained as the
library trains it by default: scaled KL, local reparametrisation, K = 8 values of λ in every batch. Beside it stand families
whose step is compiled (``compiled=True``), families under l1, and a small network for tables (20-50-5, batch 32).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.result import Result
from benchmarks.common.timing import interleaved
from benchmarks.families._by_hand import by_hand
from netdial.data import Dataset
from netdial.family import Family
from netdial.nets import build
from netdial.task import Classification
from netdial.train.config import make_config
from netdial.train.feed import Batch, TensorFeed
from netdial.train.method import FamilyMethod

_EXAMPLES, _GROUPS = 60_000, 8
_TABLE_EXAMPLES, _TABLE_BATCH = 4_000, 32


_FAMILIES: dict[str, dict[str, Any]] = {
    "linear": {"map": "linear"},
    "piecewise": {},
    "l1": {"objective": "l1"},
    "compiled linear": {"map": "linear", "compiled": True},
    "compiled piecewise": {"compiled": True},
    "compiled ard": {"objective": "ard", "compiled": True},
    "compiled l1": {"objective": "l1", "compiled": True},
    "compiled l1 linear": {"objective": "l1", "map": "linear", "compiled": True},
}


def random_data(count: int, inputs: int, classes: int) -> tuple[Tensor, Tensor]:
    """Returns random examples of random classes."""
    source = torch.Generator().manual_seed(0)
    x = torch.rand(count, inputs, generator=source)
    return x, torch.randint(0, classes, (count,), generator=source)


def measure(*, quick: bool = False) -> Result:
    """Returns the ratios for the linear and the piecewise map."""
    torch.set_num_threads(1)
    steps = 60 if quick else 235
    value, rows, spread = {}, [], {}
    for place, x, y, batch, each in (
        ("", *random_data(_EXAMPLES, 784, 10), 256, steps),
        (", batch 1024", *random_data(_EXAMPLES, 784, 10), 1024, steps // 4),
        (", table", *random_data(_TABLE_EXAMPLES, 20, 5), _TABLE_BATCH, 2 * steps),
    ):
        contenders = {"plain": plain(x, y, batch, each)}
        for label, settings in _FAMILIES.items():
            contenders[label] = family(x, y, batch, each, **settings)
        if x.shape[1] == 784:
            contenders["linear, by hand"] = by_hand(1, x, y, batch, each, _GROUPS)
            contenders["piecewise, by hand"] = by_hand(5, x, y, batch, each, _GROUPS)
        seconds, ratios, reach = interleaved(
            contenders, baseline="plain", rounds=5 if quick else 11
        )
        for label in _FAMILIES:
            value[label + place], spread[label + place] = ratios[label], reach[label]
        for label, taken in seconds.items():
            rows.append(
                {
                    "network": f"{x.shape[1]}-50-{int(y.max()) + 1}",
                    "batch": batch,
                    "contender": label,
                    "ms per step": 1000 * taken / each,
                    "ratio": ratios.get(label, 1.0),
                }
            )
    return Result(
        "family-cost",
        value,
        "ratio",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline="one plain network, same batch size, fused Adam, tensors in memory",
        floor="not measured here: 1.25 linear, 1.45 piecewise, for a second pair of products in the first layer and Adam over "
        "all pivots; a bare loop of torch operations takes what the rows 'by hand' say",
        spread=spread,
        rows=rows,
    )


def plain(x: Tensor, y: Tensor, batch: int, steps: int) -> Callable[[], None]:
    """Returns the work of ``steps`` steps of an ordinary training loop."""
    net = _network(x, y)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    order = torch.randperm(len(y))

    def work() -> None:
        for step in range(steps):
            index = order[step * batch : (step + 1) * batch]
            optimizer.zero_grad()
            F.cross_entropy(net(x.index_select(0, index)), y.index_select(0, index)).backward()
            optimizer.step()

    return work


def family(x: Tensor, y: Tensor, batch: int, steps: int, **settings: Any) -> Callable[[], None]:
    """Returns the work of ``steps`` steps of a family, as the library's own loop makes them."""
    common = {"objective": "scaled-kl", "regions": 5, "groups": _GROUPS, "epochs": 1000}
    config = make_config(**{**common, "batch_size": batch, **settings})
    made = Family(_network(x, y), config.family()).train()
    feed = TensorFeed(Dataset(x, y), batch_size=batch, seed=0)
    method = FamilyMethod(config, task=Classification(), n_data=len(y), steps=feed.steps)
    state = method.init(made)
    batches: Iterator[Batch] = iter(())
    epoch = 0

    def work() -> None:
        nonlocal batches, epoch
        for _ in range(steps):
            found = next(batches, None)
            if found is None:
                batches, epoch = feed.epoch(epoch), epoch + 1
                found = next(batches)
            method.step(state, found)

    return work


def _network(x: Tensor, y: Tensor) -> nn.Module:
    """Returns a fresh network of 50 hidden units for the data."""
    made: nn.Module = build("mlp:50", input_shape=(x.shape[1],), n_outputs=int(y.max()) + 1)
    return made
