"""A trained network adapted to few examples of something else: a prior centred on its weights against fine-tuning, equal time.

A perceptron of 50 hidden units is trained on 5,000 digits of MNIST. The new task is digits turned by 60 degrees: 50 or 200 with
labels for training, 200 for validation, 5,000 for the test; what was known is tested on 5,000 digits that stand upright.

``anchored``              an l2 family with ``anchor="start"``, λ by validation loss
``anchored, old inputs``  the same with ``old_inputs``: 2,000 upright digits without labels
``from zero``             an l2 family from the same start, its penalty counted from zero
``fine-tuning``           the network trained on, early stopping, the best of three rates, a third of the time each
``l2 grid, anchored``     8 networks in one loop, penalties (w - w₀)² (Li, Grandvalet, Davoine 2018, "L2-SP"), early stopping
``l2 grid from zero``     the same with penalties w²

Rivals have the processor time of ``anchored``. All choices are made on validation examples; log loss on test data is read
once. Families and the grid can be asked for less forgetting: ``old, at equal new loss`` is the test loss on upright digits of
the member that forgets least, by 2,000 upright validation digits, among those whose validation loss on turned ones is at most
2 % above that of fine-tuning, or, if none is, of the best.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netdial as nd
from benchmarks.common.problems import Problem
from benchmarks.common.result import Result
from benchmarks.worth._rivals import Stack, trained
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.jobs.pool import make_all
from netdial.measure.members import Members
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store

_STORE = Store(Path("runs/benchmarks/adaptation"))
_SEEDS, _STEPS, _QUICK_STEPS, _POINTS = 5, 1500, 100, 25
_ROWS = (50, 200)
_RANGE = (1e-3, 1e2)
_LAMS = [_RANGE[0] * (_RANGE[1] / _RANGE[0]) ** (i / (_POINTS - 1)) for i in range(_POINTS)]
_GRID = [_RANGE[0] * (_RANGE[1] / _RANGE[0]) ** (i / 7) for i in range(8)]
_NEAR = 1.02


@dataclass(frozen=True)
class Adapted(Cell):
    """All contenders on some rows from one seed."""

    rows: int
    seed: int
    steps: int
    grids: str = "anchored, from zero"

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.rows} labels seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, dict[str, float]]:
        """Returns losses of each contender."""
        old, new = _tasks(self.rows, self.seed)
        start = _started(old, self.seed, self.steps)
        how: dict[str, Any] = {
            "objective": "l2", "lam": _RANGE, "batch_size": 32, "lr": 2e-3, "seed": self.seed,
            "epochs": max(1, round(self.steps / math.ceil(self.rows / 32))),
        }  # fmt: skip
        known = old.train.inputs(torch.arange(2000)).flatten(1)
        options: dict[str, dict[str, Any]] = {
            "anchored": {"anchor": "start"},
            "anchored, old inputs": {"anchor": "start", "old_inputs": known},
            "from zero": {},
        }
        nd.fit(start, new.train, **{**how, **options["anchored, old inputs"], "epochs": 1})
        found, spent = {}, 0.0
        for name, more in options.items():
            family, seconds = _timed(start, new, {**how, **more})
            spent = spent or seconds
            found[name] = _outputs(family, old, new)
        tuned = [
            trained(new, start, spent / 3, norm="l2", lams=[0.0], lr=lr, seed=self.seed).stack
            for lr in (5e-4, 2e-3, 8e-3)
        ]
        found["fine-tuning"] = {
            part: torch.cat(outs) for part, outs in _stacked(tuned, old, new).items()
        }
        for name, centred in (("l2 grid, anchored", True), ("l2 grid from zero", False)):
            grid = trained(
                new, start, spent, norm="l2", lams=_GRID, lr=2e-3, seed=self.seed, centred=centred
            )
            found[name] = {
                part: torch.cat(outs) for part, outs in _stacked([grid.stack], old, new).items()
            }
        limit = _NEAR * float(_nll(found["fine-tuning"]["valid"], new.valid).min())
        judged = {name: _judged(outs, old, new, limit) for name, outs in found.items()}
        untouched = start(new.test.inputs(torch.arange(len(new.test))).flatten(1))[None].detach()
        before = start(old.test.inputs(torch.arange(len(old.test))).flatten(1))[None].detach()
        judged["as it was"] = {
            "new": float(_nll(untouched, new.test)[0]),
            "old": float(_nll(before, old.test)[0]),
            "old, at equal new loss": math.nan,
        }
        return judged


def measure(*, quick: bool = False) -> Result:
    """Returns log losses of rivals over those of the anchored family, mean over numbers of rows."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else _SEEDS)
    steps = _QUICK_STEPS if quick else _STEPS
    cells = [Adapted(rows, seed, steps) for seed in seeds for rows in _ROWS]
    make_all(cells, _STORE, workers=1, report=print)
    found = {cell: _STORE.read(cell) for cell in cells}
    names = list(next(iter(found.values())))
    rows = [
        {
            "labels": count,
            "": name,
            **{
                what: _said([one[name][what] for cell, one in found.items() if cell.rows == count])
                for what in ("new", "old", "old, at equal new loss")
            },
        }
        for count in _ROWS
        for name in names
    ]
    over = {
        name: [one[name]["new"] / one["anchored"]["new"] for one in found.values()]
        for name in names
        if name != "anchored"
    }
    return Result(
        "adaptation",
        {name: statistics.fmean(values) for name, values in over.items()},
        "of the anchored family's new test loss",
        "higher",
        seeds=list(seeds),
        quick=quick,
        baseline="1: the anchored family",
        spread={name: (min(values), max(values)) for name, values in over.items()},
        rows=rows,
    )


