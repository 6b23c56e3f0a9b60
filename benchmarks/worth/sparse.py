"""Test accuracy of MNIST networks with most weights removed, without retraining, at equal processor time.

784-50-10 on all images, and LeNet-5 on 10,000; one threshold of magnitude over all weight matrices, biases kept, nothing
folded. Ours are families with three regions, under ``log-sum`` and ``l1``, by compiled steps where the network is a
perceptron; for each fraction that is removed the λ of the best validation accuracy among 11 is taken, evaluation included in
the time. The rival is the textbook's: plain networks with an L1 penalty, four weights of it, with the same batches, schedule
and rate, in the same processor time in all, and the best of them on validation data at each fraction; those of 784-50-10 in
one batched loop, LeNet-5 one after the other. Beside it stands the same grid under the penalty of ``log-sum``. Every contender
stands there twice: pruned, and with the weights that are left refit by ``pruning/weights/refit.py``, whose time comes on top.
Results of a seed are kept in ``runs/benchmarks/sparse``.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import netdial as nd
from benchmarks.common.problems import Problem
from benchmarks.common.result import Result
from benchmarks.worth._alone import trained_alone
from benchmarks.worth._rivals import Stack, trained
from netdial.core.outputs import evaluating
from netdial.jobs.pool import make_all
from netdial.pruning.weights.refit import Refit
from netdial.pruning.weights.surfaces import surface
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store

SHARES = (0.0, 0.9, 0.95, 0.98)
_QUICK_EPOCHS, _QUICK_EXAMPLES, _SEEDS = 4, 10_000, 5
_ALL = 54_000
_STORE = Store(Path("runs/benchmarks/sparse"))
FAMILY = "family, "
GRIDS = {"plain L1 grid": "l1", "plain log-sum grid": "log-sum"}
REFIT = ", refit"


class Case(NamedTuple):
    """A network and how all contenders train it.

    Attributes:
        model: its name.
        shape: of an input.
        examples: training images.
        valid: validation images; 0 for all.
        epochs: passes of a family over them.
        batch_size, lr: batches and peak rate.
        spans: objectives of our families, each with its range of λ, for all 54,000 images; rivals have the time of the first.
        grid: weights of the rivals' penalty, likewise.
        map: of our families.
        compiled: whether their steps are compiled.
    """

    model: str
    shape: tuple[int, ...]
    examples: int
    valid: int
    epochs: int
    batch_size: int
    lr: float
    spans: dict[str, tuple[float, float]]
    grid: tuple[float, ...]
    map: str
    compiled: bool


CASES = {
    "784-50-10": Case(
        "mlp:50", (784,), _ALL, 0, 80, 512, 8e-3, {"log-sum": (4.0, 130.0), "l1": (1.6, 65.0)}, (5.4, 12.5, 28.0, 65.0),
        map="centred", compiled=True,
    ),
    "LeNet-5": Case(
        "lenet5", (1, 28, 28), 10_000, 1000, 26, 64, 1e-2, {"log-sum": (1.6, 130.0), "l1": (0.4, 130.0)},
        (1.6, 5.4, 16.0, 50.0), map="piecewise", compiled=False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Pruned(Cell):
    """All contenders from one seed.

    Attributes:
        network: a name in ``CASES``.
        seed: the seed.
        epochs: passes over the training data of a family.
        examples: training examples.
    """

    network: str
    seed: int
    epochs: int
    examples: int

    @property
    def label(self) -> str:
        """Words for people."""
        return (
            f"{self.network} pruned, {self.examples} images {self.epochs} epochs seed {self.seed}"
        )

    def make(self, run: Run, store: Store) -> dict[str, Any]:
        """Returns accuracy on test data at each fraction, in points, and processor time of each contender."""
        case = CASES[self.network]._replace(epochs=self.epochs, examples=self.examples)
        data = _mnist(case)
        # what is loaded at the first call is not counted
        _family(case._replace(epochs=1), data, self.seed, "l1")
        found: dict[str, Any] = {}
        for objective in case.spans:
            name = FAMILY + objective
            plain, refit = _family(case, data, self.seed, objective)
            found |= {name: plain, name + REFIT: refit}
        budget = next(iter(found.values()))["seconds"]
        grid = _stacked if case.model.startswith("mlp") else _one_by_one
        for name, norm in GRIDS.items():
            plain, refit = grid(case, data, self.seed, budget, norm)
            found |= {name: plain, name + REFIT: refit}
        return found


def measure(*, quick: bool = False) -> Result:
    """Returns the accuracy of each contender at each fraction."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else _SEEDS)
    value, spread, rows = {}, {}, []
    for network, case in CASES.items():
        epochs, examples = (
            (_QUICK_EPOCHS, _QUICK_EXAMPLES) if quick else (case.epochs, case.examples)
        )
        cells = [Pruned(network, seed, epochs, examples) for seed in seeds]
        make_all(cells, _STORE, workers=1, report=print)
        found = [_STORE.read(cell) for cell in cells]
        for name in found[0]:
            row: dict[str, object] = {"network": f"{network}, {name}"}
            for place, share in enumerate(SHARES):
                values = [one[name]["accuracy"][place] for one in found]
                label = f"{network}, {name}, {share:.0%} removed"
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
        baseline="plain grids, which have the processor time of the first family in all",
        spread=spread,
        rows=rows,
    )


