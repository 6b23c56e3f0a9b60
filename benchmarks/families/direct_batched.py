"""Directly trained networks, 6 λ × 5 seeds in one batched run, over 30 separate runs of a plain loop (MNIST size).

The plain loop trains one variational network at one λ in straightforward PyTorch: local reparametrisation written out,
autograd, fused Adam. One thread.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common.mnist import LAMS
from benchmarks.common.result import Result
from benchmarks.common.timing import interleaved
from netdial.data import Dataset
from netdial.family import Family
from netdial.family.stacking import stack
from netdial.nets import build
from netdial.task import Classification
from netdial.train.config import make_config
from netdial.train.feed import TensorFeed
from netdial.train.method import FamilyMethod

_SEEDS, _BATCH = 5, 256


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio of times for the same number of optimiser steps of all 30 networks."""
    torch.set_num_threads(1)
    steps = 5 if quick else 20
    x, y = torch.rand(20_000, 784), torch.randint(0, 10, (20_000,))
    contenders = {"separate": separate(x, y, steps), "batched": batched(x, y, steps)}
    seconds, ratios, spread = interleaved(contenders, baseline="separate", rounds=5)
    rows = [{"contender": k, "ms per step of all 30": 1e3 * v / steps} for k, v in seconds.items()]
    return Result(
        "direct-batched",
        ratios["batched"],
        "ratio",
        "lower",
        seeds=tuple(range(_SEEDS)),
        quick=quick,
        baseline="30 separate runs of a plain loop, one thread",
        floor="both make 4 products of 256 × 784 × 50 for each network; batching saves what is not products, and their size",
        spread={"direct-batched": spread["batched"]},
        rows=rows,
    )


def batched(x: Tensor, y: Tensor, steps: int) -> Callable[[], None]:
    """Returns the work of one batched run."""
    config = make_config(
        objective="scaled-kl", map="table", lams=LAMS, batch_size=_BATCH, epochs=1000
    )
    nets = [build("mlp:50", input_shape=(784,), n_outputs=10, seed=seed) for seed in range(_SEEDS)]
    family = stack([Family(net, config.family()) for net in nets]).train()
    feed = TensorFeed(Dataset(x, y), batch_size=_BATCH, seed=0, blocks=_SEEDS)
    method = FamilyMethod(config, task=Classification(), n_data=len(y), steps=feed.steps)
    state = method.init(family)

    def work() -> None:
        batches = feed.epoch(0)
        for _ in range(steps):
            method.step(state, next(batches))

    return work


class _Variational(nn.Module):
    """A linear layer with a diagonal normal posterior, written out."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.log_std = nn.Parameter(torch.full((outputs, inputs), -3.0))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.bias_log_std = nn.Parameter(torch.full((outputs,), -3.0))

    def forward(self, x: Tensor) -> Tensor:
        mean = F.linear(x, self.mean, self.bias)
        var = F.linear(x.square(), (2 * self.log_std).exp(), (2 * self.bias_log_std).exp())
        return mean + var.sqrt() * torch.randn_like(mean)

    def kl(self) -> Tensor:
        pairs = ((self.mean, self.log_std), (self.bias, self.bias_log_std))
        terms = [0.5 * ((2 * s).exp() + m.square() - 1 - 2 * s).sum() for m, s in pairs]
        return terms[0] + terms[1]


def separate(x: Tensor, y: Tensor, steps: int) -> Callable[[], None]:
    """Returns the work of 30 runs, one after another."""
    made: list[tuple[float, tuple[_Variational, _Variational], torch.optim.Optimizer]] = []
    for _ in range(_SEEDS):
        for lam in LAMS:
            net = _Variational(784, 50), _Variational(50, 10)
            parameters = [p for layer in net for p in layer.parameters()]
            made.append((lam, net, torch.optim.Adam(parameters, lr=1e-3, fused=True)))
    order = torch.randperm(len(y))

    def work() -> None:
        for lam, net, optimizer in made:
            for step in range(steps):
                index = order[step * _BATCH : (step + 1) * _BATCH]
                out = net[1](net[0](x.index_select(0, index)).relu())
                kl = net[0].kl() + net[1].kl()
                loss = F.cross_entropy(out, y.index_select(0, index)) + lam * kl / len(y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return work