def _tasks(rows: int, seed: int) -> tuple[Problem, Problem]:
    """Returns upright digits and turned ones, no image in both."""
    data = nd.load_data("mnist")
    order = torch.randperm(len(data.train), generator=generator(seed, "adaptation"))
    upright, turned = order[:5000], order[5000 : 5000 + rows]
    rest = order[6000:6200]
    half = torch.arange(5000)
    tests = data.test.select(half), data.test.select(half + 5000)
    seen = _flat(data.train.select(upright)), _flat(data.valid.select(torch.arange(2000)))
    old = Problem("classification", *seen, _flat(tests[0]), 10)
    new = [_turned(data.train.select(turned)), _turned(data.train.select(rest)), _turned(tests[1])]
    return old, Problem("classification", new[0], new[1], new[2], 10)


def _flat(part: Dataset) -> Dataset:
    return Dataset(part.inputs(torch.arange(len(part))).flatten(1), part.y)


def _turned(part: Dataset, degrees: float = 60.0) -> Dataset:
    """Returns images turned about their middle, flat."""
    x = part.inputs(torch.arange(len(part))).view(-1, 1, 28, 28)
    turn = math.radians(degrees)
    matrix = torch.tensor(
        [[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0]]
    )
    places = F.affine_grid(matrix.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    low = float(x.min())
    return Dataset((F.grid_sample(x - low, places, align_corners=False) + low).flatten(1), part.y)


def _started(old: Problem, seed: int, steps: int) -> nn.Module:
    net = nd.build("mlp:50", input_shape=(784,), n_outputs=10, seed=seed)
    epochs = max(1, round(2 * steps / math.ceil(len(old.train) / 32)))
    (family,) = nd.fit_direct(
        net, old.train, lams=[1.0], objective="l2", epochs=epochs, batch_size=32, lr=2e-3, seed=seed
    )
    return family.export(1.0)


def _timed(start: nn.Module, new: Problem, how: dict[str, Any]) -> tuple[nd.Family, float]:
    began = time.process_time()
    family = nd.fit(start, new.train, **how)
    nd.evaluate(family, new.valid, lams=_LAMS)
    return family, time.process_time() - began


def _outputs(family: nd.Family, old: Problem, new: Problem) -> dict[str, Tensor]:
    weights = family.fields_at(_LAMS).mean.detach()
    runner = Members(family.eval())
    with torch.no_grad():
        return {
            name: torch.stack([runner.alone(part.x, w, lam) for w, lam in zip(weights, _LAMS, strict=True)])
            for name, part in _parts(old, new).items()
        }  # fmt: skip


def _stacked(stacks: list[Stack], old: Problem, new: Problem) -> dict[str, list[Tensor]]:
    with torch.no_grad():
        return {
            name: [stack.outputs(part.x) for stack in stacks]
            for name, part in _parts(old, new).items()
        }


def _parts(old: Problem, new: Problem) -> dict[str, Dataset]:
    return {"valid": new.valid, "new": new.test, "kept": old.valid, "old": old.test}


def _nll(outputs: Tensor, part: Dataset) -> Tensor:
    return torch.stack([F.cross_entropy(out, part.y) for out in outputs])


def _judged(outs: dict[str, Tensor], old: Problem, new: Problem, limit: float) -> dict[str, float]:
    """Returns the losses of the member of least validation loss, and how little can be forgotten within a limit of it."""
    parts = _parts(old, new)
    losses = {name: _nll(outs[name], parts[name]) for name in parts}
    best = int(losses["valid"].argmin())
    near = (losses["valid"] <= max(limit, float(losses["valid"][best]))).nonzero()[:, 0]
    least = int(near[losses["kept"][near].argmin()])
    return {
        "new": float(losses["new"][best]),
        "old": float(losses["old"][best]),
        "old, at equal new loss": float(losses["old"][least]),
    }


def _said(values: list[float]) -> str:
    if any(math.isnan(value) for value in values):
        return ""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {spread:.3f}"