def _scaled(lams: Sequence[float], data: Problem) -> tuple[float, ...]:
    """Returns complexity values of all 54,000 images for as many as there are: the penalty is divided by N."""
    return tuple(lam * len(data.train) / _ALL for lam in lams)


def _mnist(case: Case) -> Problem:
    task = nd.load_data("mnist", flat=len(case.shape) == 1)
    train, valid = (
        part.select(torch.arange(min(count, len(part)) or len(part)))
        for part, count in ((task.train, case.examples), (task.valid, case.valid))
    )
    return Problem("classification", train, valid, task.test, 10)


def _net(case: Case, seed: int) -> nn.Module:
    return nd.build(case.model, input_shape=case.shape, n_outputs=10, seed=seed)


def _family(
    case: Case, data: Problem, seed: int, objective: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what a family is worth, pruned and refit, and the time of training and choice."""
    started = time.process_time()
    family = nd.fit(
        _net(case, seed), data.train, objective=objective, map=case.map, regions=3,
        lam=_scaled(case.spans[objective], data), epochs=case.epochs, batch_size=case.batch_size, lr=case.lr, seed=seed,
        kind="classification", compiled=case.compiled,
    )  # fmt: skip
    lams, found, spent = family.lams(11), [], time.process_time() - started
    for train in (None, data.train):
        started = time.process_time()
        valid = _accuracies(family, data.valid, lams, train)
        seconds = spent + time.process_time() - started
        tested = _accuracies(family, data.test, lams, train)
        found.append({"accuracy": _chosen(valid, tested), "seconds": seconds})
    return found[0], found[1]


def _accuracies(family: nd.Family, part: Any, lams: Sequence[float], train: Any) -> Tensor:
    """Returns accuracy in points ``[L, S]``; with training data, of members that are refit."""
    found = surface(
        family, part, lams=lams, shares=SHARES, criterion="magnitude", fold=False, metrics=("accuracy",), train=train,
        refit=train is not None,
    )  # fmt: skip
    accuracy: Tensor = found.metrics["accuracy"]
    return 100 * accuracy


def _stacked(
    case: Case, data: Problem, seed: int, seconds: float, norm: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what plain perceptrons are worth, pruned and refit; the penalty is a family's, λ times and divided by N."""
    lams = _scaled(case.grid, data)
    made = trained(
        data, _net(case, seed), seconds, norm=norm, lams=lams, lr=case.lr,
        seed=seed, batch_size=case.batch_size, stops=False,
    )  # fmt: skip
    return _pruned([_alone(case, made.stack, k) for k in range(len(lams))], data, made.seconds)


def _alone(case: Case, stack: Stack, k: int) -> nn.Module:
    """Returns one of the networks of a stack."""
    net = _net(case, 0)
    with torch.no_grad():
        for leaf, weights in zip(net.parameters(), stack.weights, strict=True):
            leaf.copy_(weights[k].view_as(leaf))
    return net


def _one_by_one(
    case: Case, data: Problem, seed: int, seconds: float, norm: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what plain networks of any kind are worth, trained one after the other, pruned and refit."""
    made = [
        trained_alone(
            _net(case, seed), data.train, data.valid, seconds / len(case.grid),
            norm=norm, lam=lam, lr=case.lr, seed=seed, batch_size=case.batch_size, stops=False,
        )
        for lam in _scaled(case.grid, data)
    ]  # fmt: skip
    return _pruned([one.net for one in made], data, sum(one.seconds for one in made))


def _pruned(
    nets: Sequence[nn.Module], data: Problem, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what networks are worth without the share of the smallest weights of all matrices and kernels, and refit."""
    found = []
    for refit in (None, Refit(data.train)):
        started = time.process_time()
        cells = [[_without(net, share, refit) for share in SHARES] for net in nets]
        spent = time.process_time() - started if refit is not None else 0.0
        valid, tested = (
            torch.tensor([[_accuracy(net, part) for net in row] for row in cells])
            for part in (data.valid, data.test)
        )
        found.append({"accuracy": _chosen(valid, tested), "seconds": seconds + spent})
    return found[0], found[1]


def _without(net: nn.Module, share: float, refit: Refit | None) -> nn.Module:
    """Returns a copy without a share of the weights of all matrices and kernels."""
    small = copy.deepcopy(net)
    weights = {n: p for n, p in small.named_parameters() if p.ndim > 1}
    sizes = torch.cat([p.detach().abs().flatten() for p in weights.values()]).sort().values
    limit = sizes[round(share * len(sizes))]
    kept = {n: torch.ones_like(p, dtype=torch.bool) for n, p in small.named_parameters()}
    with torch.no_grad():
        for name, p in weights.items():
            kept[name] = p.abs() >= limit
            p.mul_(kept[name])
    if refit is not None and share:
        refit(net, small, kept)
    return small


def _accuracy(net: nn.Module, part: Any) -> float:
    """Returns accuracy in points."""
    x = part.inputs(torch.arange(len(part)))
    with evaluating(net):
        right = torch.cat([net(piece).argmax(1) for piece in x.split(500)]) == part.y
    return 100 * float(right.double().mean())


def _chosen(valid: Tensor, tested: Tensor) -> list[float]:
    """Returns test accuracy at each fraction of the network that validation data prefer there."""
    found: list[float] = tested.gather(0, valid.argmax(dim=0, keepdim=True))[0].tolist()
    return found
