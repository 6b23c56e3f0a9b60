"""Wall time per epoch of a family over that of one plain deterministic network (MNIST size, 784-50-10, one thread).

The plain network is trained by a loop without any of netdial: tensors in memory, fused Adam. The family is trained as the
library trains it by default: scaled KL, local reparametrisation, K = 8 values of λ in every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._by_hand import by_hand
from benchmarks.result import Result
from benchmarks.timing import interleaved
from netdial.data import Dataset
from netdial.family import Family
from netdial.nets import build
from netdial.task import Classification
from netdial.train.config import make_config
from netdial.train.feed import Batch, TensorFeed
from netdial.train.method import FamilyMethod

_EXAMPLES, _GROUPS = 60_000, 8


def measure(*, quick: bool = False) -> Result:
    """Returns the ratios for the linear and the piecewise map."""
    torch.set_num_threads(1)
    source = torch.Generator().manual_seed(0)
    x = torch.rand(_EXAMPLES, 784, generator=source)
    y = torch.randint(0, 10, (_EXAMPLES,), generator=source)
    steps = 60 if quick else 235
    value, rows, spread = {}, [], {}
    for batch in (256, 1024):
        contenders = {
            "plain": plain(x, y, batch, steps * 256 // batch),
            "linear": family("linear", x, y, batch, steps * 256 // batch),
            "piecewise": family("piecewise", x, y, batch, steps * 256 // batch),
            "linear, by hand": by_hand(1, x, y, batch, steps * 256 // batch, _GROUPS),
            "piecewise, by hand": by_hand(5, x, y, batch, steps * 256 // batch, _GROUPS),
        }
        seconds, ratios, reach = interleaved(
            contenders, baseline="plain", rounds=5 if quick else 11
        )
        for label in ("linear", "piecewise"):
            name = label if batch == 256 else f"{label}, batch {batch}"
            value[name], spread[name] = ratios[label], reach[label]
        for label, taken in seconds.items():
            rows.append(
                {
                    "batch": batch,
                    "contender": label,
                    "s per epoch": taken * 235 / steps,
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
        floor="not measured here: products alone 2.0, for local reparametrisation "
        "makes two (mean, variance) where a plain network makes one; "
        "a bare loop of torch operations takes what the rows 'by hand' say",
        spread=spread,
        rows=rows,
    )


def plain(x: Tensor, y: Tensor, batch: int, steps: int) -> Callable[[], None]:
    """Returns the work of ``steps`` steps of an ordinary training loop."""
    net: nn.Module = build("mlp:50", input_shape=(784,), n_outputs=10)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    order = torch.randperm(len(y))

    def work() -> None:
        for step in range(steps):
            index = order[step * batch : (step + 1) * batch]
            optimizer.zero_grad()
            F.cross_entropy(net(x.index_select(0, index)), y.index_select(0, index)).backward()
            optimizer.step()

    return work


def family(
    kind: str, x: Tensor, y: Tensor, batch: int, steps: int, *, regions: int = 5
) -> Callable[[], None]:
    """Returns the work of ``steps`` steps of a family, as the library's own loop makes them."""
    config = make_config(map=kind, regions=regions, batch_size=batch, groups=_GROUPS, epochs=1000)
    made = Family(build("mlp:50", input_shape=(784,), n_outputs=10), config.family()).train()
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
