"""Test accuracy of MNIST networks with most weights removed, without retraining, at equal processor time.

784-50-10; one threshold of magnitude over both weight matrices, biases kept, nothing folded. Ours are families under ``l1``
with three regions, batches of 512 and a peak rate of 8e-3; for each fraction that is removed the λ of the best validation
accuracy among 11 is taken, evaluation included in the time. The rival is the textbook's: plain networks with an L1 penalty,
four weights of it, in one batched loop with the same batches, schedule and rate, in the same processor time, and the best of
them on validation data at each fraction. Results of a seed are kept in ``runs/benchmarks/sparse``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import netdial as nd
from benchmarks._rivals import Stack, trained
from benchmarks._worth_problems import Problem
from benchmarks.result import Result
from netdial.jobs.pool import make_all
from netdial.pruning.weights.surfaces import surface
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store

SHARES = (0.0, 0.9, 0.95, 0.98)
_EPOCHS, _QUICK_EPOCHS, _SEEDS = 48, 4, 5
_BATCH, _RATE = 512, 8e-3
_RANGE = (1.6, 65.0)
_GRID = (5.4, 12.5, 28.0, 65.0)
_STORE = Store(Path("runs/benchmarks/sparse"))
_OURS = {"centred": {"map": "centred"}, "piecewise": {"map": "piecewise"}}
GRID = "plain L1 grid"


@dataclass(frozen=True)
class Pruned(Cell):
    """All contenders from one seed.

    Attributes:
        seed: the seed.
        epochs: passes over the training data of a family.
        examples: training examples; 0 for all.
    """

    seed: int
    epochs: int
    examples: int = 0

    @property
    def label(self) -> str:
        """Words for people."""
        return f"pruned {self.examples or 'all'} images {self.epochs} epochs seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, Any]:
        """Returns accuracy on test data at each fraction, in points, and processor time of each contender."""
        data = _mnist(self.examples)
        found = {name: _family(data, self.seed, self.epochs, how) for name, how in _OURS.items()}
        budget = found["centred"]["seconds"]
        return found | {GRID: _grid(data, self.seed, budget)}


def measure(*, quick: bool = False) -> Result:
    """Returns the accuracy of each contender at each fraction."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else _SEEDS)
    epochs, examples = (_QUICK_EPOCHS, 10_000) if quick else (_EPOCHS, 0)
    cells = [Pruned(seed, epochs, examples) for seed in seeds]
    make_all(cells, _STORE, workers=1, report=print)
    found = [_STORE.read(cell) for cell in cells]
    value, spread, rows = {}, {}, []
    for name in found[0]:
        row: dict[str, object] = {"network": name}
        for place, share in enumerate(SHARES):
            values = [one[name]["accuracy"][place] for one in found]
            label = f"{name}, {share:.0%} removed"
            value[label], spread[label] = statistics.fmean(values), (min(values), max(values))
            row[f"{share:.0%} removed"] = (
                f"{value[label]:.2f} ({min(values):.2f}…{max(values):.2f})"
            )
        row["s"] = round(statistics.fmean(one[name]["seconds"] for one in found), 1)
        rows.append(row)
    return Result(
        "sparse",
        value,
        "% test accuracy",
        "higher",
        seeds=list(seeds),
        quick=quick,
        baseline=f"{GRID}, the processor time of 'centred' in all",
        spread=spread,
        rows=rows,
    )


def _scaled(lams: Sequence[float], data: Problem) -> tuple[float, ...]:
    """Returns complexity values of all 54,000 images for as many as there are: the penalty is divided by N."""
    return tuple(lam * len(data.train) / 54_000 for lam in lams)


def _mnist(examples: int) -> Problem:
    task = nd.load_data("mnist", flat=True)
    first = torch.arange(examples or len(task.train))
    return Problem("classification", task.train.select(first), task.valid, task.test, 10)


def _net(seed: int) -> torch.nn.Module:
    return nd.build("mlp:50", input_shape=(784,), n_outputs=10, seed=seed)


def _family(data: Problem, seed: int, epochs: int, how: dict[str, Any]) -> dict[str, Any]:
    """Returns what a family is worth, and the time of training and choice."""
    started = time.process_time()
    family = nd.fit(
        _net(seed), data.train, objective="l1", regions=3, lam=_scaled(_RANGE, data), epochs=epochs,
        batch_size=_BATCH, lr=_RATE, seed=seed, kind="classification", **how,
    )  # fmt: skip
    lams = family.lams(11)
    valid = _accuracies(family, data.valid, lams)
    seconds = time.process_time() - started
    tested = _accuracies(family, data.test, lams)
    return {"accuracy": _chosen(valid, tested), "seconds": seconds}


def _accuracies(family: nd.Family, part: Any, lams: Sequence[float]) -> Tensor:
    """Returns accuracy in points ``[L, S]``."""
    found = surface(
        family, part, lams=lams, shares=SHARES, criterion="magnitude", fold=False, metrics=("accuracy",)
    )  # fmt: skip
    accuracy: Tensor = found.metrics["accuracy"]
    return 100 * accuracy


def _grid(data: Problem, seed: int, seconds: float) -> dict[str, Any]:
    """Returns what plain networks are worth; the penalty is λ ‖w‖₁ / N, as the family's."""
    lams = _scaled(_GRID, data)
    made = trained(
        data, _net(seed), seconds, norm="l1", lams=lams, lr=_RATE,
        seed=seed, batch_size=_BATCH, stops=False,
    )  # fmt: skip
    valid, tested = (
        torch.stack([_stack_accuracy(made.stack, part, share) for share in SHARES], dim=1)
        for part in (data.valid, data.test)
    )
    return {
        "accuracy": _chosen(valid, tested),
        "seconds": made.seconds,
        "steps": made.steps,
    }


def _stack_accuracy(stack: Stack, part: Any, share: float) -> Tensor:
    """Returns accuracy ``[K]`` in points without the share of the smallest weights of both matrices."""
    first, bias, second, shift = stack.weights
    flat = torch.cat([first.flatten(1), second.flatten(1)], dim=1).abs()
    gone = round(share * flat.shape[1])
    limit = flat.sort(dim=1).values[:, gone, None, None]
    pruned = Stack([first * (first.abs() >= limit), bias, second * (second.abs() >= limit), shift])
    x = part.inputs(torch.arange(len(part))).flatten(1)
    with torch.no_grad():
        right = torch.cat([pruned.outputs(piece).argmax(2) for piece in x.split(2000)], dim=1)
    accuracy: Tensor = (right == part.y).double().mean(1)
    return 100 * accuracy


def _chosen(valid: Tensor, tested: Tensor) -> list[float]:
    """Returns test accuracy at each fraction of the network that validation data prefer there."""
    found: list[float] = tested.gather(0, valid.argmax(dim=0, keepdim=True))[0].tolist()
    return found
