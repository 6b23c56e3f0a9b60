"""Is the default prediction calibrated? Log loss and calibration error beside temperature scaling and a deep ensemble.

The classification problems of ``worth``, networks of 50 hidden units, about 1,000 steps of the family. Ours is ``nd.fit`` and
the member of the least validation loss; ``ours, scaled`` divides its logits by the temperature of least validation loss.
Rivals, each in the processor time of ours and at its usual learning rate:

``one network``         early stopping, no penalty
``one network, scaled`` the same, its logits divided by the temperature of least validation loss (Guo et al. 2017)
``l2 grid, scaled``     the best of eight penalties by validation loss, then the temperature
``deep ensemble``       five networks from five starts, trained side by side, each stopped at its best; probabilities averaged
                        (Lakshminarayanan et al. 2017)

Temperatures are from 1/2 to 5: with wider bounds a network that makes no error on few validation rows takes the least of them,
and its test loss is several times as large (seen on test data, and in favour of the rivals). ECE has 15 bins of equal width
(netdial's metric ``ece``). Everything is chosen on validation rows.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import netdial as nd
from benchmarks.common.problems import Problem, is_there, problem, start
from benchmarks.common.result import Result
from benchmarks.worth._rivals import trained
from netdial.core.best import MEAN
from netdial.jobs.pool import make_all
from netdial.measure import evaluate
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.task import named
from netdial.train.schedules import usual_rate

_STEPS, _QUICK_STEPS, _SEEDS, _MEMBERS = 1000, 150, 5, 5
_STORE = Store(Path("runs/benchmarks/calibration"))
_L2 = [10 ** (-3 + 5 * i / 7) for i in range(8)]
_PROBLEMS = (
    "covertype, 500 rows",
    "covertype, 5,000 rows",
    "gas drift, 300 rows",
    "wide",
    "noisy labels",
    "imbalanced",
    "mnist, 200 images",
)


@dataclass(frozen=True)
class Calibrated(Cell):
    """All contenders on one problem from one seed."""

    problem: str
    seed: int
    steps: int

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.problem} {self.steps} steps seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, dict[str, float]]:
        """Returns log loss, calibration error and processor time of each contender on test data."""
        data = problem(self.problem, self.seed)
        _ours(data, self.seed, 20)  # nothing that is loaded at the first call is counted
        found, budget = _ours(data, self.seed, self.steps)
        net = start(data, self.seed)
        starts = [start(data, 1000 + _MEMBERS * self.seed + i) for i in range(_MEMBERS)]
        rate = usual_rate(len(data.train), data.n_columns)
        common: dict[str, Any] = {"norm": "l2", "lr": rate, "seed": self.seed}
        one = trained(data, net, budget, lams=[0.0], **common)
        grid = trained(data, net, budget, lams=_L2, **common)
        several = trained(data, net, budget, lams=[0.0] * _MEMBERS, starts=starts, **common)
        best = int(grid.valid.argmin())
        held, test = (_inputs(part) for part in (data.valid, data.test))
        with torch.no_grad():
            plain = [one.stack.outputs(x)[0] for x in (held, test)]
            penal = [grid.stack.outputs(x)[best] for x in (held, test)]
            logs = several.stack.outputs(test).log_softmax(-1)
            mean = logs.logsumexp(0) - math.log(_MEMBERS)
        return found | {
            "one network": _scored(data, plain[1], one.seconds),
            "one network, scaled": _scored(data, _scaled(data, *plain), one.seconds),
            "l2 grid, scaled": _scored(data, _scaled(data, *penal), grid.seconds),
            "deep ensemble": _scored(data, mean, several.seconds),
        }


def measure(*, quick: bool = False) -> Result:
    """Returns how much greater the rivals' log loss is than ours, in per cent, mean over problems."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else _SEEDS)
    names = [name for name in _PROBLEMS if is_there(name)]
    names = names[3:5] if quick else names
    steps = _QUICK_STEPS if quick else _STEPS
    cells = {name: [Calibrated(name, seed, steps) for seed in seeds] for name in names}
    every = [cell for ones in zip(*cells.values(), strict=True) for cell in ones]
    make_all(every, _STORE, workers=1, report=print)
    found = {name: [_STORE.read(cell) for cell in ones] for name, ones in cells.items()}
    who = list(next(iter(found.values()))[0])
    excess = {
        rival: [
            100 * (_mean(ones, rival, "nll") / _mean(ones, "ours", "nll") - 1)
            for ones in found.values()
        ]
        for rival in who[1:]
    }
    rows = [
        {
            "problem": name,
            **{
                one: f"{_mean(ones, one, 'nll'):.4f} · {100 * _mean(ones, one, 'ece'):.1f}"
                for one in who
            },
        }
        for name, ones in found.items()
    ]
    ece = {one: statistics.fmean(_mean(ones, one, "ece") for ones in found.values()) for one in who}
    last = {one: f"{100 * ece[one]:.1f} · {_time(found, one):.2f}" for one in who}
    rows.append({"problem": "mean ECE, points; time, ours = 1", **last})
    return Result(
        "calibration",
        {rival: statistics.fmean(values) for rival, values in excess.items()},
        "% above our test log loss, mean over problems",
        "higher",
        seeds=list(seeds),
        quick=quick,
        baseline="nd.fit and the member of least validation loss; rows: log loss · ECE in points",
        spread={rival: (min(values), max(values)) for rival, values in excess.items()},
        rows=rows,
    )


def _inputs(part: nd.Dataset) -> Tensor:
    return part.inputs(torch.arange(len(part))).flatten(1)


def _ours(data: Problem, seed: int, steps: int) -> tuple[dict[str, dict[str, float]], float]:
    """Returns scores of the family's member, plain and scaled, and the processor time of training and choice."""
    started = time.process_time()
    epochs = max(1, round(steps / math.ceil(len(data.train) / 32)))
    family = nd.fit(
        start(data, seed),
        data.train,
        kind=data.kind,
        epochs=epochs,
        batch_size=32,
        seed=seed,
    )
    path = evaluate(family, data.valid, lams=21, n_samples=0, metric="nll")
    member, _ = path.choose("best", [MEAN])
    seconds = time.process_time() - started
    with torch.no_grad():
        held, test = (family(_inputs(part), lam=member.lam) for part in (data.valid, data.test))
    scaled = _scored(data, _scaled(data, held, test), seconds)
    return {"ours": _scored(data, test, seconds), "ours, scaled": scaled}, seconds


def _scaled(data: Problem, held: Tensor, test: Tensor) -> Tensor:
    """Returns test logits over the temperature, from 1/2 to 5, of least validation loss."""
    grid = torch.logspace(math.log10(0.5), math.log10(5), 201)
    losses = [float(torch.nn.functional.cross_entropy(held / t, data.valid.y)) for t in grid]
    return test / grid[int(torch.tensor(losses).argmin())]


def _scored(data: Problem, logits: Tensor, seconds: float) -> dict[str, float]:
    found = named("classification").metrics(logits, data.test.y, ["nll", "ece"])
    return {**found, "seconds": seconds}


def _mean(ones: list[dict[str, dict[str, float]]], who: str, what: str) -> float:
    return statistics.fmean(one[who][what] for one in ones)


def _time(found: dict[str, list[dict[str, dict[str, float]]]], who: str) -> float:
    every = [one for ones in found.values() for one in ones]
    return statistics.median(one[who]["seconds"] / one["ours"]["seconds"] for one in every)
