"""Is a family worth it? Test loss of rivals at equal processor time, above that of the member that validation data choose.

Twelve problems; networks of 50 hidden units, batches of 32, about 1,000 steps of the family, as ``netdial fit`` does a small
table. Ours is ``nd.fit(compiled=True)``, which needs a compiler, and the λ of the least validation loss among 21, evaluation
included in its time. ``torch alone`` is the same without the compiler; ``scaled-kl`` has five regions and was the default
before.
Every rival has that much processor time in all (one thread), the same start and the same validation rows:

``l2 grid``             8 values of λ in 1e-3 … 1e2, trained in one batched loop, each stopped at its best validation loss
``l1 grid``             8 values in 3e-2 … 1e2, at our learning rate and at 1e-2
``one network``         no penalty, stopped at its best validation loss
``TPE``                 Optuna, 8 trials of norm, λ and learning rate, where it is installed
``boosted trees``       scikit-learn's defaults, for information: its time is not ours

``averaged`` is ours with nine members averaged by ``nd.average``; ``starts, averaged`` three starts at five λ, trained directly
under ``l1`` in one run of half as many epochs, averaged. Families under other objectives are trained for as many epochs. All of
these are for information, in times of their own. Log loss, or RMSE of
standardised targets. One process does everything in turn; results of a problem and seed are kept in ``runs/benchmarks/worth``.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, mean_squared_error

import netdial as nd
from benchmarks._rivals import Chosen, grid, losses
from benchmarks._worth_problems import PROBLEMS, Problem, is_there, problem, start
from benchmarks.result import Result
from netdial.core.best import MEAN
from netdial.jobs.pool import make_all
from netdial.measure import evaluate
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store

_STEPS, _QUICK_STEPS, _SEEDS = 1000, 150, 5
_STORE = Store(Path("runs/benchmarks/worth"))
_L2 = [10 ** (-3 + 5 * i / 7) for i in range(8)]
_L1 = [0.03 * (100 / 0.03) ** (i / 7) for i in range(8)]
_TRIALS = 8
OURS: dict[str, dict[str, Any]] = {
    "ours": {"compiled": True},
    "ours, torch alone": {},
    "scaled-kl": {"objective": "scaled-kl", "regions": 5},
    "ard": {"objective": "ard"},
    "l2": {"objective": "l2"},
}
NETWORKS = ("l2 grid", "l1 grid", "l1 grid, rate 1e-2", "one network", "TPE")
"""Rivals that are networks."""


@dataclass(frozen=True)
class Compared(Cell):
    """All contenders on one problem from one seed."""

    problem: str
    seed: int
    steps: int
    families: str = repr(OURS)

    @property
    def label(self) -> str:
        """Words for people."""
        return f"{self.problem} {self.steps} steps seed {self.seed}"

    def make(self, run: Run, store: Store) -> dict[str, dict[str, float]]:
        """Returns loss on test data and processor time of each contender."""
        data = problem(self.problem, self.seed)
        _family(data, self.seed, 20, {})  # nothing that is loaded at the first call is counted
        found = {name: _family(data, self.seed, self.steps, how) for name, how in OURS.items()}
        found["averaged"] = _averaged(data, self.seed, self.steps)
        found["starts, averaged"] = _starts(data, self.seed, self.steps // 2)
        budget = found["ours"]["seconds"]
        net = start(data, self.seed)
        common: dict[str, Any] = {"seed": self.seed}
        made = {
            "l2 grid": grid(data, net, budget, norm="l2", lams=_L2, lr=4e-3, **common),
            "l1 grid": grid(data, net, budget, norm="l1", lams=_L1, lr=4e-3, **common),
            "l1 grid, rate 1e-2": grid(data, net, budget, norm="l1", lams=_L1, lr=1e-2, **common),
            "one network": grid(data, net, budget, norm="l2", lams=[0.0], lr=4e-3, **common),
        }
        if (tuned := _tuned(data, net, budget, self.seed)) is not None:
            made["TPE"] = tuned
        found |= {
            name: {"loss": one.test, "seconds": one.seconds, "steps": float(one.steps)}
            for name, one in made.items()
        }
        return found | {"boosted trees": _trees(data)}


def measure(*, quick: bool = False) -> Result:
    """Returns the excess of the rivals' test loss over ours, in per cent, mean over problems."""
    torch.set_num_threads(1)
    seeds = range(1 if quick else _SEEDS)
    names = [name for name in PROBLEMS if is_there(name)]
    names = names[3:5] + names[7:8] if quick else names
    steps = _QUICK_STEPS if quick else _STEPS
    cells = {name: [Compared(name, seed, steps) for seed in seeds] for name in names}
    by_seed = [cell for ones in zip(*cells.values(), strict=True) for cell in ones]
    make_all(by_seed, _STORE, workers=1, report=print)
    found = {name: [_STORE.read(cell) for cell in ones] for name, ones in cells.items()}
    contenders = list(dict.fromkeys(who for ones in found.values() for who in ones[0]))
    rivals = [who for who in contenders if who != "ours"]
    excess = {
        who: [_excess(ones, who)[0] for ones in found.values() if who in ones[0]] for who in rivals
    }
    return Result(
        "worth",
        {who: statistics.fmean(values) for who, values in excess.items()},
        "% above our test loss, mean over problems",
        "higher",
        seeds=list(seeds),
        quick=quick,
        baseline="'ours', see above; rivals that are networks have its processor time in all",
        spread={who: (min(values), max(values)) for who, values in excess.items()},
        rows=[_row(name, ones, contenders) for name, ones in found.items()]
        + [_times(found, contenders), _worse(found, contenders)],
    )


