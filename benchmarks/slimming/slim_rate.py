"""Which learning rate a network should be trained with after half of its channels went, when nobody says one.

Three problems of 8 × 8 digits and of a table: a perceptron, a convolutional network and a vision transformer of one block. Each
is trained as a family by default settings but for its rate, its best member loses half of its channels, and is trained
further for one or five passes over the data at several rates. Log loss on validation rows; test rows are not read.

``1e-3 …``    one rate for all
``as before``  the rate that the family was trained with
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import netdial as nd
from benchmarks.common.result import Result
from benchmarks.slimming._vit import Block
from netdial.measure.forward import outputs
from netdial.pruning.channels import retrain_structured

RATES = (1e-3, 2e-3, 4e-3, 1e-2, 2e-2)
TRAINED = (2e-3, 4e-3, 1e-2)
PASSES = (1, 5)


class Patches(nn.Module):
    """A transformer of one block on patches of 4 × 4."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Conv2d(1, 24, 2, 2), nn.Parameter(torch.zeros(1, 16, 24))
        self.block, self.head = Block(24, 4), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(x.view(-1, 1, 8, 8)).flatten(2).transpose(1, 2) + self.places
        found: torch.Tensor = self.head(self.block(tokens).mean(1))
        return found


def convolutions() -> nn.Module:
    """Returns two convolutions with BatchNorm and a linear layer."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def perceptron() -> nn.Module:
    """Returns two hidden layers for a table of 30 columns."""
    return nn.Sequential(
        nn.Linear(30, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 2)
    )


PROBLEMS: dict[str, tuple[str, Callable[[], nn.Module], int]] = {
    "table": ("breast-cancer", perceptron, 20),
    "convolutions": ("digits", convolutions, 8),
    "transformer": ("digits", Patches, 15),
}


def measure(*, quick: bool = False) -> Result:
    """Returns the validation loss under each rule over that of the best single rate in its case, geometric mean."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    seeds = range(1 if quick else 3)
    over: dict[str, list[float]] = {}
    rows = []
    for problem in list(PROBLEMS)[: 1 if quick else None]:
        for rate in TRAINED:
            cases = [case for seed in seeds for case in _cases(problem, rate, seed)]
            for case in cases:
                best = min(case.values())
                ruled = {f"{one:g}": loss for one, loss in case.items()} | {"as before": case[rate]}
                for rule, loss in ruled.items():
                    over.setdefault(rule, []).append(loss / best)
            means = {f"{one:g}": statistics.fmean(case[one] for case in cases) for one in RATES}
            rows.append({"": problem, "trained at": rate, **means})
            print(rows[-1], flush=True)
    return Result(
        "slim-rate",
        {rule: statistics.geometric_mean(values) for rule, values in over.items()},
        "ratio",
        "lower",
        list(seeds),
        quick,
        "the best rate of each case",
        spread={rule: (min(values), max(values)) for rule, values in over.items()},
        rows=rows,
        seconds=time.perf_counter() - began,
    )


def _cases(problem: str, rate: float, seed: int) -> list[dict[float, float]]:
    """Returns for each number of passes the validation loss after pruning, for each rate."""
    name, build, epochs = PROBLEMS[problem]
    data = nd.load_data(name, seed=seed)
    torch.manual_seed(seed)
    family = nd.fit(build(), data.train, data.valid, epochs=epochs, lr=rate, seed=seed)
    path = nd.evaluate(family, data.valid)
    lam = min(path.members, key=lambda member: member.metrics["nll"]).lam
    cases = []
    for passes in PASSES:
        found = {}
        for one in RATES:
            done = retrain_structured(
                family, lam, data.train, share=0.5, rounds=1, epochs=passes, lr=one, seed=seed
            )
            logits = outputs(done[-1].trained.net.eval(), data.valid)
            loss = float(nn.functional.cross_entropy(logits.double(), data.valid.y))
            found[one] = loss if math.isfinite(loss) else math.inf
        cases.append(found)
    return cases
