"""Training objective on 10,000 examples in batches of 256, by what is done with the 16 that are left over.

``full step``: they are a batch of their own, which counts as much as any other. ``weighed``: it counts by its size. ``filled
up``: with examples from the beginning of the epoch (what the library does with data in memory). ``left out``: trained on the
first 9,984 alone. MNIST, 784-50-10, 25 epochs; the objective is that of all 10,000 at the mean of 8 weight samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import torch

import netdial as nd
from benchmarks.common.result import Result
from netdial.train.feed import Batch, TensorFeed

_LAMS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
_N, _LEFT = 10_000, 16


class _Short(TensorFeed):
    """Gives the last batch as it is, at full weight."""

    weighs = False

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch; a whole run, so nothing is skipped."""
        left = self.n_data % self._batch_size or self._batch_size
        for step, batch in enumerate(super().epoch(number)):
            size = left if step == self.steps - 1 else self._batch_size
            share = size * self.steps / self.n_data if self.weighs else 1.0
            yield Batch(batch.x[:size], batch.y[:size], None, share)


class _Weighed(_Short):
    """Gives the last batch as it is, with the weight of its size."""

    weighs = True


_WAYS: dict[str, tuple[type[TensorFeed], int]] = {
    "full step": (_Short, _N),
    "weighed": (_Weighed, _N),
    "filled up": (TensorFeed, _N),
    "left out": (TensorFeed, _N - _LEFT),
}


def measure(*, quick: bool = False) -> Result:
    """Returns the objective when filled up over that of a full step, for each λ."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else 2)
    part = nd.load_data("mnist", flat=True).train.select(torch.arange(_N))
    found = {
        way: torch.tensor([_objective(part, *how, seed, quick=quick) for seed in seeds])
        for way, how in _WAYS.items()
    }
    old, new = found["full step"].mean(0), found["filled up"].mean(0)
    return Result(
        "short-batch",
        {f"lam={lam:g}": float(b / a) for lam, a, b in zip(_LAMS, old, new, strict=True)},
        "ratio",
        "lower",
        seeds=tuple(seeds),
        quick=quick,
        baseline="the last batch counts as a full step",
        rows=[
            {
                "way": way,
                **{f"{lam:g}": v for lam, v in zip(_LAMS, x.mean(0).tolist(), strict=True)},
            }
            for way, x in found.items()
        ],
    )


def _objective(
    part: nd.Dataset, feed: type[TensorFeed], count: int, seed: int, *, quick: bool
) -> list[float]:
    """Returns the objective of a family at each λ, nats per example."""
    net = nd.build("mlp:50", input_shape=(784,), n_outputs=10)
    with mock.patch("netdial.train.fit.TensorFeed", feed):
        some = part.select(torch.arange(count))
        family = nd.fit(
            net, some, objective="scaled-kl", regions=5, epochs=1 if quick else 25, batch_size=256, seed=seed
        )  # fmt: skip
    path = nd.evaluate(family, part, lams=_LAMS, n_samples=8, n_data=_N)
    return path.column("objective")
