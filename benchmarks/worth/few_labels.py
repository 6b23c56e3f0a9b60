"""Few labels and no validation set: λ by evidence or by folds in one run, against a grid by cross-validation at equal time.

50 to 500 rows, all of them for training; networks of 50 hidden units, batches of 32. Ours trains one family on all rows and
reads λ from an estimate of the evidence on the same rows:

``ard, ard-elbo``            what ``nd.choose`` takes by default for that objective
``ard, psis-loo``
``l2, laplace-kronecker``
``scaled-kl, eb-elbo``

or it trains six families in one run, with the compiled step, five of them each without a fifth of the rows
(``nd.cross_validate``): ``l1, folds`` and ``l2, folds`` are the member of the family on all rows whose λ is best on held-out
rows; ``l1, folds, average`` and ``l2, folds, average`` the average of all six families' members at that λ.

The rivals have the processor time of the first, for 5-fold cross-validation of 8 values of λ (all networks of a fold in one
batched loop) and a last training on all rows with the λ of least mean loss over the folds: ``l2 grid`` and ``l1 grid``. For
information: ``l1, oracle``, the member of least test loss of an l1 family, which nobody can choose. Loss: log loss, or RMSE of
standardised targets, on rows that are read once.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import netdial as nd
from benchmarks.common.problems import Problem, is_there, problem, start
from benchmarks.common.result import Result
from benchmarks.worth._rivals import losses, trained
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.jobs.pool import make_all
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store

_STEPS, _QUICK_STEPS, _SEEDS, _FOLDS, _POINTS = 1000, 120, 5, 5, 21
_LAMS = [10 ** (-2 + 3 * i / (_POINTS - 1)) for i in range(_POINTS)]
_STORE = Store(Path("runs/benchmarks/few-labels"))
_ROWS: dict[str, tuple[int, ...]] = {
    "mnist, 200 images": (50, 200),
    "covertype, 500 rows": (100, 500),
    "gas drift, 300 rows": (50, 200),
    "noisy labels": (100, 400),
    "imbalanced": (400,),
    "friedman1, noise 1": (50, 200),
    "friedman1, noise 0.1": (200,),
    "diabetes": (100,),
}
"""Problem -> how many rows there are labels for."""

_GRIDS = {
    "l2 grid": ("l2", [10 ** (-3 + 5 * i / 7) for i in range(8)]),
    "l1 grid": ("l1", [0.03 * (100 / 0.03) ** (i / 7) for i in range(8)]),
}
OURS = {
    "ard, ard-elbo": ("ard", "ard-elbo"),
    "ard, psis-loo": ("ard", "psis-loo"),
    "l2, laplace-kronecker": ("l2", "laplace-kronecker"),
    "scaled-kl, eb-elbo": ("scaled-kl", "eb-elbo"),
}

BY_FOLDS = ("l1", "l2")


@dataclass(frozen=True)
class FewLabels(Cell):
    """All contenders on some rows of one problem from one seed."""

    problem: str
    rows: int
    seed: int
    steps: int
    compared: str = repr((OURS, BY_FOLDS, _GRIDS))

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.problem} {self.rows} labels seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, dict[str, float]]:
        """Returns test loss and processor time of each contender."""
        data = _few(problem(self.problem, self.seed), self.rows)
        how: dict[str, Any] = {
            "epochs": max(1, round(self.steps / math.ceil(self.rows / 32))),
            "batch_size": 32,
            "lr": 4e-3,
            "seed": self.seed,
        }
        net = start(data, self.seed)
        for objective, by in OURS.values():  # what is loaded at the first call is not counted
            _by_evidence(data, net, objective, by, {**how, "epochs": 1})
        found = {name: _by_evidence(data, net, *which, how) for name, which in OURS.items()}
        seconds = found["ard, ard-elbo"]["seconds"]
        for name, (norm, lams) in _GRIDS.items():
            found[name] = _by_folds(data, net, seconds, norm, lams, self.seed)
        for objective in BY_FOLDS:
            _across_folds(data, net, objective, {**how, "epochs": 1})
            found |= _across_folds(data, net, objective, how)
        found["l1, oracle"] = _oracle(data, net, how)
        return found


def measure(*, quick: bool = False) -> Result:
    """Returns test loss over that of the better grid, mean over problems and numbers of rows."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else _SEEDS)
    places = [(name, rows) for name, counts in _ROWS.items() for rows in counts if is_there(name)]
    places = places[2:3] + places[6:7] if quick else places
    steps = _QUICK_STEPS if quick else _STEPS
    cells = {place: [FewLabels(*place, seed, steps) for seed in seeds] for place in places}
    make_all(
        [cell for ones in zip(*cells.values(), strict=True) for cell in ones],
        _STORE,
        workers=1,
        report=print,
    )
    found = {place: [_STORE.read(cell) for cell in ones] for place, ones in cells.items()}
    names = [name for name in next(iter(found.values()))[0] if name not in _GRIDS]
    over = {name: [_over(ones, name) for ones in found.values()] for name in names}
    rows = [
        {
            "problem": place[0],
            "labels": place[1],
            "better grid": round(min(_mean(ones, name) for name in _GRIDS), 4),
            **{name: f"{_over(ones, name):.3f}" for name in names},
        }
        for place, ones in found.items()
    ]
    rows.append(
        {
            "problem": "processor time, ard, ard-elbo = 1",
            **{name: f"{_time(found, name):.2f}" for name in (*names, *_GRIDS)},
        }
    )
    return Result(
        "few-labels",
        {name: statistics.fmean(values) for name, values in over.items()},
        "of the better grid's test loss, mean over problems",
        "lower",
        seeds=list(seeds),
        quick=quick,
        baseline="the better of an l2 and an l1 grid by 5-fold cross-validation, which of them by test loss",
        spread={name: (min(values), max(values)) for name, values in over.items()},
        rows=rows,
    )


