"""Is a family worth it where the network's own work dominates? Test loss of rivals at equal processor time, above ours.

LeNet-5 on 3,000 MNIST images, ResNet-20 on 1,000 CIFAR-10 images, and a transformer and an LSTM that read 2,000 MNIST images
row by row; batches of 64, for as many epochs as ``nd.fit`` takes by itself and for a fifth of them (ResNet-20, too slow for
that, for 15). All
contenders have one peak learning rate, which is the plain network's best of four on other images in that time
(``python -m benchmarks.worth.worth_deep`` prints how; ResNet-20 has 4e-3). Ours is ``nd.fit`` under ``l2`` (three regions,
1e-2 … 10), with the λ of the least validation loss among 13; evaluation is included in its time. Rivals have
that much processor time in all (one thread), the same start, order of examples and validation rows; all read the test images
once:

``grid of 3, 4, 8``     l2 penalties over the same range, one network after the other, each stopped at its best of 10 checks
``one network``         no penalty, stopped at its best check
``oracle``              one network at one λ with the whole time; the λ of three that is best on *test* data, which nobody knows

Log loss on test images. Results of a problem and seed are kept in ``runs/benchmarks/worth-deep``.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import netdial as nd
from benchmarks.common.result import Result
from benchmarks.families.family_cost_nets import Transformer
from benchmarks.worth._alone import log_loss, trained_alone
from netdial.core.best import MEAN
from netdial.core.errors import DataError
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.jobs.pool import make_all
from netdial.measure import evaluate
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.train.schedules import usual_epochs

_BATCH, _TEST, _SHORT = 64, 2000, 5
_RANGE = (1e-2, 10.0)
_GRIDS = (3, 4, 8)
_ORACLE = (0.1, 0.3, 1.0)
_SEEDS = 5
_STORE = Store(Path("runs/benchmarks/worth-deep"))


class Rows(nn.Module):
    """A transformer over the 28 rows of an image ``[B, 1, 28, 28]``."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        inner = Transformer(width)
        self.embed, self.place = nn.Linear(28, width), nn.Parameter(0.02 * torch.randn(28, width))
        self.encoder, self.head = inner.encoder, inner.head

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits ``[B, 10]``."""
        seen: Tensor = self.encoder(self.embed(x[:, 0]) + self.place).mean(dim=1)
        logits: Tensor = self.head(seen)
        return logits


class Reader(nn.Module):
    """An LSTM over the 28 rows of an image ``[B, 1, 28, 28]``."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(28, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits ``[B, 10]``."""
        logits: Tensor = self.head(self.lstm(x[:, 0])[0][:, -1])
        return logits


class Deep(NamedTuple):
    """A network and images.

    Attributes:
        make: makes the network.
        data: ``mnist`` or ``cifar10``.
        train, valid: images.
        epochs: of the family; None for as many as ``nd.fit`` takes by itself.
        lr: peak learning rate of all contenders.
    """

    make: Callable[[], nn.Module]
    data: str
    train: int
    valid: int
    lr: float
    epochs: int | None = None


PROBLEMS = {
    "LeNet-5": Deep(lambda: nd.build("lenet5", input_shape=(1, 28, 28), n_outputs=10), "mnist", 3000, 1000, 1e-2),
    "LSTM": Deep(Reader, "mnist", 2000, 500, 1e-2),
    "transformer": Deep(Rows, "mnist", 2000, 500, 1e-2),
    "ResNet-20": Deep(
        lambda: nd.build("resnet20", input_shape=(3, 32, 32), n_outputs=10), "cifar10", 1000, 500, 4e-3, 15
    ),
}  # fmt: skip


class Parts(NamedTuple):
    """Three parts of images, in memory."""

    train: Dataset
    valid: Dataset
    test: Dataset