def _averaged(data: Problem, seed: int, steps: int) -> dict[str, float]:
    """Returns the test loss of an average of our family's members, and the processor time of training and weighing."""
    started = time.process_time()
    family = nd.fit(
        start(data, seed), data.train, kind=data.kind, compiled=True, **_recipe(data, seed, steps)
    )
    made = nd.average(family, data.valid, lams=9)
    return _scored(data, made, time.process_time() - started)


def _starts(data: Problem, seed: int, steps: int) -> dict[str, float]:
    """Returns the same of networks from three starts at five λ, trained directly in one run."""
    started = time.process_time()
    nets = [start(data, 3 * seed + i) for i in range(3)]
    lams = [10 ** (-2 + 3 * i / 4) for i in range(5)]
    recipe = _recipe(data, seed, steps)
    families = nd.fit_direct(nets, data.train, lams=lams, kind=data.kind, **recipe)
    made = nd.average(families, data.valid, lams=lams)
    return _scored(data, made, time.process_time() - started)


def _scored(data: Problem, net: torch.nn.Module, seconds: float) -> dict[str, float]:
    x = data.test.inputs(torch.arange(len(data.test)))
    with torch.no_grad():
        loss = float(losses(data, net(x)[None], data.test.y)[0])
    return {"loss": loss, "seconds": seconds}


def _recipe(data: Problem, seed: int, steps: int) -> dict[str, Any]:
    """Returns the settings that all families share, for about so many steps."""
    epochs = max(1, round(steps / math.ceil(len(data.train) / 32)))
    return {"epochs": epochs, "batch_size": 32, "lr": 4e-3, "seed": seed}


def _family(data: Problem, seed: int, steps: int, how: Mapping[str, Any]) -> dict[str, float]:
    """Returns the test loss of the member that validation chooses, and the processor time of training and choice."""
    net = start(data, seed)
    started = time.process_time()
    recipe = _recipe(data, seed, steps)
    family = nd.fit(net, data.train, kind=data.kind, **recipe, **how)
    metric = "nll" if data.kind == "classification" else "rmse"
    known = evaluate(family, data.valid, lams=21, n_samples=0, metric=metric)
    member, _ = known.choose("best", [MEAN])
    seconds = time.process_time() - started
    x = data.test.inputs(torch.arange(len(data.test)))
    with torch.no_grad():
        outputs = family(x, lam=member.lam)[None]
    return {
        "loss": float(losses(data, outputs, data.test.y)[0]),
        "seconds": seconds,
        "lam": member.lam,
        "steps": float(recipe["epochs"] * math.ceil(len(data.train) / 32)),
    }