def _few(data: Problem, rows: int) -> Problem:
    """Returns a problem with so many training rows, the first of both parts; they stand for the validation part, too."""
    parts = (data.train, data.valid)
    x = torch.cat([part.inputs(torch.arange(len(part))).flatten(1) for part in parts])
    y = torch.cat([part.y for part in parts])
    if rows > len(x):
        raise ValueError(f"{rows} of {len(x)} rows")
    train = Dataset(x[:rows], y[:rows])
    return replace(data, train=train, valid=train)


def _loss(data: Problem, run: Callable[[torch.Tensor], torch.Tensor]) -> float:
    x = data.test.inputs(torch.arange(len(data.test))).flatten(1)
    with torch.no_grad():
        return float(losses(data, run(x)[None], data.test.y)[0])


def _along(data: Problem, family: nd.Family, part: Dataset) -> torch.Tensor:
    """Returns the losses of the members at ``_LAMS`` on a part."""
    x = part.inputs(torch.arange(len(part))).flatten(1)
    with torch.no_grad():
        return losses(data, torch.stack([family(x, lam=lam) for lam in _LAMS]), part.y)


def _by_evidence(
    data: Problem, net: torch.nn.Module, objective: str, by: str, how: Mapping[str, Any]
) -> dict[str, float]:
    """Returns what the member is worth whose estimated evidence is the greatest."""
    started = time.process_time()
    family = nd.fit(net, data.train, kind=data.kind, objective=objective, **how)
    found = nd.assess(family, data.train, by=[by], lams=_POINTS)
    lam = min((one for one in found if one.lam == one.lam), key=lambda one: one.value).lam
    seconds = time.process_time() - started
    return {
        "loss": _loss(data, lambda x: family(x, lam=lam)),
        "seconds": seconds,
        "lam": lam,
    }


def _folds(data: Problem, seed: int) -> list[Problem]:
    """Returns five problems: each fold is the validation part of one."""
    order = torch.randperm(len(data.train), generator=generator(seed, "folds"))
    folds = []
    for at in range(_FOLDS):
        held = torch.zeros(len(order), dtype=torch.bool)
        held[order[at::_FOLDS]] = True
        train, valid = (data.train.select(rows.nonzero()[:, 0]) for rows in (~held, held))
        folds.append(replace(data, train=train, valid=valid))
    return folds


def _by_folds(
    data: Problem, net: torch.nn.Module, seconds: float, norm: str, lams: list[float], seed: int
) -> dict[str, float]:
    """Returns what a network is worth whose λ has the least mean loss over folds."""
    share = seconds / (_FOLDS + 1)
    common: dict[str, Any] = {"norm": norm, "lr": 4e-3, "seed": seed, "stops": False}
    spent, sums = 0.0, torch.zeros(len(lams))
    for fold in _folds(data, seed):
        made = trained(fold, net, share, lams=lams, **common)
        spent += made.seconds
        x = fold.valid.inputs(torch.arange(len(fold.valid)))
        with torch.no_grad():
            sums += losses(data, made.stack.outputs(x), fold.valid.y)
    lam = lams[int(sums.argmin())]
    made = trained(data, net, share, lams=[lam], **common)
    loss = _loss(data, lambda x: made.stack.outputs(x)[0])
    return {"loss": loss, "seconds": spent + made.seconds, "lam": lam}


def _across_folds(
    data: Problem, net: torch.nn.Module, objective: str, how: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Returns what the member is worth whose λ is best on held-out rows, and the average of all families' members there."""
    started = time.process_time()
    settings = {**how, "objective": objective, "compiled": True}
    found = nd.cross_validate(
        net, data.train, folds=_FOLDS, lams=_POINTS, kind=data.kind, **settings
    )
    lam = found.lam
    seconds = time.process_time() - started
    average = found.average()
    return {
        f"{objective}, folds": {
            "loss": _loss(data, lambda x: found.family(x, lam=lam)),
            "seconds": seconds,
            "lam": lam,
        },
        f"{objective}, folds, average": {
            "loss": _loss(data, average),
            "seconds": seconds,
            "lam": lam,
        },
    }


def _oracle(data: Problem, net: torch.nn.Module, how: Mapping[str, Any]) -> dict[str, float]:
    """Returns the least test loss among the members of a family."""
    started = time.process_time()
    family = nd.fit(net, data.train, kind=data.kind, **how)
    seconds = time.process_time() - started
    found = _along(data, family, data.test)
    return {"loss": float(found.min()), "seconds": seconds, "lam": _LAMS[int(found.argmin())]}


def _mean(ones: list[dict[str, dict[str, float]]], name: str) -> float:
    return statistics.fmean(one[name]["loss"] for one in ones)


def _over(ones: list[dict[str, dict[str, float]]], name: str) -> float:
    """Returns a contender's mean loss over that of the better grid."""
    return _mean(ones, name) / min(_mean(ones, grid) for grid in _GRIDS)


def _time(found: Mapping[tuple[str, int], list[dict[str, dict[str, float]]]], name: str) -> float:
    every = [one for ones in found.values() for one in ones]
    return statistics.median(
        one[name]["seconds"] / one["ard, ard-elbo"]["seconds"] for one in every
    )