def parts(problem: Deep, seed: int) -> Parts:
    """Returns the images of a problem; the seed draws training and validation images.

    Raises:
        DataError: the file is not there.
    """
    task = nd.load_data(problem.data)
    order = torch.randperm(len(task.train), generator=generator(seed, "worth-deep"))
    ends = (0, problem.train, problem.train + problem.valid)
    train, valid = (_in_memory(task.train, order[a:b]) for a, b in itertools.pairwise(ends))
    return Parts(train, valid, _in_memory(task.test, torch.arange(_TEST)))


def _in_memory(part: Dataset, rows: Tensor) -> Dataset:
    return Dataset(part.inputs(rows), part.y[rows])


class Trained(NamedTuple):
    """A plain network: least validation loss, the test loss there, and the processor time of all."""

    valid: float
    test: float
    seconds: float


@dataclass(frozen=True)
class Compared(Cell):
    """All contenders on one problem from one seed."""

    problem: str
    seed: int
    epochs: int
    oracle: str = repr(_ORACLE)

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.problem} {self.epochs} epochs seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, dict[str, float]]:
        """Returns loss on test images and processor time of each contender."""
        problem = PROBLEMS[self.problem]
        data = parts(problem, self.seed)
        torch.manual_seed(self.seed)
        net = problem.make()
        _family(problem, data, net, self.seed, 1)  # what is loaded at the first call is not counted
        found = {"ours": _family(problem, data, net, self.seed, self.epochs)}
        budget = found["ours"]["seconds"]
        for count in _GRIDS:
            lams = [_RANGE[0] * (_RANGE[1] / _RANGE[0]) ** (i / (count - 1)) for i in range(count)]
            made = [plain(problem, data, net, budget / count, lam, self.seed) for lam in lams]
            best = min(made, key=lambda one: one.valid)
            seconds = sum(one.seconds for one in made)
            found[f"grid of {count}"] = {"loss": best.test, "seconds": seconds}
        one = plain(problem, data, net, budget, 0.0, self.seed)
        found["one network"] = {"loss": one.test, "seconds": one.seconds}
        known = [plain(problem, data, net, budget, lam, self.seed) for lam in _ORACLE]
        least = min(known, key=lambda one: one.test)
        found["oracle"] = {"loss": least.test, "seconds": least.seconds}
        return found


def measure(*, quick: bool = False) -> Result:
    """Returns the excess of the rivals' test loss over ours, in per cent, by network."""
    torch.set_num_threads(1)
    names = [name for name, problem in PROBLEMS.items() if _is_there(problem)]
    names = names[:1] if quick else names
    cells = {
        f"{name}{words}": [
            Compared(name, seed, 2 if quick else epochs) for seed in range(1 if quick else _SEEDS)
        ]
        for name in names
        for words, epochs in _lengths(PROBLEMS[name], quick)
    }
    by_seed = [cell for ones in itertools.zip_longest(*cells.values()) for cell in ones if cell]
    make_all(by_seed, _STORE, workers=1, report=print)
    found = {name: [_STORE.read(cell) for cell in ones] for name, ones in cells.items()}
    value, spread = {}, {}
    for name, ones in found.items():
        for who in [who for who in ones[0] if who != "ours"]:
            each = [100 * (one[who]["loss"] / one["ours"]["loss"] - 1) for one in ones]
            value[f"{name}, {who}"] = _excess(ones, who)[0]
            spread[f"{name}, {who}"] = (min(each), max(each))
    return Result(
        "worth-deep",
        value,
        "% above our test loss; of the oracle below ours if negative",
        "higher",
        seeds=list(range(1 if quick else _SEEDS)),
        quick=quick,
        baseline="a family under l2, see above; rivals have its processor time in all",
        spread=spread,
        rows=[row for name, ones in found.items() for row in _rows(name, ones)],
    )