def _tuned(data: Problem, net: torch.nn.Module, seconds: float, seed: int) -> Chosen | None:
    """Returns the best of Optuna's trials; None where it is not installed."""
    try:
        optuna: Any = import_module("optuna")
    except ImportError:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made: list[Chosen] = []

    def trial(one: Any) -> float:
        norm = one.suggest_categorical("norm", ["l1", "l2"])
        lam, lr = (
            one.suggest_float("lam", 1e-3, 1e2, log=True),
            one.suggest_float("lr", 1e-3, 3e-2, log=True),
        )
        made.append(grid(data, net, seconds / _TRIALS, norm=norm, lams=[lam], lr=lr, seed=seed))
        return made[-1].valid

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(trial, n_trials=_TRIALS)
    best = min(made, key=lambda one: one.valid)
    return Chosen(best.valid, best.test, best.lam, best.steps, sum(one.seconds for one in made))


def _trees(data: Problem) -> dict[str, float]:
    """Returns the test loss of gradient-boosted trees with scikit-learn's defaults, trained on training rows alone."""
    started = time.process_time()
    x = {part: getattr(data, part) for part in ("train", "test")}
    inputs = {
        name: part.inputs(torch.arange(len(part))).flatten(1).numpy() for name, part in x.items()
    }
    y = {name: part.y.numpy() for name, part in x.items()}
    if data.kind == "classification":
        trees = HistGradientBoostingClassifier(random_state=0).fit(inputs["train"], y["train"])
        seen = list(trees.classes_)
        guess = torch.full((len(y["test"]), data.n_outputs), 1e-6).numpy()
        guess[:, seen] = trees.predict_proba(inputs["test"])
        guess = guess / guess.sum(1, keepdims=True)
        loss = float(log_loss(y["test"], guess, labels=list(range(data.n_outputs))))
    else:
        errors = [
            mean_squared_error(
                y["test"][:, i],
                HistGradientBoostingRegressor(random_state=0)
                .fit(inputs["train"], y["train"][:, i])
                .predict(inputs["test"]),
            )
            for i in range(data.n_outputs)
        ]
        loss = math.sqrt(statistics.fmean(errors))
    return {"loss": loss, "seconds": time.process_time() - started}


def _excess(ones: list[dict[str, dict[str, float]]], who: str) -> tuple[float, float]:
    """Returns the excess of a contender's mean loss over ours in per cent, and the standard error of the pairs."""
    ours = [one["ours"]["loss"] for one in ones]
    gaps = [one[who]["loss"] - own for one, own in zip(ones, ours, strict=True)]
    mean = statistics.fmean(ours)
    error = statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan
    return 100 * statistics.fmean(gaps) / mean, 100 * error / mean


def _row(name: str, ones: list[dict[str, dict[str, float]]], who: list[str]) -> dict[str, object]:
    shown: dict[str, object] = {"problem": name}
    shown["ours"] = round(statistics.fmean(one["ours"]["loss"] for one in ones), 4)
    lams = [one["ours"]["lam"] for one in ones]
    shown["λ"] = f"{min(lams):.2g}…{max(lams):.2g}"
    for rival in who[1:]:
        if rival in ones[0]:
            mean, error = _excess(ones, rival)
            shown[rival] = f"{mean:+.1f}" + ("" if math.isnan(error) else f" ± {error:.1f}")
    return shown


def _times(
    found: Mapping[str, list[dict[str, dict[str, float]]]], who: list[str]
) -> dict[str, object]:
    """Returns the row of processor times, ours being 1."""
    shown: dict[str, object] = {"problem": "processor time, ours = 1"}
    every = [one for ones in found.values() for one in ones]
    shown["ours"] = f"{statistics.fmean(one['ours']['seconds'] for one in every):.2f} s"
    for rival in who[1:]:
        ratios = [one[rival]["seconds"] / one["ours"]["seconds"] for one in every if rival in one]
        shown[rival] = f"{statistics.median(ratios):.2f}"
    return shown


def _worse(
    found: Mapping[str, list[dict[str, dict[str, float]]]], who: list[str]
) -> dict[str, object]:
    """Returns the row of counts: problems on which a contender is better than ours by more than a standard error."""
    shown: dict[str, object] = {"problem": "better than ours beyond 1 s.e., of problems"}
    for rival in who[1:]:
        pairs = [_excess(ones, rival) for ones in found.values() if rival in ones[0]]
        shown[rival] = f"{sum(mean < -error for mean, error in pairs)} of {len(pairs)}"
    return shown