def plain(
    problem: Deep, data: Parts, net: nn.Module, seconds: float, lam: float, seed: int
) -> Trained:
    """Returns what a plain network under the penalty λ ‖w‖² / N is worth at its best check, trained in a processor time."""
    made = trained_alone(
        net, data.train, data.valid, seconds,
        norm="l2", lam=lam, lr=problem.lr, seed=seed, batch_size=_BATCH,
    )  # fmt: skip
    return Trained(made.valid, log_loss(made.net, data.test), made.seconds)


def _family(problem: Deep, data: Parts, net: nn.Module, seed: int, epochs: int) -> dict[str, float]:
    """Returns the test loss of the member that validation chooses, and the processor time of training and choice."""
    began = time.process_time()
    family = nd.fit(
        net, data.train, objective="l2", epochs=epochs, batch_size=_BATCH, lr=problem.lr, seed=seed,
    )  # fmt: skip
    known = evaluate(family, data.valid, lams=13, n_samples=0)
    member, _ = known.choose("best", [MEAN])
    seconds = time.process_time() - began
    loss = log_loss(family.export(member.lam), data.test)
    return {"loss": loss, "seconds": seconds, "lam": member.lam}


def _lengths(problem: Deep, quick: bool) -> list[tuple[str, int]]:
    """Returns what is said of each length of training behind a problem's name, and the epochs."""
    if problem.epochs:
        return [("", problem.epochs)]
    usual = usual_epochs(math.ceil(problem.train / _BATCH))
    return [("", usual)] if quick else [(", a fifth", usual // _SHORT), ("", usual)]


def _is_there(problem: Deep) -> bool:
    try:
        parts(problem, 0)
    except DataError:
        return False
    return True


def _excess(ones: list[dict[str, dict[str, float]]], who: str) -> tuple[float, float]:
    """Returns the excess of a contender's mean loss over ours in per cent, and the standard error of the pairs."""
    ours = [one["ours"]["loss"] for one in ones]
    gaps = [one[who]["loss"] - own for one, own in zip(ones, ours, strict=True)]
    mean = statistics.fmean(ours)
    error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
    return 100 * statistics.fmean(gaps) / mean, 100 * error / mean


def _rows(name: str, ones: list[dict[str, dict[str, float]]]) -> list[dict[str, object]]:
    """Returns losses and excesses, and processor times, ours being 1."""
    lams = [one["ours"]["lam"] for one in ones]
    first: dict[str, object] = {
        "network": f"{name}, {len(ones)} seeds",
        "ours": round(statistics.fmean(one["ours"]["loss"] for one in ones), 4),
        "λ": f"{min(lams):.2g}…{max(lams):.2g}",
    }
    times: dict[str, object] = {
        "network": "processor time, ours = 1",
        "ours": f"{statistics.fmean(one['ours']['seconds'] for one in ones):.1f} s",
        "λ": "",
    }
    for who in [who for who in ones[0] if who != "ours"]:
        mean, error = _excess(ones, who)
        first[who] = f"{mean:+.1f}" + ("" if math.isnan(error) else f" ± {error:.1f}")
        times[who] = f"{statistics.median(_ratio(one, who) for one in ones):.2f}"
    return [first, times]


def _ratio(one: Mapping[str, Mapping[str, Any]], who: str) -> float:
    return float(one[who]["seconds"] / one["ours"]["seconds"])


_FULL = {"LeNet-5": 60.0, "LSTM": 60.0, "transformer": 130.0}
"""Seconds that families take, roughly, in which rates are compared."""


def rates(seed: int = 100) -> None:
    """Prints the validation loss of the plain network at λ = 0.3 for four learning rates."""
    torch.set_num_threads(1)
    for name, seconds in _FULL.items():
        torch.manual_seed(seed)
        problem = PROBLEMS[name]
        data, net = parts(problem, seed), problem.make()
        for lr in (1e-3, 2e-3, 4e-3, 1e-2):
            found = plain(problem._replace(lr=lr), data, net, seconds, 0.3, seed).valid
            print(f"{name}, rate {lr:g}: {found:.4f}", flush=True)


if __name__ == "__main__":
    rates()
